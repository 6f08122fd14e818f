"""How often radiographs of the test side are refused, and how often images are that are none, or are not upright."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from cxr_kd.data.images.dicom_tags import ADULT
from cxr_kd.data.images.resize import resized
from cxr_kd.data.prepare import Prepared
from cxr_kd.data.splits import SIDES, Side
from cxr_kd.device.familiar import FILE, LEAST, Familiar, features, fit
from cxr_kd.errors import DataError
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.resampling import spread
from cxr_kd.files import write_csv
from cxr_kd.study import Study
from cxr_kd.study.runs import Run

TABLE = "familiar.csv"
COLUMNS = ("images", "told", "n", "refused", "share", "low", "high", "median_distance", "limit_share", "train_images",
           "validation_images")  # fmt: skip
TEST, CHILDREN = "radiographs of the test side", "of these: patients under 18 years"
BLOCK = 256  # images in memory at a time
MOST = 500  # images of a side that the rules change: enough for a rate
# Pictures that come with scikit-image, whose other pictures would be downloaded.
PHOTOGRAPHS = ("astronaut", "brick", "camera", "cat", "coffee", "coins", "grass", "gravel", "hubble_deep_field",
               "immunohistochemistry", "moon", "page", "retina", "rocket", "text")  # fmt: skip
Rule = Callable[[np.ndarray], np.ndarray]


def write_familiar(study: Study, runs: Sequence[Run], data: Prepared) -> pd.DataFrame:
    """Fit `Familiar` to the study's images, write it beside each run, and the table TABLE; return the table.

    All runs of a study have the same fit, because they have the same images. With fewer than LEAST training or
    validation images nothing is fitted, and the table has no rows.
    """
    found = {side: np.concatenate([features(pixels) for pixels in data.pixels(side, BLOCK)]) for side in SIDES}
    if min(len(found["train"]), len(found["validation"])) < LEAST:
        for run in runs:  # of an earlier call with more images
            (study.run_folder(run) / FILE).unlink(missing_ok=True)
        print(f"fewer than {LEAST} training or validation images: exported files will refuse no image", flush=True)
        table = pd.DataFrame(columns=list(COLUMNS))
        write_csv(study.runs_folder / TABLE, table)
        return table
    if not runs:
        raise DataError(f"{study.name}: no run to fit the detector of unfamiliar images for")
    predictions = Predictions.read(study.run_folder(runs[0]) / "predictions-validation.parquet")
    fitted = fit(found, _ages(data, "train"), study.image_size, predictions)
    for run in runs:
        fitted.model_copy(update={"run": run.name}).write(study.run_folder(run) / FILE)
    some = data.cache.pixels(spread(data.cache.rows(data.split.test), MOST))
    table = rates(fitted, fitted.distances_of(found["test"]), _ages(data, "test"), some)
    write_csv(study.runs_folder / TABLE, table)
    return table


def rates(fitted: Familiar, distances: np.ndarray, ages: np.ndarray, some: np.ndarray) -> pd.DataFrame:
    """Return one row per kind of image: of the test side, and made from `some` of it by a rule.

    distances, ages: of the test side (N,), in units of the limit and in years. some: uint8 (n, S, S).

    Columns:
        images: what they are. told: whether they must be refused ("no": radiographs; "yes"; "open": nothing is asked).
        n, refused, share, low, high: images, how many are refused, their share with Wilson's 95 % interval.
        median_distance: in units of the limit. limit_share: `Familiar.quantile`.
        train_images, validation_images: what it was fitted on.
    """
    rows = [_row(TEST, "no", distances)]
    if (children := ages < ADULT).any():
        rows.append(_row(CHILDREN, "open", distances[children]))
    for name, rule in RULES.items():
        rows.append(_row(name, "open" if name == MIRRORED else "yes", fitted.distances(rule(some))))
    rows.append(_row("photographs and textures", "yes", fitted.distances(photographs(fitted.image_size))))
    told = {"limit_share": fitted.quantile, "train_images": fitted.train_images,
            "validation_images": fitted.validation_images}  # fmt: skip
    return pd.DataFrame(rows).assign(**told)


def wilson(count: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (J. Am. Stat. Assoc. 22 (1927), 209); n > 0."""
    z = 1.959964
    middle, half = count + z * z / 2, z * np.sqrt(count * (n - count) / n + z * z / 4)
    return float(max(0.0, (middle - half) / (n + z * z))), float(min(1.0, (middle + half) / (n + z * z)))


def photographs(size: int) -> np.ndarray:
    """Return PHOTOGRAPHS as uint8 (N, size, size), in grey (ITU-R 601)."""
    from skimage import data

    return np.stack([resized(_grey(getattr(data, name)()), size) for name in PHOTOGRAPHS])


def _grey(picture: np.ndarray) -> np.ndarray:
    if picture.ndim == 2:
        return picture.astype(np.uint8)
    return np.ascontiguousarray((picture[..., :3] @ np.array([0.299, 0.587, 0.114])).round().astype(np.uint8))


def _side_by_side(images: np.ndarray) -> np.ndarray:
    pairs = zip(images, np.roll(images, 1, axis=0), strict=True)
    return np.stack([resized(np.hstack(pair), images.shape[1]) for pair in pairs])


def _collage(images: np.ndarray) -> np.ndarray:
    others = [np.roll(images, shift, axis=0) for shift in range(4)]
    return np.stack([resized(np.block([[a, b], [c, d]]), images.shape[1]) for a, b, c, d in zip(*others, strict=True)])


def _page(images: np.ndarray) -> np.ndarray:
    size = images.shape[1]
    inner, start = round(0.6 * size), round(0.2 * size)
    pages = np.full_like(images, 255)
    for page, image in zip(pages, images, strict=True):
        page[start : start + inner, start : start + inner] = resized(image, inner)
    return pages


def _shuffled(images: np.ndarray) -> np.ndarray:
    """Return each image's 16 tiles in the reverse order; what does not fill a tile is cut off and black."""
    out, tile = np.zeros_like(images), images.shape[1] // 4
    for place in range(16):
        (y, x), (v, u) = divmod(place, 4), divmod(15 - place, 4)
        out[:, y * tile : (y + 1) * tile, x * tile : (x + 1) * tile] = images[
            :, v * tile : (v + 1) * tile, u * tile : (u + 1) * tile
        ]
    return out


def _noise(images: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)


def _blank(images: np.ndarray) -> np.ndarray:
    greys = np.linspace(0, 255, 16).astype(np.uint8)[:, None, None]
    return np.broadcast_to(greys, (16, *images.shape[1:]))


MIRRORED = "mirrored left to right"
RULES: Mapping[str, Rule] = {
    "inverted": lambda images: 255 - images,
    "turned by 90 degrees": lambda images: np.rot90(images, axes=(1, 2)),
    "turned by 180 degrees": lambda images: images[:, ::-1, ::-1],
    "four in one (2 x 2)": _collage,
    "two side by side": _side_by_side,
    "small on a white page (0.6 of its side)": _page,
    "16 tiles in another order": _shuffled,
    "noise": _noise,
    "blank": _blank,
    MIRRORED: lambda images: images[:, :, ::-1],
}


def _row(images: str, told: str, distances: np.ndarray) -> dict[str, object]:
    refused, n = int((distances > 1).sum()), len(distances)
    low, high = wilson(refused, n)
    return {"images": images, "told": told, "n": n, "refused": refused, "share": refused / n, "low": low, "high": high,
            "median_distance": float(np.median(distances))}  # fmt: skip


def _ages(data: Prepared, side: Side) -> np.ndarray:
    ages = data.table.frame.set_index("image_id")["age"]
    return ages.loc[list(getattr(data.split, side))].to_numpy(float)

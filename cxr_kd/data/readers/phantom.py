"""Write and read the phantom data set: synthetic frontal radiographs with 14 findings whose pixels are known.

It needs no download. `cxr_kd.phantoms` draws each phantom from (settings, index), with the same pixels each time:
patients with several exams, PA and AP views, age and sex, the findings of ChestX-ray14 at the real table's rates and
co-occurrence (or raised), label noise at a stated rate, and chest drains in treated pneumothorax, a shortcut known from
real data (Oakden-Rayner et al., CHIL 2020). On disk: `images/*.png`, `phantoms.csv` (labels as reported,
`truth:<finding>`, `drain`), `boxes.csv` and `phantoms.json`, the settings. Results on phantoms need not hold on
patients.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from cxr_kd.data.parallel import over_processes
from cxr_kd.data.table import BOX_COLUMNS, CxrTable
from cxr_kd.errors import DataError
from cxr_kd.files import locked, written_whole
from cxr_kd.phantoms.draw import Phantom, draw, exam_at, image_id_of, patient_id_of
from cxr_kd.phantoms.labels import FINDINGS
from cxr_kd.study.data_settings import PhantomSettings
from cxr_kd.study.settings import digest

__all__ = ["FINDINGS", "Phantom", "PhantomSettings", "draw", "read", "write"]

DRAWING = 1  # increased when the drawing changes, so that older phantoms are not mixed with new ones
SETTINGS, TABLE = "phantoms.json", "phantoms.csv"  # written first and last: a folder with both is complete
CHUNK = 32  # images per task: few enough for a smooth progress bar, many enough to hide the start of a process


def write(root: Path, settings: PhantomSettings, workers: int = 1, progress: bool = True) -> None:
    """Write the data set with `workers` processes; after a stop, a new call keeps complete chunks and draws the rest.

    Raises:
        DataError: if `root` has phantoms of other settings, or other files.
    """
    root = Path(root)
    with locked(root.with_name(f".{root.name}.lock"), f"another process is drawing {root}; waiting for it"):
        _claim(root, settings)
        if not (root / TABLE).exists():
            _draw_all(root, settings, workers, progress)


def _draw_all(root: Path, settings: PhantomSettings, workers: int, progress: bool) -> None:
    (root / "parts").mkdir(exist_ok=True)
    (root / "images").mkdir(exist_ok=True)
    starts = range(0, settings.images, CHUNK)
    with tqdm(total=settings.images, unit="image", desc="phantoms", disable=not progress) as bar:
        task = partial(_write_part, root, settings)
        for drawn in over_processes(task, starts, workers) if workers > 1 else map(task, starts):
            bar.update(drawn)
    _write_text(root / "boxes.csv", _joined(_part(root, start) for start in starts))
    _write_text(
        root / TABLE, pd.DataFrame(_row(settings, index) for index in range(settings.images)).to_csv(index=False)
    )
    shutil.rmtree(root / "parts")
    for abandoned in (root / "images").glob(".*"):  # temporary files of a writer that was killed
        abandoned.unlink()


def read(
    root: Path, findings: Sequence[str] | None = None, options: PhantomSettings | None = None, *, images: bool = True
) -> CxrTable:
    """Return the table of a folder that `write` wrote; its masks are drawn again on request.

    `options` and `images` are not used: the folder has its settings, and an image for every row. The finding columns
    are the labels as reported; `truth:<finding>` is what was drawn, `drain` whether there is a chest drain.

    Raises:
        DataError: if there are no phantoms in `root`, or not all of them yet.
    """
    del options, images
    root = Path(root)
    settings = _settings_of(root)
    if not (root / TABLE).exists():
        raise DataError(f"{root}: not all phantoms are drawn (no {TABLE}); call phantom.write again with its settings")
    text = {"image_id": str, "path": str, "patient_id": str, "view": str, "sex": str}
    frame = pd.read_csv(root / TABLE, dtype=text, keep_default_na=False)
    numbers = [column for column in frame.columns if column not in text]
    frame[numbers] = frame[numbers].astype(float)
    return CxrTable(
        dataset="phantom",
        kind="phantom",
        root=root,
        frame=frame,
        findings=FINDINGS,
        boxes=pd.read_csv(root / "boxes.csv", dtype={"image_id": str, "finding": str}, float_precision="round_trip"),
        masks=lambda image_id: draw(settings, _index(image_id)).masks,
        drain_versions=partial(_drain_versions, settings),
        source={
            "name": f"Phantoms ({settings.images} drawn at {settings.size} px, seed {settings.seed})",
            "citation": "Synthetic radiographs drawn by cxr_kd; rates and co-occurrence after Wang et al., CVPR 2017",
            "licence": "Apache-2.0, as the project",
            "where": "drawn on this machine by cxr_kd.data.readers.phantom",
            "drawn with": settings.in_words(),
            "fingerprint": digest([DRAWING, settings.model_dump()]),
        },
    ).with_findings(findings)


def _drain_versions(settings: PhantomSettings, image_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Return an image with and without its chest drain, uint8 (S, S) each; one of them is the image on disk."""
    index = _index(image_id)
    return draw(settings, index, drain=True).image, draw(settings, index, drain=False).image


def _row(settings: PhantomSettings, index: int) -> dict[str, object]:
    exam, image_id = exam_at(settings, index), image_id_of(index)
    row: dict[str, object] = {
        "image_id": image_id,
        "path": f"images/{image_id}.png",
        "patient_id": patient_id_of(exam),
        "view": exam.view,
        "age": exam.age,
        "sex": exam.sex,
    }
    row |= dict(zip(FINDINGS, exam.reported.astype(int).tolist(), strict=True))
    row |= {f"truth:{name}": int(present) for name, present in zip(FINDINGS, exam.truth, strict=True)}
    return row | {"drain": int(exam.drain)}


def _write_part(root: Path, settings: PhantomSettings, start: int) -> int:
    """Write one chunk of images, then its boxes, whose file marks the chunk as complete; return its length."""
    stop = min(start + CHUNK, settings.images)
    if _part(root, start).exists():
        return stop - start
    boxes = []
    for index in range(start, stop):
        phantom = draw(settings, index)
        _write_png(root / "images" / f"{phantom.image_id}.png", phantom.image)
        boxes += [(phantom.image_id, name, *box) for name, box in phantom.boxes.items()]
    _write_text(_part(root, start), pd.DataFrame(boxes, columns=list(BOX_COLUMNS)).to_csv(index=False))
    return stop - start


def _claim(root: Path, settings: PhantomSettings) -> None:
    """Write the settings into an empty folder, or raise DataError if the folder is not of these settings."""
    root.mkdir(parents=True, exist_ok=True)
    if not (root / SETTINGS).exists():
        if any(entry for entry in root.iterdir() if not entry.name.startswith(".")):
            raise DataError(f"{root} has files, but no {SETTINGS} of phantoms; choose an empty folder")
        _write_text(root / SETTINGS, json.dumps({"drawing": DRAWING, **settings.model_dump()}, indent=2) + "\n")
    there = _settings_of(root)
    if there != settings:
        ours, theirs = dict(settings), dict(there)
        other = ", ".join(f"{key} {theirs[key]} (wanted {ours[key]})" for key in ours if ours[key] != theirs[key])
        raise DataError(f"{root} has phantoms of other settings: {other}; choose another folder or delete this one")


def _settings_of(root: Path) -> PhantomSettings:
    if not (root / SETTINGS).exists():
        raise DataError(f"{root} has no phantoms (no {SETTINGS}); draw some with cxr_kd.data.readers.phantom.write")
    try:
        stored = json.loads((root / SETTINGS).read_text())
        drawing = stored.pop("drawing")
        settings = PhantomSettings(**stored)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{root / SETTINGS} is not a settings file of phantoms: {error}; delete the folder") from error
    if drawing != DRAWING:
        raise DataError(f"{root} has phantoms of drawing {drawing}; this version draws {DRAWING}; delete the folder")
    return settings


def _index(image_id: str) -> int:
    prefix, _, number = image_id.partition("-")
    if prefix != "phantom" or not number.isdigit():
        raise DataError(f"{image_id!r} is not the image id of a phantom (phantom-000000, phantom-000001, ...)")
    return int(number)


def _part(root: Path, start: int) -> Path:
    return root / "parts" / f"{start:06d}.csv"


def _joined(parts: Iterable[Path]) -> str:
    """Return the rows of all parts under one header."""
    texts = [part.read_text().splitlines(keepends=True) for part in parts]
    return texts[0][0] + "".join(line for lines in texts for line in lines[1:])


def _write_png(path: Path, image: np.ndarray) -> None:
    with written_whole(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG", compress_level=3)


def _write_text(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")

"""Does an image look like the radiographs that a study's networks learned from? A distance, and a limit for it.

A Gaussian is fitted to a few numbers of each training image (probabilistic principal components: Tipping and Bishop,
J. R. Stat. Soc. B 61 (1999), 611). The distance of an image is its Mahalanobis distance from it, divided by a limit
that is chosen on validation images. It knows no network and no label.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from cxr_kd.data.images.dicom_tags import ADULT
from cxr_kd.data.splits import Side
from cxr_kd.errors import DataError
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.probability.run_file import RunFile

FILE = "familiar.json"  # beside the run's weights
CELLS = 8  # per side: with 16 or 32 fewer inverted and turned real radiographs are recognised
COMPONENTS = 16  # at most; one per five training images if there are few
QUANTILE = 0.99  # of the validation images' distances: the limit
CONTRAST_FLOOR = 4.0  # grey levels, added to an image's contrast: a blank image has none
LEAST = 10  # images of a side
LEAST_SPREAD = 1e-3  # so that a number which all training images share does not decide alone


class Familiar(RunFile):
    """What was fitted. An image with the features f has the distance |(f - mean) @ whitening| / limit.

    mean: (F,), whitening: (F, F), for the F numbers of `features`. quantile: share of new images from the same source
    that the limit accepts at least, on average. train_images, validation_images: how many it was fitted on.
    test_refused of test_images were refused.
    train_children: training images of patients under ADULT years; None if no age is known.
    """

    image_size: int = Field(gt=0)
    mean: tuple[float, ...]
    whitening: tuple[tuple[float, ...], ...]
    limit: float = Field(gt=0)
    quantile: float = Field(gt=0, le=1)
    train_images: int
    train_children: int | None
    validation_images: int
    test_images: int
    test_refused: int

    def distances(self, images: np.ndarray) -> np.ndarray:
        """Return the distance of each image, uint8 (N, S, S), as float64 (N,), in units of the limit."""
        return self.distances_of(features(images))

    def distances_of(self, found: np.ndarray) -> np.ndarray:
        """Return the distances, float64 (N,), of images with these `features`, (N, F)."""
        return _raw_distances(found, np.array(self.mean), np.array(self.whitening)) / self.limit


def features(images: np.ndarray) -> np.ndarray:
    """Return float64 (N, CELLS**2 + 2) of images (N, S, S) in 8-bit greys.

    They are the area means of CELLS x CELLS cells after each image's mean was taken away and its contrast divided out
    (standard deviation of the cells plus CONTRAST_FLOOR); that mean; and the logarithm of that contrast.
    """
    average = area_average(images.shape[-1])
    cells = np.stack([average @ image.astype(np.float64) @ average.T for image in images]).reshape(len(images), -1)
    mean, contrast = cells.mean(axis=1, keepdims=True), cells.std(axis=1, keepdims=True) + CONTRAST_FLOOR
    return np.hstack([(cells - mean) / contrast, mean, np.log(contrast)])


def area_average(size: int) -> np.ndarray:
    """Return A, float64 (CELLS, size): A @ image @ A.T are the means of the cells; a pixel counts by its share."""
    edges, starts = np.arange(CELLS + 1) * size / CELLS, np.arange(size)
    low, high = np.maximum(edges[:-1, None], starts), np.minimum(edges[1:, None], starts + 1)
    return np.clip(high - low, 0, None) * CELLS / size


def fit(
    sides: Mapping[Side, np.ndarray], train_ages: np.ndarray, image_size: int, predictions: Predictions
) -> Familiar:
    """Return the fit for one run: on training images, with the limit of validation images, counted on test images.

    `sides`: the `features` of each side's images, (N, F). `train_ages`: in years, (N,), NaN if unknown. `predictions`
    of the run's validation side name the run and the split. The limit is the distance of rank ceil((n + 1) * QUANTILE)
    of n validation images, so that a new image from the same source exceeds it with a probability of at most
    1 - QUANTILE (split conformal prediction: Vovk, Gammerman and Shafer 2005); with fewer than 99 images it is the
    largest, which a new image exceeds with a probability of 1 / (n + 1).

    Raises DataError for fewer than LEAST training or validation images.
    """
    for name, count in (("train", len(sides["train"])), ("validation", len(sides["validation"]))):
        if count < LEAST:
            raise DataError(
                f"{count} images on the {name} side are too few to say what a radiograph looks like (at least {LEAST})"
            )
    mean, whitening = _gaussian(sides["train"])
    known = np.sort(_raw_distances(sides["validation"], mean, whitening))
    rank = min(len(known), math.ceil((len(known) + 1) * QUANTILE))
    limit = float(known[rank - 1])
    refused = int((_raw_distances(sides["test"], mean, whitening) > limit).sum())
    return Familiar.fitted_on(
        predictions,
        image_size=image_size,
        mean=tuple(mean.tolist()),
        whitening=tuple(map(tuple, whitening.tolist())),
        limit=limit,
        quantile=rank / (len(known) + 1),
        train_images=len(sides["train"]),
        train_children=int((train_ages < ADULT).sum()) if np.isfinite(train_ages).any() else None,
        validation_images=len(sides["validation"]),
        test_images=len(sides["test"]),
        test_refused=refused,
    )


def read_beside(weights: Path, run: str, split_sha256: str, image_size: int) -> Familiar | None:
    """Return the fit in the folder of a run's weights file, or None if there is none.

    Raises PredictionsError for a damaged file, and DataError if it is of another run, split or image size.
    """
    file = weights.with_name(FILE)
    if not file.is_file():
        return None
    found = Familiar.read(file)
    if (found.run, found.split_sha256, found.image_size) != (run, split_sha256, image_size):
        raise DataError(
            f"{file}: fitted for the run {found.run}, or on another split or image size; remove it, or run 07_device "
            "again"
        )
    return found


def _gaussian(known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (F,) and whitening (F, F) of features (N, F): the leading components, and the rest as one noise."""
    mean, spread = known.mean(axis=0), known.std(axis=0) + LEAST_SPREAD
    found = (known - mean) / spread
    variances, components = np.linalg.eigh(found.T @ found / len(found))  # from the smallest on
    rest = len(variances) - min(COMPONENTS, len(known) // 5)
    variances[:rest] = max(float(variances[:rest].mean()), LEAST_SPREAD)
    return mean, components / np.sqrt(variances) / spread[:, None]


def _raw_distances(found: np.ndarray, mean: np.ndarray, whitening: np.ndarray) -> np.ndarray:
    distances: np.ndarray = np.sqrt((((found - mean) @ whitening) ** 2).sum(axis=1))
    return distances

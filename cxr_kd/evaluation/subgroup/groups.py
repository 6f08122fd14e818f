"""Groups of images: by sex, age, view position, number of findings and source; read from predictions alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.predictions import Predictions

ALL, SEX, AGE, VIEW, FINDING_COUNT, SOURCE = "all images", "sex", "age", "view position", "findings", "source"
UNKNOWN = "unknown"  # in the column `group`: images that are in no group
# First age in years -> group. Children are apart: anatomy and disease differ, and adult data sets hold few of them.
AGE_BANDS = {0: "under 18", 18: "18 to 39", 40: "40 to 59", 60: "60 to 79", 80: "80 and over"}
CHILDREN = AGE_BANDS[0]
SEX_NAMES = {"F": "female", "M": "male"}
FINDING_COUNTS = ("0", "1", "2 or more")


@dataclass(frozen=True, eq=False)
class Grouping:
    """One way to divide the N images into K groups.

    by: what divides them: one of ALL, SEX, AGE, VIEW, FINDING_COUNT, SOURCE.
    names: the K groups; a group may be empty.
    member: (N,) the position in `names` of each image's group; -1 for an image in no group, because it is not known.
    """

    by: str
    names: tuple[str, ...]
    member: np.ndarray


def why_unknown(grouping: Grouping) -> str:
    """Say which images are in no group, because what divides the images is not known; "" if there are none."""
    outside = grouping.member < 0
    if not outside.any():
        return ""
    missing = "the number of findings" if grouping.by == FINDING_COUNT else f"the {grouping.by}"
    which = "any image" if outside.all() else f"{outside.sum():,} of {len(outside):,} images"
    return f"{missing} is not known for {which}"


def groupings(runs: Sequence[Predictions]) -> tuple[Grouping, ...]:
    """Return the divisions of the images of `runs`, which hold the same images; the first has all images in one group.

    Sex: female, male. Age: AGE_BANDS, all five even if some are empty, so that results of two data sets have the same
    groups. Both have no group if they are not known for any image. View position: the values that the data set has.
    Findings: FINDING_COUNTS, the number of the study's findings that an image has; an image with unknown labels is in a
    group only if these labels cannot change it. Source: the values.

    Sex, age and view are those of the first run that has them, because older files lack them. Raises PredictionsError
    if two runs disagree about them. If none has them, no image is known.
    """
    sex, view, age = (_agreed(runs, column) for column in ("sex", "view", "age"))
    images = len(runs[0].frame)
    ages = np.full(images, np.nan) if age is None else age
    band = np.digitize(np.nan_to_num(ages), list(AGE_BANDS)) - 1
    return (
        Grouping(ALL, (ALL,), np.zeros(images, int)),
        _by_value(SEX, None if sex is None else np.array([SEX_NAMES.get(s, "") for s in sex]), images, SEX_NAMES),
        Grouping(AGE, () if np.isnan(ages).all() else tuple(AGE_BANDS.values()), np.where(np.isnan(ages), -1, band)),
        _by_value(VIEW, view, images),
        Grouping(FINDING_COUNT, FINDING_COUNTS, _finding_count(runs[0].labels)),
        _by_value(SOURCE, runs[0].image_sources, images),
    )


def _by_value(by: str, values: np.ndarray | None, images: int, names: dict[str, str] | None = None) -> Grouping:
    """One group per value, or per value of `names`; "" is in no group, and neither is any image without values."""
    texts = [""] * images if values is None else [str(value) for value in values]
    known = set(texts) - {""}
    groups = tuple(names.values()) if names and known else tuple(sorted(known))
    position = {name: number for number, name in enumerate(groups)}
    return Grouping(by, groups, np.array([position.get(text, -1) for text in texts]))


def _finding_count(labels: np.ndarray) -> np.ndarray:
    """0, 1 or 2 (two or more) for each row of labels (N, L); -1 if unknown labels leave it open."""
    least = np.minimum((labels == 1).sum(axis=1), 2)
    most = np.minimum(least + np.isnan(labels).sum(axis=1), 2)
    return np.where(least == most, least, -1)


def _agreed(runs: Sequence[Predictions], column: str) -> np.ndarray | None:
    """A column about the images from the first run that has it; PredictionsError if another run has other values."""
    first: np.ndarray | None = None
    for run in runs:
        values = run.about(column)
        if values is None:
            continue
        if first is not None and not np.array_equal(first, values, equal_nan=column == "age"):
            raise PredictionsError(
                f"{run.source}: the column {column} differs from that of another run on the same images; train the "
                "run with the older file again"
            )
        first = values if first is None else first
    return first

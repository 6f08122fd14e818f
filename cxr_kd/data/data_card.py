"""The data card: every number that the report and notebook 01 show about a study's radiographs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cxr_kd.data.cache import Cache
from cxr_kd.data.image_sources import source_counts
from cxr_kd.data.splits import SIDES, Split
from cxr_kd.data.table import CxrTable

BRIGHTNESS_IMAGES = 256  # at most this many are read for `brightest`

SEX_NAMES = {"F": "women", "M": "men", "": "unknown"}


@dataclass(frozen=True)
class TooFew:
    """A finding that cannot be scored on a side, with its labelled images there."""

    finding: str
    positives: int
    negatives: int


def too_few_positives(positives: Mapping[str, int], known: Mapping[str, int], minimum: int) -> list[TooFew]:
    """Return the findings with fewer than `minimum` positive or negative images, in the given order.

    `positives` and `known` count images per finding on one side: `card["positives"]["test"]` and
    `card["known"]["test"]` of a data card. `minimum` is the study's `evaluation.minimum_positives`.
    """
    counts = [TooFew(finding, int(count), int(known[finding] - count)) for finding, count in positives.items()]
    return [one for one in counts if min(one.positives, one.negatives) < minimum]


def data_card_of(table: CxrTable, cache: Cache, split: Split, identity: str) -> dict[str, Any]:
    """Return the data card of a study as plain values, for `data.json`; `identity` is `Prepared.identity`.

    `known` counts labels that are not unknown; `prevalence` is the share of positives among them (None without any).
    Sex and age count patients, as at their first image on that side; age is median and quartiles in years. `brightest`
    is the median, over at most BRIGHTNESS_IMAGES evenly spaced images, of the brightest grey of each. `quarantine`
    counts unreadable files per reason, `quarantined` all of them. `image_sources` is `source_counts`.
    """
    sides = {side: table.select(getattr(split, side)).frame for side in SIDES}
    labels = {side: frame[list(table.findings)] for side, frame in sides.items()}
    return {
        "dataset": table.dataset,
        "kind": table.kind,
        "source": {key: text for key, text in table.source.items() if key != "fingerprint"},
        "image_size": cache.images.shape[1],
        "brightest": _brightest(table, cache),
        "identity": identity,
        "images": len(table.frame),
        "patients": int(table.frame["patient_id"].nunique()),
        "findings": list(table.findings),
        "split": {"name": split.name, "sha256": split.sha256, "sides": split.counts(table)},
        "positives": {side: _counts(values == 1) for side, values in labels.items()},
        "known": {side: _counts(values.notna()) for side, values in labels.items()},
        "prevalence": {side: _prevalence(values) for side, values in labels.items()},
        "views": {side: _views(frame) for side, frame in sides.items()},
        "patients_by_sex": {side: _sexes(frame) for side, frame in sides.items()},
        "age": {side: _ages(frame) for side, frame in sides.items()},
        "marks": _marks(table),
        "image_sources": source_counts(table, split),
        "left_out": dict(table.left_out),
        "quarantined": len(cache.quarantine),
        "quarantine": {str(why): int(n) for why, n in cache.quarantine["reason"].value_counts().items()},
    }


def _brightest(table: CxrTable, cache: Cache) -> float:
    rows = cache.rows(table.frame["image_id"])
    spaced = rows[np.linspace(0, len(rows) - 1, min(len(rows), BRIGHTNESS_IMAGES)).astype(int)]
    return float(np.median([cache.pixels(row).max() for row in spaced[:, np.newaxis]]))  # one image in memory at a time


def _counts(where: pd.DataFrame) -> dict[str, int]:
    return {str(finding): int(count) for finding, count in where.sum().items()}


def _prevalence(labels: pd.DataFrame) -> dict[str, float | None]:
    means = labels.mean()  # of the known labels; NaN without any
    return {str(finding): None if pd.isna(mean) else float(mean) for finding, mean in means.items()}


def _views(frame: pd.DataFrame) -> dict[str, int]:
    return {str(view) or "unknown": int(count) for view, count in frame["view"].value_counts().items()}


def _sexes(frame: pd.DataFrame) -> dict[str, int]:
    counts = frame.drop_duplicates("patient_id")["sex"].value_counts()
    return {name: int(counts.get(sex, 0)) for sex, name in SEX_NAMES.items()}


def _ages(frame: pd.DataFrame) -> dict[str, float | int | None]:
    ages = frame.drop_duplicates("patient_id")["age"].dropna()
    quartiles = zip(("lower_quartile", "median", "upper_quartile"), ages.quantile([0.25, 0.5, 0.75]), strict=True)
    return {"known": len(ages), **{name: float(age) if len(ages) else None for name, age in quartiles}}


def _marks(table: CxrTable) -> dict[str, Any]:
    """Return boxes per finding, the number of images with a box, and whether there are masks."""
    counts = table.boxes["finding"].value_counts()
    return {
        "boxes": {finding: int(counts[finding]) for finding in table.findings if finding in counts},
        "boxed_images": int(table.boxes["image_id"].nunique()),
        "masks": table.masks is not None,
    }

"""The data card: what the report and notebook 01 say of a study's radiographs, every number counted here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from cxr_kd.data.cache import Cache
from cxr_kd.data.splits import SIDES, Split
from cxr_kd.data.table import CxrTable

LOOKED_AT = 256  # images, for their brightest grey

SEX_NAMES = {"F": "women", "M": "men", "": "unknown"}


def card_of(table: CxrTable, cache: Cache, split: Split, identity: str) -> dict[str, Any]:
    """Return the card of a study's data as plain values, for `data.json`; `identity` is `Prepared.identity`.

    `known` counts the labels that somebody gave, `prevalence` is positives of those (None where there are none). Sex
    and age are of patients, as at their first image on that side; age is median and quartiles in years. `brightest` is
    the median, over at most LOOKED_AT images evenly spaced, of the brightest grey of each. `quarantine` counts the
    files that could not be read by reason, `quarantined` all of them.
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
        "positives": {side: _counts(said == 1) for side, said in labels.items()},
        "known": {side: _counts(said.notna()) for side, said in labels.items()},
        "prevalence": {side: _prevalence(said) for side, said in labels.items()},
        "views": {side: _views(frame) for side, frame in sides.items()},
        "patients_by_sex": {side: _sexes(frame) for side, frame in sides.items()},
        "age": {side: _ages(frame) for side, frame in sides.items()},
        "marks": _marks(table),
        "left_out": dict(table.left_out),
        "quarantined": len(cache.quarantine),
        "quarantine": {str(why): int(n) for why, n in cache.quarantine["reason"].value_counts().items()},
    }


def _brightest(table: CxrTable, cache: Cache) -> float:
    rows = cache.rows(table.frame["image_id"])
    spaced = rows[np.linspace(0, len(rows) - 1, min(len(rows), LOOKED_AT)).astype(int)]
    return float(np.median([cache.pixels(row).max() for row in spaced[:, np.newaxis]]))  # one in memory at a time


def _counts(where: pd.DataFrame) -> dict[str, int]:
    return {str(finding): int(count) for finding, count in where.sum().items()}


def _prevalence(labels: pd.DataFrame) -> dict[str, float | None]:
    means = labels.mean()  # over the known ones; NaN where there are none
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
    """What shows where a finding is: boxes, the images that have one, and whether there are masks."""
    counts = table.boxes["finding"].value_counts()
    return {
        "boxes": {finding: int(counts[finding]) for finding in table.findings if finding in counts},
        "boxed_images": int(table.boxes["image_id"].nunique()),
        "masks": table.masks is not None,
    }

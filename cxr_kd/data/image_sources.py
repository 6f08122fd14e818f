"""The source of each image: the collection, hospital or scanner that it is from.

If the source goes with the label (one collection holds the healthy, another the ill), a network that recognises only
the source seems to recognise the disease. So results are also given within each source.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_kd.data.bad_rows import Complaint
from cxr_kd.data.label_file import read_label_file
from cxr_kd.data.paths import CONTROL_CHARACTER
from cxr_kd.data.splits import SIDES, Split
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError, StudyError
from cxr_kd.study import Study

FILE = "sources.csv"  # beside the label table of a data set that was put together from several sources
UNKNOWN = "unknown"  # the source of an image whose source is blank

_NAME, _SOURCE = "name", "source"


def read_sources(path: Path, known: Collection[str]) -> pd.Series:
    """Return image id -> source from a CSV file with the columns `name` and `source`; others are ignored.

    `known` are the images of the label table.

    Raises:
        DataError: for a file that is no such table, an image on two rows or not among `known`, a blank source or one
            with a control character. One error for all rows, with the file and the first lines.
    """
    file = read_label_file(path, [_NAME, _SOURCE])
    file.refuse_all(
        [
            Complaint(~file[_NAME].isin(set(known)), _NAME, "is no image of the label table"),
            file.repeats(_NAME),
            Complaint(file[_SOURCE] == "", _SOURCE, "is blank; each image needs a source"),
            Complaint(file[_SOURCE].str.contains(CONTROL_CHARACTER), _SOURCE, "has a control character"),
        ]
    )
    return pd.Series(file[_SOURCE].to_numpy(object), index=file[_NAME].to_numpy(object), dtype=object)


def sources_of(path: Path, image_ids: Sequence[str], known: Collection[str], *, strict: bool = True) -> pd.Series:
    """Return the source of each image, (N,) object: from the file `path`, or "" for all if there is no such file.

    `known` as in `read_sources`. An image without a row is a DataError, or of the source UNKNOWN if not `strict`.
    """
    ids = pd.Series(list(image_ids), dtype=object)
    if not path.is_file():
        return ids.map(lambda _: "").astype(object)
    sources = ids.map(read_sources(path, known))
    missing = ids[sources.isna()]
    if strict and len(missing):
        examples = ", ".join(map(repr, missing.head(3)))
        raise DataError(
            f"{path}: no row for {len(missing):,} of the {len(ids):,} images, e.g. {examples}; add their sources, or "
            "move this file away to read the images without sources"
        )
    return sources.fillna(UNKNOWN).astype(object)


def source_counts(table: CxrTable, split: Split) -> dict[str, dict[str, Any]]:
    """Return, for the data card, source -> side -> images, patients, without_finding, positives, known.

    `without_finding` counts the images without any positive label; `positives` and `known` are {finding: images}. {} if
    the data set has no sources.
    """
    sides = {side: table.select(getattr(split, side)).frame for side in SIDES}
    return {
        source: {side: _counts(frame[frame["source"] == source], table.findings) for side, frame in sides.items()}
        for source in table.image_sources
    }


def source_log_odds(table: CxrTable, image_ids: Sequence[str]) -> np.ndarray:
    """Return the log-odds of each finding among those of these images that share an image's source, (n, L) float32.

    Half a positive and half a negative are added to each count (Jeffreys' prior), so that no rate is 0 or 1. All zero
    for a data set without sources.
    """
    if not table.image_sources:
        return np.zeros((len(image_ids), len(table.findings)), np.float32)
    frame = table.frame.iloc[table.positions(image_ids)]
    by_source = frame[list(table.findings)].groupby(frame["source"].to_numpy())
    positives, known = by_source.transform("sum") + 0.5, by_source.transform("count") + 1
    odds = positives / (known - positives)
    return np.log(odds.to_numpy(np.float64)).astype(np.float32)


def check_headline_source(study: Study, counts: Mapping[str, Any]) -> None:
    """Raise StudyError unless the study's `evaluation: headline_source` is the source of a test image, or not set.

    `counts` as `source_counts` returns it.
    """
    asked = study.evaluation.headline_source
    sources = [source for source, sides in counts.items() if sides["test"]["images"]]
    if asked is None or asked in sources:
        return
    there = f"the sources of the test images are {', '.join(sources)}" if sources else "the images have no sources"
    todo = "Name one of them, or delete the setting" if sources else "Delete the setting"
    raise StudyError(f"{study.file}: evaluation: headline_source is {asked!r}, but {there}. {todo}.")


def _counts(frame: pd.DataFrame, findings: Sequence[str]) -> dict[str, Any]:
    labels = frame[list(findings)]
    return {
        "images": len(frame),
        "patients": int(frame["patient_id"].nunique()),
        "without_finding": int((~(labels == 1).any(axis=1)).sum()),
        "positives": {str(finding): int(count) for finding, count in (labels == 1).sum().items()},
        "known": {str(finding): int(count) for finding, count in labels.notna().sum().items()},
    }

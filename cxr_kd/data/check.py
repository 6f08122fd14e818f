"""Whether a data set on disk is what it should be, found out before anyone trains on it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from cxr_kd.data import READERS, read
from cxr_kd.data.file_scan import Seen, look
from cxr_kd.data.images.resize import DARK
from cxr_kd.data.splits import patients_on_two_sides, split_of
from cxr_kd.data.table import NO_FILE, NO_ROW, CxrTable, Published
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import DataSettings, Intensity

Verdict = Literal["ok", "differs", "problem"]
WHOLE = 0.99  # of the published images: a table that has them is taken for the whole data set
NAMED = 10  # files or patients that a detail names
EVERY_ROW = "of every row of the label table: views, projections and image files were not looked at"
STRETCH = "`intensity: per-image` in the study stretches greys of more than 8 bits (16-bit PNG, DICOM)"
AS_STORED = "greys of 8 bits stay as they are stored"


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    `differs`: other than published or usual, as any part of a data set is; `problem`: put it right before training.
    `expected` is "" where nobody says what it should be.
    """

    what: str
    expected: int | str
    found: int | str
    verdict: Verdict = "ok"
    detail: str = ""


def check(
    settings: DataSettings,
    root: Path,
    *,
    images: bool = True,
    intensity: Intensity = "fixed",
    workers: int = 1,
    progress: bool = True,
) -> list[Check]:
    """Verify the data set in `root`: its label table, and with `images` every image file, decoded over processes.

    Counts are held against the published ones (`PUBLISHED` of the reader). A label table with at least 99 % of the
    published images is taken for the whole data set: a count that is not the published one is then a problem. In a
    smaller table it only differs, and so do rows without an image file: part of a published data set is no problem. In
    a folder of one's own they are. An unreadable file, a finding without a positive image, images that are mostly
    almost black (decoded by `intensity`) and a patient on two sides of a split are problems in any table.

    Published counts are of the whole label table. What is said of labels, people and views, and the split, are of the
    images that the study uses; without `images`, of the whole label table too.

    Raises:
        DataError: where the label table can't be read.
    """
    labels = read(settings, root, images=False)
    published = _published(settings.dataset, labels)
    checks = [*_counts(labels, published), *_published_split(labels, published)]
    if not images:
        return [*checks, *_left_out(labels, published), *_said(labels), _split(labels, settings, EVERY_ROW)]
    try:
        table = read(settings, root)
    except DataError as error:
        return [*checks, Check("image files", len(labels), "can't be used", "problem", str(error))]
    seen = look(table, intensity=intensity, workers=workers, progress=progress)
    files = [*_left_out(table, published), *_files(seen, intensity)]
    return [*checks, *files, *_said(table), _split(table, settings)]


def _published(dataset: str, labels: CxrTable) -> Published | None:
    """The published counts, where there are any: of the edition whose sides and number of images are nearest."""
    reader = importlib.import_module(READERS[dataset])
    editions = [value for value in vars(reader).values() if isinstance(value, Published) and value.images]

    def distance(edition: Published) -> tuple[bool, int]:
        return set(edition.sides) != set(labels.given_split), abs(edition.images - len(labels))

    return min(editions, key=distance, default=None)


def _counts(labels: CxrTable, published: Published | None) -> Iterator[Check]:
    """Images, patients, and positives a finding."""
    expected = published or Published("", 0, 0)
    whole, patients = is_whole(labels, published), labels.frame["patient_id"].nunique()
    yield _against("images in the label table", expected.images, len(labels), whole, _source(labels, published))
    yield _against("patients", expected.patients, patients, whole, labels.source.get("patients", ""))
    for finding in labels.findings:
        positives = int((labels.frame[finding] == 1).sum())
        yield _against(f"positives: {finding}", expected.positives.get(finding, 0), positives, whole)


def _source(labels: CxrTable, published: Published | None) -> str:
    if not published:
        return ""
    part = f"; these are {len(labels) / published.images:.1%} of the images, taken for a part of the data set"
    return f"expected: {published.source}{'' if is_whole(labels, published) else part}"


def _said(table: CxrTable) -> Iterator[Check]:
    """What the table doesn't say: any positive, labels, ages, sexes; and what it says of views."""
    frame, views = table.frame, table.frame["view"].replace("", "unknown").value_counts()
    absent = [finding for finding in table.findings if not (frame[finding] == 1).any()]
    yield _none("findings that no image has: neither to be learned nor scored", absent)
    yield Check("labels unknown", "", _share(frame[list(table.findings)].isna().to_numpy()))
    yield Check("ages unknown", "", _share(frame["age"].isna()))
    yield Check("sexes unknown", "", _share(frame["sex"] == ""))
    yield Check("views", "", ", ".join(f"{view} {count:,}" for view, count in views.items()))


def _published_split(labels: CxrTable, published: Published | None) -> Iterator[Check]:
    for side, (images, patients) in (published.sides if published else {}).items():
        frame = labels.frame[labels.frame["image_id"].isin(labels.given_split.get(side, ()))]
        whole = is_whole(labels, published) and bool(labels.given_split)
        yield _against(f"published {side}: images", images, len(frame), whole)
        if patients:
            yield _against(f"published {side}: patients", patients, frame["patient_id"].nunique(), whole)
    if labels.given_split:
        shared = patients_on_two_sides(labels, labels.given_split)
        yield _none("patients on two sides of the published split", shared)


def _left_out(table: CxrTable, published: Published | None) -> Iterator[Check]:
    """What the reader leaves out; the two reasons about files have a verdict."""
    verdicts: dict[str, Verdict] = {NO_FILE: "differs" if published else "problem", NO_ROW: "differs"}
    for reason, count in table.left_out.items():
        yield Check(reason, 0 if reason in verdicts else "", count, verdicts.get(reason, "ok"))


def _files(seen: Seen, intensity: Intensity) -> Iterator[Check]:
    yield Check("images with a file", "", seen.images)
    yield _none("unreadable image files", [f"{path}: {why}" for path, why in seen.unreadable.items()])
    what = f"images without a pixel brighter than {DARK - 1} (of 255)"
    if 2 * seen.dark > seen.images - len(seen.unreadable):
        yield Check(what, "", seen.dark, "problem", STRETCH if intensity == "fixed" else AS_STORED)
    else:
        yield Check(what, "", seen.dark)


def _split(table: CxrTable, settings: DataSettings, of: str = "") -> Check:
    """The split that the settings ask for: whether it can be made, with no patient on two sides; `of` which images."""
    what = f"split {settings.split}"
    try:
        split = split_of(table, settings)
    except DataError as error:
        return Check(what, "", "can't be made", "problem", "; ".join(filter(None, [str(error), of])))
    counts = ", ".join(f"{side} {n['images']:,}" for side, n in split.counts(table).items())
    return Check(what, "", counts, detail=of)


def is_whole(labels: CxrTable, published: Published | None) -> bool:
    """Whether a label table claims to be all of its data set."""
    return published is not None and len(labels) >= WHOLE * published.images


def _against(what: str, expected: int, found: int, whole: bool, detail: str = "") -> Check:
    if not expected:  # nobody says how many
        return Check(what, "", found, "ok", detail)
    return Check(what, expected, found, "ok" if found == expected else "problem" if whole else "differs", detail)


def _none(what: str, found: list[str]) -> Check:
    """A problem where anything was found, with the first of it named."""
    more = f"; and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return Check(what, 0, len(found), "problem" if found else "ok", "; ".join(found[:NAMED]) + more)


def _share(where: np.ndarray | pd.Series) -> str:
    return f"{int(where.sum()):,} of {where.size:,} ({where.mean():.1%})"

"""Check a data set on the disk before anyone trains on it."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from cxr_kd.data import READERS, read
from cxr_kd.data.data_card import TooFew, too_few_positives
from cxr_kd.data.file_scan import FileScan, scan_files
from cxr_kd.data.images.resize import DARK
from cxr_kd.data.splits import patients_on_two_sides, split_of
from cxr_kd.data.table import NO_FILE, NO_ROW, CxrTable, Published
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import DataSettings, Intensity

Verdict = Literal["ok", "differs", "problem"]
WHOLE = 0.99  # of the published images: a table with at least this share counts as the whole data set
NAMED = 10  # files, patients or findings that a detail names
EVERY_ROW = "for every row of the label table: views, projections and image files were not checked"
STRETCH = "`intensity: per-image` in the study stretches greys of more than 8 bits (16-bit PNG, DICOM)"
AS_STORED = "greys of 8 bits are used as they are stored"


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    `differs`: not as published or usual, as in any part of a data set; `problem`: correct it before training.
    `expected` is "" if no expected value is known.
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
    minimum_positives: int = 10,
    workers: int = 1,
    progress: bool = True,
) -> list[Check]:
    """Check the data set in `root`: its label table and, with `images`, every image file, decoded over processes.

    Counts are compared with the published ones (`PUBLISHED` of the reader). A label table with at least 99 % of the
    published images counts as the whole data set: there, a count other than the published one is a problem. In a
    smaller table it only differs, and so do rows without an image file: a part of a published data set is no problem.
    In a user's own folder, rows without a file are a problem. Problems in any table: an unreadable file, a finding
    without a positive image, images that are mostly almost black (decoded by `intensity`), and a patient on two sides
    of a split. Findings with fewer than `minimum_positives` positive or negative test images are named: they are not
    scored.

    Published counts are of the whole label table. Counts of labels, people, views and the split are of the images that
    the study uses; without `images`, of the whole label table too.

    Raises:
        DataError: if the label table cannot be read.
    """
    labels = read(settings, root, images=False)
    published = _published(settings.dataset, labels)
    checks = [*_counts(labels, published), *_published_split(labels, published)]
    if not images:
        split = _split(labels, settings, minimum_positives, EVERY_ROW)
        return [*checks, *_left_out(labels, published), *_content(labels), *split]
    try:
        table = read(settings, root)
    except DataError as error:
        return [*checks, Check("image files", len(labels), "cannot be used", "problem", str(error))]
    scan = scan_files(table, intensity=intensity, workers=workers, progress=progress)
    files = [*_left_out(table, published), *_files(scan, intensity)]
    return [*checks, *files, *_content(table), *_split(table, settings, minimum_positives)]


def _published(dataset: str, labels: CxrTable) -> Published | None:
    """Return the published counts of the edition with the nearest sides and number of images, None without any."""
    reader = importlib.import_module(READERS[dataset])
    editions = [value for value in vars(reader).values() if isinstance(value, Published) and value.images]

    def distance(edition: Published) -> tuple[bool, int]:
        return set(edition.sides) != set(labels.given_split), abs(edition.images - len(labels))

    return min(editions, key=distance, default=None)


def _counts(labels: CxrTable, published: Published | None) -> Iterator[Check]:
    """Compare the numbers of images, patients, and positives per finding with the published ones."""
    expected = published or Published("", 0, 0)
    whole, patients = is_whole(labels, published), labels.frame["patient_id"].nunique()
    yield _compared("images in the label table", expected.images, len(labels), whole, _source(labels, published))
    yield _compared("patients", expected.patients, patients, whole, labels.source.get("patients", ""))
    for finding in labels.findings:
        positives = int((labels.frame[finding] == 1).sum())
        yield _compared(f"positives: {finding}", expected.positives.get(finding, 0), positives, whole)


def _source(labels: CxrTable, published: Published | None) -> str:
    if not published:
        return ""
    part = f"; this table has {len(labels) / published.images:.1%} of the images and counts as a part of the data set"
    return f"expected: {published.source}{'' if is_whole(labels, published) else part}"


def _content(table: CxrTable) -> Iterator[Check]:
    """Report findings without positives, unknown labels, ages and sexes; count views."""
    frame, views = table.frame, table.frame["view"].replace("", "unknown").value_counts()
    absent = [finding for finding in table.findings if not (frame[finding] == 1).any()]
    yield _none_expected("findings without a positive image: neither learned nor scored", absent)
    yield Check("labels unknown", "", _share(frame[list(table.findings)].isna().to_numpy()))
    yield Check("ages unknown", "", _share(frame["age"].isna()))
    yield Check("sexes unknown", "", _share(frame["sex"] == ""))
    yield Check("views", "", ", ".join(f"{view} {count:,}" for view, count in views.items()))


def _published_split(labels: CxrTable, published: Published | None) -> Iterator[Check]:
    for side, (images, patients) in (published.sides if published else {}).items():
        frame = labels.frame[labels.frame["image_id"].isin(labels.given_split.get(side, ()))]
        whole = is_whole(labels, published) and bool(labels.given_split)
        yield _compared(f"published {side}: images", images, len(frame), whole)
        if patients:
            yield _compared(f"published {side}: patients", patients, frame["patient_id"].nunique(), whole)
    if labels.given_split:
        shared = patients_on_two_sides(labels, labels.given_split)
        yield _none_expected("patients on two sides of the published split", shared)


def _left_out(table: CxrTable, published: Published | None) -> Iterator[Check]:
    """Count what the reader leaves out, per reason; the two reasons about files have a verdict."""
    verdicts: dict[str, Verdict] = {NO_FILE: "differs" if published else "problem", NO_ROW: "differs"}
    for reason, count in table.left_out.items():
        yield Check(reason, 0 if reason in verdicts else "", count, verdicts.get(reason, "ok"))


def _files(scan: FileScan, intensity: Intensity) -> Iterator[Check]:
    yield Check("images with a file", "", scan.images)
    yield _none_expected("unreadable image files", [f"{path}: {why}" for path, why in scan.unreadable.items()])
    what = f"images without a pixel brighter than {DARK - 1} (of 255)"
    if 2 * scan.dark > scan.images - len(scan.unreadable):
        yield Check(what, "", scan.dark, "problem", STRETCH if intensity == "fixed" else AS_STORED)
    else:
        yield Check(what, "", scan.dark)


def _split(table: CxrTable, settings: DataSettings, minimum: int, of: str = "") -> Iterator[Check]:
    """Check that the split of the settings can be made and tests enough positives; `of` says which rows are meant."""
    what = f"split {settings.split}"
    try:
        split = split_of(table, settings)
    except DataError as error:
        yield Check(what, "", "cannot be made", "problem", "; ".join(filter(None, [str(error), of])))
        return
    counts = ", ".join(f"{side} {n['images']:,}" for side, n in split.counts(table).items())
    yield Check(what, "", counts, detail=of)
    labels = table.select(split.test).frame[list(table.findings)]
    positives = {finding: int((labels[finding] == 1).sum()) for finding in table.findings}
    known = {finding: int(labels[finding].notna().sum()) for finding in table.findings}
    yield _too_few(too_few_positives(positives, known, minimum), len(table.findings), minimum)


def _too_few(too_few: list[TooFew], findings: int, minimum: int) -> Check:
    what = f"findings with fewer than {minimum} positives or negatives in the test"
    if not too_few:
        return Check(what, 0, 0)
    named = ", ".join(f"{one.finding} ({one.positives} and {one.negatives})" for one in too_few[:NAMED])
    more = f" and {len(too_few) - NAMED:,} more" if len(too_few) > NAMED else ""
    detail = (
        f"a finding is scored with at least {minimum} positive and {minimum} negative test images "
        f"(`evaluation: {{minimum_positives: {minimum}}}` in the study); too few: {named}{more}"
    )
    all_of_them = "No finding can be scored: the report has no results"
    effect = all_of_them if len(too_few) == findings else "The report leaves them out"
    return Check(what, 0, len(too_few), "differs", f"{detail}. {effect}")


def is_whole(labels: CxrTable, published: Published | None) -> bool:
    """Return whether a label table counts as all of its data set."""
    return published is not None and len(labels) >= WHOLE * published.images


def _compared(what: str, expected: int, found: int, whole: bool, detail: str = "") -> Check:
    if not expected:  # not published
        return Check(what, "", found, "ok", detail)
    return Check(what, expected, found, "ok" if found == expected else "problem" if whole else "differs", detail)


def _none_expected(what: str, found: list[str]) -> Check:
    """Return a problem that names the first of what was found, or "ok" if nothing was."""
    more = f"; and {len(found) - NAMED:,} more" if len(found) > NAMED else ""
    return Check(what, 0, len(found), "problem" if found else "ok", "; ".join(found[:NAMED]) + more)


def _share(where: np.ndarray | pd.Series) -> str:
    return f"{int(where.sum()):,} of {where.size:,} ({where.mean():.1%})"

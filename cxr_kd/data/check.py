"""Whether a data set on disk is what it should be, found out before anyone trains on it."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from cxr_kd.data import READERS, read
from cxr_kd.data.errors import DataError
from cxr_kd.data.readability import faults
from cxr_kd.data.splits import make_split
from cxr_kd.data.table import NO_FILE, NO_ROW, CxrTable, Published
from cxr_kd.settings import DataSettings

Verdict = Literal["ok", "differs", "problem"]
WHOLE = 0.99  # of the published images: a table that has them is taken for the whole data set
NAMED = 10  # files or patients that a detail names
VERDICTS: dict[str, Verdict] = {  # of what a reader leaves out: the reasons that are about files
    NO_FILE: "problem",
    NO_ROW: "differs",
}


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
    settings: DataSettings, root: Path, *, images: bool = True, workers: int = 1, progress: bool = True
) -> list[Check]:
    """Verify the data set in `root`: its label table, and with `images` every image file, decoded over processes.

    Counts are held against the published ones (`PUBLISHED` of the reader). A label table with at least 99 % of the
    published images is taken for the whole data set: a count that is not the published one is then a problem. In a
    smaller table it only differs. A row without an image file, an unreadable file, a finding without a positive image
    and a patient on two sides of a split are problems in any table.

    Raises:
        DataError: where the label table can't be read.
    """
    labels = read(settings, root, images=False)
    published = _published(settings.dataset, labels)
    checks = [*_counts(labels, published), *_said(labels), *_published_split(labels, published)]
    if images:
        return [*checks, *_files(labels, settings, root, workers, progress)]
    return [*checks, *_left_out(labels), _split(labels, settings)]


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
        what, wanted = f"positives: {finding}", expected.positives.get(finding, 0)
        positives = int((labels.frame[finding] == 1).sum())
        if positives:
            yield _against(what, wanted, positives, whole)
        else:
            yield Check(what, wanted or "", 0, "problem", "no image has it: it can be neither learned nor scored")


def _source(labels: CxrTable, published: Published | None) -> str:
    if not published:
        return ""
    part = f"; these are {len(labels) / published.images:.1%} of the images, taken for a part of the data set"
    return f"expected: {published.source}{'' if is_whole(labels, published) else part}"


def _said(labels: CxrTable) -> Iterator[Check]:
    """What the table doesn't say: labels, ages, sexes; and what it says of views."""
    frame, views = labels.frame, labels.frame["view"].replace("", "unknown").value_counts()
    yield Check("labels unknown", "", _share(frame[list(labels.findings)].isna().to_numpy()))
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
        yield _none("patients on two sides of the published split", _on_two_sides(labels))


def _on_two_sides(labels: CxrTable) -> list[str]:
    """The patients with images on two sides of the published split."""
    frame = labels.frame[["image_id", "patient_id"]]
    on = Counter(
        patient
        for image_ids in labels.given_split.values()
        for patient in frame.loc[frame["image_id"].isin(image_ids), "patient_id"].unique()
    )
    return sorted(patient for patient, sides in on.items() if sides > 1)


def _files(labels: CxrTable, settings: DataSettings, root: Path, workers: int, progress: bool) -> Iterator[Check]:
    """What the reader leaves out, rows without a file and files without a row among it; files that can't be read."""
    try:
        table = read(settings, root)
    except DataError as error:
        yield Check("image files", len(labels), "can't be used", "problem", str(error))
        return
    yield Check("images with a file", "", len(table))
    yield from _left_out(table)
    wrong = faults(table, workers=workers, progress=progress)
    yield _none("unreadable image files", [f"{path}: {why}" for path, why in wrong.items()])
    yield _split(table, settings)


def _left_out(table: CxrTable) -> Iterator[Check]:
    for reason, count in table.left_out.items():
        yield Check(reason, 0 if reason in VERDICTS else "", count, VERDICTS.get(reason, "ok"))


def _split(table: CxrTable, settings: DataSettings) -> Check:
    """The split that the settings ask for: whether it can be made, with no patient on two sides."""
    what = f"split {settings.split}"
    try:
        split = make_split(
            table,
            settings.split,
            seed=settings.split_seed,
            validation_share=settings.validation_share,
            lists=settings.lists,
        )
    except DataError as error:
        return Check(what, "", "can't be made", "problem", str(error))
    return Check(what, "", ", ".join(f"{side} {n['images']:,}" for side, n in split.counts(table).items()))


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

"""Tables of the data, from the data card: the split, prevalence, patients, what was left out, quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cxr_kd.data.images.resize import DARK
from cxr_kd.data.readers import shared_findings
from cxr_kd.errors import DataError
from cxr_kd.report.style import finding_name
from cxr_kd.report.tables import DASH, MINUS, Cell, Table

DATA_SETS = {  # column of the table of shared findings -> name of the data set
    "chestxray14": "ChestX-ray14",
    "chexpert": "CheXpert",
    "padchest": "PadChest",
}
VIEWS = 4  # the most frequent view positions have a column each; the others share one


def split_table(data: Mapping[str, Any]) -> Table:
    """Return images and patients on each side of the split."""
    rows = [[side, f"{n['images']:,}", f"{n['patients']:,}"] for side, n in data["split"]["sides"].items()]
    total = [Cell("all", strong=True), f"{data['images']:,}", f"{data['patients']:,}"]
    told = data["source"].get("patients", "")  # a data set without patient identifiers says so here
    note = f"Patients: {told}." if told else ""
    return Table("The split", ("Side", "Images", "Patients"), [*rows, total], note)


def prevalence_table(data: Mapping[str, Any]) -> Table:
    """Return one row per finding: prevalence and positives on each side, and the difference of test and train."""
    sides = data["split"]["sides"]
    rows = []
    for finding in data["findings"]:
        shares = {side: data["prevalence"][side][finding] for side in sides}
        cells = [_prevalence(data, side, finding) for side in sides]
        rows.append([finding_name(finding), *cells, _shift(shares["train"], shares["test"])])
    unknown = any(data["known"][side][f] < n["images"] for side, n in sides.items() for f in data["findings"])
    note = "In brackets: positive images" + (" of the images whose label is known." if unknown else ".")
    heads = ("Finding", *(side.capitalize() for side in sides), "Test minus train (percentage points)")
    return Table("Prevalence on each side of the split", heads, rows, note)


def prevalence_frame(data: Mapping[str, Any]) -> pd.DataFrame:
    """Return the values of the prevalence figure: finding, side, images, known, positives, prevalence."""
    return pd.DataFrame(
        [
            (
                finding,
                side,
                counts["images"],
                *(data[key][side][finding] for key in ("known", "positives", "prevalence")),
            )
            for finding in data["findings"]
            for side, counts in data["split"]["sides"].items()
        ],
        columns=["finding", "side", "images", "known", "positives", "prevalence"],
    )


def people_table(data: Mapping[str, Any]) -> Table:
    """Return one row per side: age and sex of the patients, view positions of the images."""
    sexes = [s for s in ("women", "men", "unknown") if any(counts[s] for counts in data["patients_by_sex"].values())]
    views, more = _views(data["views"])
    rows = []
    for side, n in data["split"]["sides"].items():
        people, counts = data["patients_by_sex"][side], data["views"][side]
        others = sum(count for view, count in counts.items() if view not in views)
        shown = [*(counts.get(view, 0) for view in views), *([others] if more else [])]
        rows.append([side, _age(data["age"][side]), *(_of(people[sex], n["patients"]) for sex in sexes),
                     *(_of(count, n["images"]) for count in shown)])  # fmt: skip
    names = {"women": "Women", "men": "Men", "unknown": "Sex unknown"}
    heads = [*(names[sex] for sex in sexes), *(f"View {view}" for view in views), *(["Other views"] if more else [])]
    note = "Age and sex are those of patients at their first image on the side; view positions are those of images."
    return Table("Patients and views", ("Side", "Age (years; median, quartiles)", *heads), rows, note)


def source_table(data: Mapping[str, Any]) -> Table | None:
    """Return the images with each finding per source, all sides together; None if the images have no sources."""
    sources = data["image_sources"]
    if not sources:
        return None
    rows: list[Sequence[Any]] = [
        [Cell("Images", strong=True), *(_of_sides([side["images"] for side in s.values()]) for s in sources.values())],
        ["No positive label", *(_of_sides([side["without_finding"] for side in s.values()]) for s in sources.values())],
    ]
    for f in data["findings"]:
        counts = ([side["positives"][f] for side in s.values()] for s in sources.values())
        rows.append([finding_name(f), *map(_of_sides, counts)])
    note = "In brackets: training, validation and test side. An image with several findings counts for each of them."
    return Table("Images with each finding, by source", ("Finding", *sources), rows, note)


def left_out_table(data: Mapping[str, Any]) -> Table:
    """Return what the reader of the data set left out or took as unknown, with the reasons."""
    rows = [[reason, f"{count:,}"] for reason, count in data["left_out"].items()]
    nothing = [["nothing: every row of the label table was used", "0"]]
    return Table("Left out or taken as unknown", ("Reason", "Rows"), rows or nothing, wrapped_columns=frozenset({0}))


def quarantine_table(data: Mapping[str, Any]) -> Table:
    """Return the number of files that could not be decoded, by reason."""
    rows = [[reason, f"{count:,}"] for reason, count in data["quarantine"].items()]
    nothing = [["none: every file could be decoded", "0"]]
    return Table(
        "Quarantine", ("Files that could not be decoded", "Files"), rows or nothing, wrapped_columns=frozenset({0})
    )


def shared_table(data: Mapping[str, Any]) -> Table | None:
    """Return the corresponding findings of other data sets; None if the project does not know this data set."""
    own = data["dataset"]
    try:
        shared_findings.shared(own, own)
    except DataError:
        return None
    here = [bool(finding.labels(own)) for finding in shared_findings.SHARED_FINDINGS]
    rows = [
        [row["concept"], *(row[name] or DASH for name in DATA_SETS), row["remark"]]
        for row in shared_findings.frame()[here].to_dict("records")
    ]
    wide = frozenset({len(DATA_SETS), len(DATA_SETS) + 1})
    heads = ("Meaning", *DATA_SETS.values(), "Remark")
    note = (
        "For training on one data set and testing on another. A dash means that no label corresponds. ChestMNIST and "
        "the phantoms have the findings of ChestX-ray14."
    )
    columns = frozenset(range(len(heads)))
    return Table("The same findings in other data sets", heads, rows, note, text_columns=columns, wrapped_columns=wide)


def darkness(data: Mapping[str, Any]) -> str:
    """Return a warning if the images are almost black, or ""."""
    if data["brightest"] >= DARK:
        return ""
    return (
        f"The images are almost black: in half of them no pixel is brighter than {data['brightest']:.0f} of 255. "
        "For DICOM or 16-bit PNG files, set `intensity: per-image` in the study to stretch their grey values."
    )


def marks(data: Mapping[str, Any]) -> str:
    """Return a sentence on what is known of the places of findings."""
    boxes = data["marks"]["boxes"]
    if data["marks"]["masks"]:
        return "The pixels of each finding are known."
    if not boxes:
        return "This data set does not say where in the image a finding is."
    count, images = sum(boxes.values()), data["marks"]["boxed_images"]
    by_finding = ", ".join(f"{finding_name(finding)} {n:,}" for finding, n in boxes.items())
    return f"{count:,} boxes on {images:,} images show where a finding is ({by_finding})."


def _prevalence(data: Mapping[str, Any], side: str, finding: str) -> Cell:
    share, known = data["prevalence"][side][finding], data["known"][side][finding]
    if share is None:
        return Cell(DASH, "(no known label)")
    positives = f"{data['positives'][side][finding]:,}"
    all_known = known == data["split"]["sides"][side]["images"]
    return Cell(f"{100 * share:.1f} %", f"({positives})" if all_known else f"({positives} of {known:,})")


def _of_sides(counts: Sequence[int]) -> Cell:
    total = sum(counts)
    return Cell(f"{total:,}", f"({' / '.join(f'{count:,}' for count in counts)})" if total else "")


def _shift(train: float | None, test: float | None) -> str:
    if train is None or test is None:
        return DASH
    return f"{round(100 * (test - train), 1) + 0.0:+.1f}".replace("-", MINUS)  # + 0.0: no minus before a zero


def _views(by_side: Mapping[str, Mapping[str, int]]) -> tuple[list[str], bool]:
    """Return the most frequent view positions, and whether there are others."""
    totals: Counter[str] = sum((Counter(counts) for counts in by_side.values()), Counter())
    return [view for view, _ in totals.most_common(VIEWS)], len(totals) > VIEWS


def _age(age: Mapping[str, Any]) -> Cell:
    if not age["known"]:
        return Cell("unknown")
    return Cell(f"{age['median']:.0f}", f"({age['lower_quartile']:.0f}{DASH}{age['upper_quartile']:.0f})")


def _of(count: int, total: int) -> Cell:
    return Cell(f"{100 * count / max(total, 1):.0f} %", f"({count:,})")

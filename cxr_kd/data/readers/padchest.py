"""Read PadChest, in the layout in which BIMCV publishes it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxr_kd.data.label_file import OLDEST, LabelFile, read_label_file, sexes, unknown_ages
from cxr_kd.data.readers.padchest_files import UNREADABLE
from cxr_kd.data.readers.padchest_labels import FINDINGS, UNRELIABLE, column, label_sets, refuse_unknown, spelling
from cxr_kd.data.table import NO_FILE, NO_ROW, CxrTable, Published
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import LAYOUTS, PadchestSettings

PROJECTIONS = ("PA", "AP", "AP_horizontal", "L", "COSTAL", "EXCLUDE")

SOURCE = {
    "name": "PadChest",
    "citation": (
        "Bustos A, Pertusa A, Salinas JM, de la Iglesia-Vayá M. PadChest: A large chest x-ray image dataset with "
        "multi-label annotated reports. Medical Image Analysis 66, 2020."
    ),
    "licence": "PadChest Dataset Research Use Agreement: research only, not to be passed on",
    "where": "BIMCV, Medical Imaging Databank of the Valencia Region, after registration (1 TB in 54 archives)",
    "labels": (
        "mined from the reports, which are about the whole exam; matched as whole labels, so a label of the tree does "
        "not count as those above it (atypical pneumonia is not counted as pneumonia); a finding not named is 0"
    ),
}

PUBLISHED = Published(source="Bustos et al. 2020 (109,931 exams)", images=160_868, patients=67_625)
PUBLISHED_LATER = Published(source="copies of the table that are in use: 7 rows fewer", images=160_861, patients=0)

_LABEL_TABLES = tuple(f"PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv{end}" for end in ("", ".gz"))
_COLUMNS = ("ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM",
            "Projection", "Pediatric", "MethodLabel", "Labels")  # fmt: skip
_NO_LABEL = "rows without a label"


def read(
    root: Path, findings: Sequence[str] | None = None, options: PadchestSettings | None = None, *, images: bool = True
) -> CxrTable:
    """Return PadChest, or any part of it in its own layout, from the folder `root`.

    160,868 radiographs (16-bit PNG, full size) of 67,625 patients of the Hospital San Juan de Alicante, 2009 to 2017;
    174 radiographic findings and 19 differential diagnoses. `findings` are any of these labels; the default is the 19
    diagnoses. 27 % of the reports were labelled by physicians (`MethodLabel` Physician), the others by a recurrent
    network trained on them. `options` say whether the latter are read, and which projections.

    Layout: `PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv`, or that with `.gz`, and the images in the root, in
    `images/`, or in the numbered folders of the archives (`0/` to `54/`) in either.

    `Labels` is a written list of texts with stray spaces and empty entries. Labels are compared whole, ignoring case
    and spacing. `view` is `Projection`. `age` is the year of the exam minus the year of birth, so it can be a year too
    high. Further columns: `exam` (StudyID), `labelled_by` (MethodLabel) and `pediatric` (bool): images taken with a
    pediatric protocol are read like others and counted in `source`, because the authors included them.

    Rows are left out and counted, each under the first reason that holds: no label, a label that says that the others
    are unreliable, another projection, labelled by the network, a file known to be unreadable, no image file. Rows
    equal to an earlier one in every column read are dropped and counted. Without `images` no file is looked for, only
    repeated rows are dropped, and the labels of a row without any are unknown.

    Citation, licence and where to get it: `SOURCE`. There is no official split.

    Raises:
        DataError: if there are no images or no label table (with what to put where), for an unknown finding or
            projection, or if the table has an invalid value (with the file, line and column).
    """
    root, options, findings = Path(root), options or PadchestSettings(), tuple(findings or FINDINGS)
    label_table = next((root / name for name in _LABEL_TABLES if (root / name).is_file()), None)
    files = _image_files(root) if images else {}
    if label_table is None or (images and not files):
        raise DataError(_what_to_put_where(root, files or not images, label_table))
    file, counts = _distinct_rows(read_label_file(label_table, _COLUMNS))
    labels = _labels(file, findings, options)
    frame = _frame(file, files)
    for finding in findings:
        frame[finding] = column(finding, labels)
    if images:
        counts[NO_ROW] = len(files.keys() - set(file["ImageID"]))
        frame = _usable(frame, labels, options, files, counts)
        if frame.empty:
            raise DataError(_nothing_left(root, counts, label_table))
    counts |= unknown_ages(frame)
    whole = len(file.rows) in (PUBLISHED.images, PUBLISHED_LATER.images) and not counts.get(NO_FILE)
    return CxrTable(
        dataset="padchest",
        kind="full" if whole else "mini",
        root=root,
        frame=frame,
        findings=findings,
        left_out=counts,
        left_out_ids=frozenset(file["ImageID"]) - frozenset(frame["image_id"]),
        source={**SOURCE, **_in_words(frame)},
    )


def _distinct_rows(file: LabelFile) -> tuple[LabelFile, dict[str, int]]:
    """Return the file without rows equal to an earlier one in every column read, and {reason: their number}."""
    again = file.rows.duplicated()
    file = LabelFile(file.path, file.rows[~again].reset_index(drop=True), file.lines[~again.to_numpy()])
    file.refuse(~file["ImageID"].str.contains(r"\A[^/\\\x00]+\.png\Z"), "ImageID", "is not the name of a PNG file")
    file.refuse_all([*file.unusable_names("ImageID"), file.repeats("ImageID")])
    file.refuse(file["PatientID"] == "", "PatientID", "is blank; without patients the split cannot keep them apart")
    return file, {"rows that repeat an earlier one": int(again.sum())}


def _labels(file: LabelFile, findings: Sequence[str], options: PadchestSettings) -> pd.Series:
    """Return the set of labels of each row; DataError if the study names an unknown finding or projection."""
    sets = label_sets(file)
    refuse_unknown("projection", options.projections, {name: name for name in (*PROJECTIONS, *file["Projection"])})
    refuse_unknown("finding", findings, {spelling(n): n for n in (*sorted(set().union(*sets.values())), *FINDINGS)})
    return file["Labels"].map(sets)


def _frame(file: LabelFile, files: Mapping[str, str]) -> pd.DataFrame:
    """Return the rows without their labels; a missing file's `path` is where its archive would put it."""
    folder = file["ImageDir"].str.extract(r"\A([0-9]*)(?:\.0)?\Z")[0]
    file.refuse(folder.isna(), "ImageDir", "is not the number of a folder")
    paths = zip(file["ImageID"], folder.where(folder == "", folder + "/"), strict=True)
    return pd.DataFrame(
        {
            "image_id": file["ImageID"],
            "path": pd.Series([files.get(name, f"{folder}{name}") for name, folder in paths], dtype=object),
            "patient_id": file["PatientID"],
            "view": file["Projection"],
            "age": _ages(file["StudyDate_DICOM"], file["PatientBirth"]),
            "sex": sexes(file["PatientSex_DICOM"]),
            "exam": file["StudyID"],
            "labelled_by": file["MethodLabel"],
            "pediatric": file["Pediatric"] == "PED",
        }
    )


def _ages(exam: pd.Series, birth: pd.Series) -> pd.Series:
    """Return ages in years from dates like 20131223 and years like 1967 or 1967.0; NaN if outside 0 to OLDEST."""
    exam_year = exam.str.extract(r"\A([0-9]{4})[0-9]{4}(?:\.0)?\Z")[0].astype(float)
    ages = exam_year - birth.str.extract(r"\A([0-9]{4})(?:\.0)?\Z")[0].astype(float)
    return ages.where(ages.between(0, OLDEST))


def _usable(
    frame: pd.DataFrame,
    labels: pd.Series,
    options: PadchestSettings,
    files: Mapping[str, str],
    counts: dict[str, int],
) -> pd.DataFrame:
    """Return the rows that can be used; count the others in `counts`, each under the first reason that holds."""
    reasons = {_NO_LABEL: labels.map(len) == 0}
    for label, words in UNRELIABLE.items():
        reasons[words] = pd.Series([label in found for found in labels])
    reasons[f"projections other than {', '.join(options.projections)}"] = ~frame["view"].isin(options.projections)
    if options.labelled_by == "physician":
        reasons["reports labelled by the network"] = frame["labelled_by"] != "Physician"
    reasons["image files known to be unreadable as published"] = frame["image_id"].isin(UNREADABLE)
    reasons[NO_FILE] = ~frame["image_id"].isin(files)
    kept = pd.Series(True, index=frame.index)
    for reason, holds in reasons.items():
        counts[reason] = int((kept & holds).sum())
        kept &= ~holds
    return frame[kept].reset_index(drop=True)


def _in_words(frame: pd.DataFrame) -> dict[str, str]:
    """Return what a reader of the report must know about these rows."""
    physicians, children = int((frame["labelled_by"] == "Physician").sum()), int(frame["pediatric"].sum())
    images = f"of {len(frame):,} images"
    return {
        "labelled by": f"physicians: {physicians:,} {images}; the others by a network trained on their labels",
        "children": f"{children:,} {images} were taken with a pediatric protocol; read like others",
    }


def _image_files(root: Path) -> dict[str, str]:
    """Return file name -> path relative to the root, for every PNG file in the published folders."""
    tops = [top for top in ("", "images/") if (root / top).is_dir()]
    folders = [*tops, *(f"{top}{name}/" for top in tops for name in sorted(os.listdir(root / top)) if name.isdigit())]
    return {
        name: f"{folder}{name}"
        for folder in reversed(folders)  # a name in two folders means the first folder's file
        if (root / folder).is_dir()
        for name in os.listdir(root / folder)
        if name.endswith(".png")
    }


def _nothing_left(root: Path, counts: Mapping[str, int], label_table: Path) -> str:
    if counts[NO_FILE]:
        return _what_to_put_where(root, False, label_table)
    why = "; ".join(f"{reason}: {count:,}" for reason, count in counts.items() if count)
    return f"{label_table}: no row can be used ({why}); set projections and labelled_by of the study's padchest part"


def _what_to_put_where(root: Path, images: object, label_table: Path | None) -> str:
    missing = [] if images else ["no image of the label table" if label_table else "no image"]
    missing += [] if label_table else ["no label table"]
    return f"{root}: {' and '.join(missing)} of PadChest. Put there {LAYOUTS['padchest']}."

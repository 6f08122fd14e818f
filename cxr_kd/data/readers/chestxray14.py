"""Read NIH ChestX-ray14, in the layout in which the NIH Clinical Center publishes it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from cxr_kd.data import image_sources
from cxr_kd.data.bad_rows import Complaint
from cxr_kd.data.label_file import LabelFile, ages, read_ids, read_label_file, unknown_ages
from cxr_kd.data.table import NO_FILE, NO_ROW, ROUNDING, SEXES, CxrTable, Published, no_boxes
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import LAYOUTS

IMAGES, PATIENTS = 112_120, 30_805

# Positive images per finding in the whole data set; the order is that of every label array.
POSITIVES = {
    "Atelectasis": 11_559,
    "Cardiomegaly": 2_776,
    "Effusion": 13_317,
    "Infiltration": 19_894,
    "Mass": 5_782,
    "Nodule": 6_331,
    "Pneumonia": 1_431,
    "Pneumothorax": 5_302,
    "Consolidation": 4_667,
    "Edema": 2_303,
    "Emphysema": 2_516,
    "Fibrosis": 1_686,
    "Pleural_Thickening": 3_385,
    "Hernia": 227,
}
FINDINGS = tuple(POSITIVES)
NO_FINDING = "No Finding"

SOURCE = {
    "name": "NIH ChestX-ray14",
    "citation": (
        "Wang X, Peng Y, Lu L, Lu Z, Bagheri M, Summers RM. ChestX-ray8: Hospital-scale Chest X-ray Database and "
        "Benchmarks on Weakly-Supervised Classification and Localization of Common Thorax Diseases. CVPR 2017."
    ),
    "licence": "free to use; name the NIH Clinical Center as the source and cite the paper",
    "where": "NIH Clinical Center, public folder of the ChestX-ray14 data set (12 archives, 45 GB, and the lists)",
}

PUBLISHED = Published(
    source="Data_Entry_2017_v2020.csv, train_val_list.txt and test_list.txt as published (counts: this project)",
    images=IMAGES,
    patients=PATIENTS,
    positives=POSITIVES,
    sides={"train_val": (86_524, 28_008), "test": (25_596, 2_797)},
)

_LABEL_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
_BOXES = "BBox_List_2017.csv"
_BOX_FINDINGS = {"Infiltrate": "Infiltration"}  # the box list's word for it
_BOX_FRAME = 1024  # px; boxes are in the frame of the published PNG, whatever the size of the files
# The published header is malformed (`Bbox [x,y,w,h],,,`): these are its four coordinates.
_BOX_COLUMNS = {"Image Index": "image_id", "Finding Label": "finding",
                "Bbox [x": "x", "y": "y", "w": "width", "h]": "height"}  # fmt: skip
_COLUMNS = {
    "Image Index": "image_id",
    "Patient ID": "patient_id",
    "View Position": "view",
    "Patient Age": "age",
    "Patient Gender": "sex",
}
_LABELS = "Finding Labels"


def read(root: Path, findings: Sequence[str] | None = None, options: None = None, *, images: bool = True) -> CxrTable:
    """Return ChestX-ray14, or any part of it in its own layout, from the folder `root`.

    112,120 frontal radiographs (8-bit PNG, 1024x1024; 67,310 PA, 44,810 AP) of 30,805 patients of the NIH Clinical
    Center, 1992 to 2015; 14 findings, mined from the reports, with an accuracy above 90 % according to the authors;
    60,361 images have none, 20,796 two or more. `No Finding` is 0 for every finding: the reports were read for all of
    them, so no label is unknown. Official split by patient: 86,524 images (28,008 patients) for training and
    validation, 25,596 (2,797) for the test. 984 boxes of 8 findings on 880 images, all in the test list.

    Layout: `images/` or `images_001/images/` ... `images_012/images/`; `Data_Entry_2017_v2020.csv` (or the first
    edition, `Data_Entry_2017.csv`); `train_val_list.txt` and `test_list.txt`; `BBox_List_2017.csv`. The last three may
    be absent. Rows without an image file are left out and counted, so any part of the data set can be read. Without
    `images` no file is looked for, and every row is returned. `sources.csv` (columns `name`, `source`) is not part of
    the published data set: put it beside the label table if the images come from several collections.

    Citation, licence and where to get it: `SOURCE`. There are no options.

    Raises:
        DataError: if there are no images or no label table (with what to put where), or if a table has an invalid value
            (with the file, line and column).
    """
    del options
    root = Path(root)
    label_table = next((root / name for name in _LABEL_TABLES if (root / name).is_file()), None)
    files = _image_files(root) if images else {}
    if label_table is None or (images and not files):
        raise DataError(_what_to_put_where(root, files or not images, label_table))
    rows = frame = read_labels(label_table)
    left_out: dict[str, int] = {}
    if images:
        there = frame["image_id"].isin(files)
        left_out[NO_FILE] = int((~there).sum())
        left_out[NO_ROW] = len(files) - int(there.sum())
        frame = frame[there].reset_index(drop=True)
        if frame.empty:
            raise DataError(_what_to_put_where(root, [], label_table))
    frame.insert(1, "path", frame["image_id"].map(lambda name: files.get(name, f"images/{name}")).astype(object))
    left_out |= unknown_ages(frame)
    told = root / image_sources.FILE
    frame["source"] = image_sources.sources_of(told, frame["image_id"].tolist(), set(rows["image_id"]), strict=images)
    boxes, left_out["boxes of images that are not there"] = read_boxes(root / _BOXES, frame["image_id"])
    return CxrTable(
        dataset="chestxray14",
        kind="full" if len(frame) == IMAGES else "mini",
        root=root,
        frame=frame,
        findings=FINDINGS,
        boxes=boxes,
        left_out=left_out,
        left_out_ids=frozenset(rows["image_id"]) - frozenset(frame["image_id"]),
        given_split=_given_split(root),
        source=SOURCE,
    ).with_findings(findings)


def read_labels(path: Path) -> pd.DataFrame:
    """Return the label table alone (`image_id, patient_id, view, age, sex`, one float column per finding).

    Raises:
        DataError: for a file that is no such table, an image on two rows, a finding that is none of the 14, a sex
            other than M or F, a row without a patient.
    """
    file = read_label_file(path, [*_COLUMNS, _LABELS])
    file.refuse(file["Image Index"].str.contains(r"^$|[/\\]"), "Image Index", "is not the name of an image file")
    file.refuse_all([*file.unusable_names("Image Index"), file.repeats("Image Index")])
    file.refuse(file["Patient ID"] == "", "Patient ID", "is blank; without patients the split cannot keep them apart")
    file.refuse(~file["Patient Gender"].isin(SEXES), "Patient Gender", "is neither M nor F nor blank")
    frame = file.rows[list(_COLUMNS)].rename(columns=_COLUMNS)
    frame["age"] = ages(frame["age"])
    return pd.concat([frame, _findings(file)], axis=1)


def _findings(file: LabelFile) -> pd.DataFrame:
    """Return one float column per finding, from names joined by '|' and compared whole."""
    written = file[_LABELS]
    names = {text: frozenset(text.split("|")) for text in written.unique()}  # 836 distinct texts in 112,120 rows
    wrong = {text for text, found in names.items()
             if not found <= {*FINDINGS, NO_FINDING} or (NO_FINDING in found and len(found) > 1)}  # fmt: skip
    allowed = f"is neither {NO_FINDING!r} nor, joined by '|', any of {', '.join(FINDINGS)}"
    file.refuse(written.isin(wrong), _LABELS, allowed)
    columns = {finding: {text: float(finding in found) for text, found in names.items()} for finding in FINDINGS}
    return pd.DataFrame({finding: written.map(values).astype(float) for finding, values in columns.items()})


def _image_files(root: Path) -> dict[str, str]:
    """Return file name -> path relative to the root, for every PNG file in the published folders."""
    folders = [folder for folder in (root / "images", *sorted(root.glob("images_*/images"))) if folder.is_dir()]
    return {
        name: f"{folder.relative_to(root).as_posix()}/{name}"
        for folder in reversed(folders)  # a name in two folders means the first folder's file
        for name in os.listdir(folder)
        if name.endswith(".png")
    }


def _given_split(root: Path) -> dict[str, frozenset[str]]:
    paths = {side: root / name for side, name in _LISTS.items()}
    there = [path for path in paths.values() if path.is_file()]
    if not there:
        return {}
    if len(there) == 1:
        raise DataError(f"{root}: of {' and '.join(_LISTS.values())}, only {there[0].name} is there; put both there")
    return {side: frozenset(read_ids(path)) for side, path in paths.items()}


def read_boxes(path: Path, image_ids: Iterable[str]) -> tuple[pd.DataFrame, int]:
    """Return the boxes of these images, in fractions of the image, and the number of other boxes; DataError."""
    if not path.is_file():
        return no_boxes(), 0
    file = read_label_file(path, list(_BOX_COLUMNS))
    boxes = file.rows.rename(columns=_BOX_COLUMNS)
    boxes["finding"] = boxes["finding"].replace(_BOX_FINDINGS)
    file.refuse(~boxes["finding"].isin(FINDINGS), "Finding Label", "is none of the 14 findings")
    for written, column in list(_BOX_COLUMNS.items())[2:]:
        boxes[column] = file.numbers(written) / _BOX_FRAME
        file.refuse(boxes[column].isna(), written, "is blank")
    there = boxes["image_id"].isin(set(image_ids))
    file.refuse_all(_outside(boxes, there))
    return boxes[there].reset_index(drop=True), int((~there).sum())


def _outside(boxes: pd.DataFrame, there: pd.Series) -> list[Complaint]:
    """Return the complaints about boxes of images that are `there` and are empty or exceed the frame."""
    written = {column: name for name, column in _BOX_COLUMNS.items()}
    frame = f"the {_BOX_FRAME} px frame"
    complaints = [Complaint(there & (boxes[c] < 0), written[c], f"begins outside {frame}") for c in ("x", "y")]
    for start, length in (("x", "width"), ("y", "height")):
        past = boxes[start] + boxes[length] > 1 + ROUNDING
        complaints += [
            Complaint(there & (boxes[length] <= 0), written[length], "is the side of an empty box"),
            Complaint(there & past, written[length], f"makes the box end outside {frame}"),
        ]
    return complaints


def _what_to_put_where(root: Path, images: object, label_table: Path | None) -> str:
    missing = [] if images else ["no image of the label table" if label_table else "no image"]
    missing += [] if label_table else ["no label table"]
    return f"{root}: {' and '.join(missing)} of ChestX-ray14. Put there {LAYOUTS['chestxray14']}."

"""NIH ChestX-ray14, on the layout in which the NIH Clinical Center publishes it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from cxr_kd.data.table import BOX_COLUMNS, CxrTable, DataError, no_boxes

IMAGES, PATIENTS = 112_120, 30_805

# Positive images a finding in the whole data set; the order is that of every label array.
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

_LABEL_TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv")
_LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}
_BOXES = "BBox_List_2017.csv"
_BOX_FINDINGS = {"Infiltrate": "Infiltration"}  # the box list's own word
_BOX_FRAME = 1024  # px; boxes are in the frame of the published PNG, whatever size is stored here
_COLUMNS = {
    "Image Index": "image_id",
    "Patient ID": "patient_id",
    "View Position": "view",
    "Patient Age": "age",
    "Patient Gender": "sex",
}
_LABELS = "Finding Labels"
_OLDEST = 120  # years; the table holds ages such as 412
_YEARS = {"Y": 1.0, "": 1.0, "M": 1 / 12, "D": 1 / 365.25}  # the first edition writes 058Y, 013M, 002D


def read(root: Path) -> CxrTable:
    """Read ChestX-ray14, or any part of it that is in its own layout, from the folder `root`.

    112,120 frontal radiographs (8-bit PNG, 1024x1024; 67,310 PA, 44,810 AP) of 30,805 patients of the NIH Clinical
    Center, 1992 to 2015; 14 findings, mined from the reports with an accuracy that the authors put above 90 %; 60,361
    images have none, 20,796 two or more. `No Finding` is all zeros: the reports were read for every finding, so nothing
    is unknown. Official split by patient: 86,524 images (28,008 patients) to train and validate, 25,596 (2,797) to
    test. 984 boxes of 8 findings on 880 images, all of them in the test list.

    Layout: `images/` or `images_001/images/` ... `images_012/images/`; `Data_Entry_2017_v2020.csv` (or the first
    edition, `Data_Entry_2017.csv`); `train_val_list.txt` and `test_list.txt`; `BBox_List_2017.csv`. The last three may
    be absent. Rows without an image file are left out and counted, so that a part of the data set works as it is.

    Citation, licence and where to get it: `SOURCE`.

    Raises:
        DataError: where there are no images or no label table (and says what to put where), and where a table can't be
            trusted: with the file, the row and the column.
    """
    root = Path(root)
    label_table = next((root / name for name in _LABEL_TABLES if (root / name).is_file()), None)
    files = _image_files(root)
    if label_table is None or not files:
        raise DataError(_what_to_put_where(root, files, label_table))
    labels, left_out = read_labels(label_table)
    there = labels["image_id"].isin(files)
    left_out["rows whose image file is not there"] = int((~there).sum())
    left_out["image files that no row names"] = len(files) - int(labels.loc[there, "image_id"].nunique())
    frame = labels[there].reset_index(drop=True)
    if frame.empty:
        raise DataError(_what_to_put_where(root, [], label_table))
    frame.insert(1, "path", frame["image_id"].map(files))
    boxes, left_out["boxes of images that are not there"] = read_boxes(root / _BOXES, frame["image_id"])
    return CxrTable(
        dataset="chestxray14",
        kind="full" if frame["image_id"].nunique() == IMAGES else "mini",
        root=root,
        frame=frame,
        findings=FINDINGS,
        boxes=boxes,
        left_out={reason: count for reason, count in left_out.items() if count},
        given_split=_given_split(root),
        source=SOURCE,
    )


def read_labels(path: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the label table alone (`image_id, patient_id, view, age, sex`, a float column a finding), and repairs.

    Raises:
        DataError: for a file that is no such table, a finding that is none of the 14, a sex other than M or F.
    """
    raw = _csv(path)
    missing = [name for name in (*_COLUMNS, _LABELS) if name not in raw.columns]
    if missing:
        raise DataError(f"{path}: no column {missing}; the columns are {list(raw.columns)}")
    frame = raw[list(_COLUMNS)].rename(columns=_COLUMNS)
    frame["age"] = _ages(frame["age"])
    counts = {f"ages that are none (blank, over {_OLDEST}), taken as unknown": int(frame["age"].isna().sum())}
    return pd.concat([frame, _findings(path, raw[_LABELS])], axis=1), counts


def _csv(path: Path, **settings: object) -> pd.DataFrame:
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front of the first column's name
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", **settings)  # type: ignore[call-overload]
    except (OSError, ValueError) as error:  # pandas' parser errors and UnicodeDecodeError are ValueErrors
        raise DataError(f"{path}: not readable as a table ({error}); take it as published") from error


def _ages(written: pd.Series) -> pd.Series:
    """Return years, NaN for what is not an age or no person's."""
    parts = written.str.extract(r"^\s*(\d{1,4})\s*([YMD]?)\s*$")
    years = parts[0].astype(float) * parts[1].map(_YEARS).astype(float)
    return years.where(years <= _OLDEST)


def _findings(path: Path, written: pd.Series) -> pd.DataFrame:
    """Return a float column a finding, from names joined by '|', matched as a whole."""
    names = {text: frozenset(text.split("|")) for text in written.unique()}  # 836 distinct texts in 112,120 rows
    for text, found in names.items():
        if not found <= {*FINDINGS, NO_FINDING} or (NO_FINDING in found and len(found) > 1):
            row = int((written == text).to_numpy().argmax()) + 2  # as a text editor counts, after the header
            raise DataError(
                f"{path}, line {row}, column {_LABELS!r}: {text!r}; allowed: {NO_FINDING!r}, or, joined by '|', any of "
                f"{', '.join(FINDINGS)}"
            )
    columns = {finding: {text: float(finding in found) for text, found in names.items()} for finding in FINDINGS}
    return pd.DataFrame({finding: written.map(values) for finding, values in columns.items()})


def _image_files(root: Path) -> dict[str, str]:
    """Return file name -> path relative to the root, of every PNG file in the published folders."""
    folders = [folder for folder in (root / "images", *sorted(root.glob("images_*/images"))) if folder.is_dir()]
    return {
        name: f"{folder.relative_to(root).as_posix()}/{name}"
        for folder in reversed(folders)  # a name in two folders: the first folder's file is taken
        for name in os.listdir(folder)
        if name.endswith(".png")
    }


def _given_split(root: Path) -> dict[str, frozenset[str]]:
    paths = {side: root / name for side, name in _LISTS.items()}
    there = [path for path in paths.values() if path.is_file()]
    if not there:
        return {}
    if len(there) == 1:
        raise DataError(f"{root}: {there[0].name} is there without the other of {', '.join(_LISTS.values())}; put both")
    return {side: frozenset(path.read_text(encoding="utf-8-sig").split()) for side, path in paths.items()}


def read_boxes(path: Path, image_ids: Iterable[str]) -> tuple[pd.DataFrame, int]:
    """Return the boxes of these images, in fractions of the image, and how many others there were; DataError."""
    if not path.is_file():
        return no_boxes(), 0
    # The header is malformed as published (`Bbox [x,y,w,h],,,`): six fields with or without a seventh empty one.
    boxes = _csv(path, header=None, skiprows=1, names=list(BOX_COLUMNS), usecols=range(len(BOX_COLUMNS)))
    boxes["finding"] = boxes["finding"].replace(_BOX_FINDINGS)
    for column in BOX_COLUMNS[2:]:
        boxes[column] = pd.to_numeric(boxes[column], errors="coerce") / _BOX_FRAME
    wrong = boxes[list(BOX_COLUMNS[2:])].isna().any(axis=1) | ~boxes["finding"].isin(FINDINGS)
    if wrong.any():
        raise DataError(f"{path}, line {int(wrong.to_numpy().argmax()) + 2}: not an image, a finding and four numbers")
    there = boxes["image_id"].isin(set(image_ids))
    return boxes[there].reset_index(drop=True), int((~there).sum())


def _what_to_put_where(root: Path, files: Iterable[str], label_table: Path | None) -> str:
    missing = [] if files else ["no image of the label table" if label_table else "no image"]
    missing += [] if label_table else ["no label table"]
    return (
        f"{root}: {' and '.join(missing)} of ChestX-ray14. Put there what the NIH Clinical Center publishes: the "
        f"images, in images/ or as unpacked in images_001/images/ ... images_012/images/, with {_LABEL_TABLES[0]}, "
        f"{', '.join(_LISTS.values())} and {_BOXES}. Part of the images will do."
    )

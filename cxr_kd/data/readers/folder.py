"""A folder of one's own: images in any folders, and a CSV file that says whose they are and what they show."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pandas as pd

from cxr_kd.data.images.archive import in_archive
from cxr_kd.data.label_file import LabelFile, ages, read_label_file, sexes, unknown_ages
from cxr_kd.data.table import NO_FILE, NO_ROW, REQUIRED_COLUMNS, CxrTable
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import FolderSettings

SOURCE = {"name": "own data", "citation": "none given", "licence": "none given", "where": "a folder of one's own"}

_LABELS = {"1": 1.0, "1.0": 1.0, "true": 1.0, "yes": 1.0, "0": 0.0, "0.0": 0.0, "false": 0.0, "no": 0.0}
_BLANKS = {"zeros": "a blank label is a 0", "ignore": "a blank label is unknown: nobody said"}
_IMAGES = (".png", ".jpg", ".jpeg", ".dcm")  # what a file that no row names must end with to be counted


def read(
    root: Path, findings: Sequence[str] | None = None, options: FolderSettings | None = None, *, images: bool = True
) -> CxrTable:
    """Read images that a CSV file in the folder `root` names, a row an image.

    Layout: the CSV file (comma, semicolon or tab; UTF-8), `labels.csv` unless `options` name another, with a column
    of paths (relative to `root`, with `/`; PNG, JPEG, DICOM, or one image of an .npz archive), one of patient ids, and
    one for each of the `findings`: 1, true or yes; 0, false or no; blank, which means what `options.blank` says.
    Columns of image ids, views, ages and sexes where `options` name them. Other columns are passed over.

    Rows without an image file are left out and counted; without `images`, no file is looked for and every row is there.

    Raises:
        DataError: where there is no CSV file or none of its images (and says what to put where), and where the CSV
            file can't be trusted: with the file, the line and the column.
    """
    root, options = Path(root), options or FolderSettings()
    if not findings or set(findings) & set(REQUIRED_COLUMNS):
        raise DataError(
            f"{root}: name the columns of {options.table} that are findings, as findings: [Effusion, Nodule]; none may "
            f"be called {', '.join(REQUIRED_COLUMNS)}"
        )
    if not (root / options.table).is_file():
        raise DataError(f"{root}: no {options.table}. {_what_to_put_where(findings, options)}")
    rows = frame = read_labels(root / options.table, findings, options)
    left_out: dict[str, int] = {}
    if images:
        there = frame["path"].map(lambda path: _is_there(root, path)).astype(bool)
        if not there.any():
            nothing = f"{root}: no image of the {len(frame):,} rows of {options.table}"
            raise DataError(f"{nothing}. {_what_to_put_where(findings, options)}")
        left_out[NO_FILE] = int((~there).sum())
        left_out[NO_ROW] = _unnamed(root, frame["path"])
        frame = frame[there].reset_index(drop=True)
    left_out |= _unknown(frame, options)
    return CxrTable(
        dataset="folder",
        kind="own",
        root=root,
        frame=frame,
        findings=tuple(findings),
        left_out=left_out,
        left_out_ids=frozenset(rows["image_id"]) - frozenset(frame["image_id"]),
        source={**SOURCE, "name": options.name, "blank labels": _BLANKS[options.blank], **options.source},
    )


def read_labels(path: Path, findings: Sequence[str], options: FolderSettings) -> pd.DataFrame:
    """Return the CSV file alone, as the columns of a `CxrTable`; DataError as `read`."""
    told = {"view": options.view, "age": options.age, "sex": options.sex}
    asked = [options.path, options.patient, options.image, *told.values(), *findings]
    file = _checked(read_label_file(path, list(dict.fromkeys(name for name in asked if name))), options)
    unknown = pd.Series([""] * len(file.rows), dtype=object)
    written = {name: file[column] if column else unknown for name, column in told.items()}
    return pd.DataFrame(
        {
            "image_id": file[options.image or options.path],
            "path": file[options.path],
            "patient_id": file[options.patient],
            "view": written["view"],
            "age": ages(written["age"]),
            "sex": sexes(written["sex"]),
            **{name: _labels(file, name, options) for name in findings},
        }
    )


def _unknown(frame: pd.DataFrame, options: FolderSettings) -> dict[str, int]:
    """What was taken as unknown, of the columns that the study names."""
    sexes_unknown = {"sexes that are neither male nor female, taken as unknown": int((frame["sex"] == "").sum())}
    return (unknown_ages(frame) if options.age else {}) | (sexes_unknown if options.sex else {})


def _checked(file: LabelFile, options: FolderSettings) -> LabelFile:
    """Return the file with its paths in their shortest form; DataError for rows that can't be told apart or split."""
    file.refuse_unsafe_paths(options.path)
    shortest = file[options.path].map(lambda path: PurePosixPath(path).as_posix()).astype(object)
    file = replace(file, rows=file.rows.assign(**{options.path: shortest}))
    file.refuse_repeats(options.path)
    if options.image:
        file.refuse(file[options.image] == "", options.image, "is blank; each image needs an id")
        file.refuse_repeats(options.image)
    file.refuse(file[options.patient] == "", options.patient, "is blank; without patients there is no honest split")
    return file


def _labels(file: LabelFile, finding: str, options: FolderSettings) -> pd.Series:
    values = file[finding].str.lower().map(_LABELS).astype(float)
    blank = file[finding] == ""
    file.refuse(values.isna() & ~blank, finding, f"is none of {', '.join(_LABELS)}, or blank for unknown")
    return values.mask(blank, 0.0) if options.blank == "zeros" else values


def _is_there(root: Path, path: str) -> bool:
    return os.path.isfile(root / (in_archive(path) or (path,))[0])


def _unnamed(root: Path, paths: Iterable[str]) -> int:
    """Count the image files in `root`, at any depth, that are none of these paths."""
    named, count = set(paths), 0
    for folder, _, names in os.walk(root):
        inside = PurePosixPath(Path(folder).relative_to(root).as_posix())
        count += sum(str(inside / name) not in named for name in names if name.lower().endswith(_IMAGES))
    return count


def _what_to_put_where(findings: Sequence[str], options: FolderSettings) -> str:
    others = "," * (len(findings) - 1)
    return (
        f"Put there the images, in any folders, and {options.table}, a line an image, such as:\n"
        f"{options.path},{options.patient},{','.join(findings)}\n"
        f"images/0001.png,patient-1,1{others}\n"
        f"images/0002.dcm,patient-1,0{others}"
    )

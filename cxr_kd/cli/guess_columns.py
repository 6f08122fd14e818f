"""Guess what the columns of a user's table are, from their names and values."""

from __future__ import annotations

import csv
import gzip
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from cxr_kd.data.images.archive import in_archive
from cxr_kd.data.label_file import LabelFile, ages, read_label_file, sexes
from cxr_kd.errors import DataError

# Names of columns without case, spaces and punctuation, most usual first.
PATHS = ("path", "filepath", "imagepath", "file", "filename", "image", "imageindex", "imageid", "dicompath", "png")
PATIENTS = ("patientid", "patient", "subjectid", "subject", "pid", "mrn", "caseid", "case")
VIEWS = ("view", "viewposition", "projection", "position", "aplateral", "appa", "frontallateral")
AGES = ("age", "patientage", "ageyears", "ageatstudy")
SEXES = ("sex", "gender", "patientsex", "patientgender")
TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")  # as readers/folder.py reads labels
LOOKED_AT = 200  # rows whose image files are looked for
MOSTLY = 0.9  # share of values that must fit


@dataclass(frozen=True)
class Columns:
    """What each column of a table is.

    `without_file`: the number of the first `LOOKED_AT` rows whose image file is missing. `blanks`: whether a finding
    has blank labels. `unused`: column -> why it is not used.
    """

    path: str
    patient: str
    findings: tuple[str, ...]
    view: str | None = None
    age: str | None = None
    sex: str | None = None
    blanks: bool = False
    without_file: int = 0
    unused: dict[str, str] = field(default_factory=dict)


def guess_columns(folder: Path, table: Path, path: str | None = None, patient: str | None = None) -> Columns:
    """Return what the columns of `table` are, whose paths are relative to `folder`.

    `path` and `patient` name columns that the user already decided. Raises DataError for a table that cannot be read,
    and if no column holds paths of image files, patients, or findings.
    """
    names = _header(table)
    if unknown := [name for name in (path, patient) if name and name not in names]:
        raise DataError(f"{table}: no column {unknown[0]!r}; the columns are {', '.join(names)}")
    file = read_label_file(table, names)
    path = path or _path_column(folder, file, names)
    patient = patient or _named(file, PATIENTS, taken=(path,))
    if not patient:
        raise DataError(
            f"{table}: cannot tell which column holds patients. Name it: --patient COLUMN. The split needs it, so that "
            f"no patient is on two sides. Columns: {', '.join(names)}"
        )
    view = _named(file, VIEWS, taken=(path, patient))
    age = _named(file, AGES, taken=(path, patient))
    age = age if age and ages(file[age]).notna().mean() >= MOSTLY / 2 else None
    sex = _named(file, SEXES, taken=(path, patient))
    sex = sex if sex and (sexes(file[sex]) != "").mean() >= MOSTLY / 2 else None
    roles = {path, patient, view, age, sex}
    reasons = {name: _not_a_finding(file[name]) for name in names if name not in roles}
    findings = tuple(name for name, reason in reasons.items() if not reason)
    unused = {name: reason for name, reason in reasons.items() if reason}
    if not findings:
        details = "; ".join(f"{name!r} {reason}" for name, reason in unused.items())
        raise DataError(f"{table}: no column is a finding, that is 1 or 0 (or blank) in every row. {details}")
    blanks = any((file[name] == "").any() for name in findings)
    missing = int((~_are_files(folder, file[path].head(LOOKED_AT))).sum())
    return Columns(path, patient, findings, view, age, sex, blanks, missing, unused)


def _header(table: Path) -> list[str]:
    """Return the names in a table's first line, without blank ones."""
    try:
        with (
            gzip.open(table, "rt", encoding="utf-8-sig")
            if table.suffix == ".gz"
            else table.open(encoding="utf-8-sig") as stream
        ):
            first = stream.readline(1_000_000)
        names = next(csv.reader([first], delimiter=max(",;\t", key=first.count)), [])
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read as a table ({error})") from None
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


def _path_column(folder: Path, file: LabelFile, names: Sequence[str]) -> str:
    """Return the column that names most files of the folder; the most usual name wins a tie."""
    found = {name: float(_are_files(folder, file[name].head(LOOKED_AT)).mean()) for name in names}
    if not len(file.rows) or max(found.values()) == 0:
        raise DataError(
            f"{file.path}: no column names image files in {folder}. Paths must be relative to that folder, such as "
            f"images/0001.png. If one column does hold them, name it: --path COLUMN. Columns: {', '.join(names)}"
        )
    usual = {name: PATHS.index(_plain(name)) if _plain(name) in PATHS else len(PATHS) for name in names}
    return max(names, key=lambda name: (found[name], -usual[name]))


def _are_files(folder: Path, paths: pd.Series) -> pd.Series:
    return paths.map(lambda path: bool(path) and os.path.isfile(folder / (in_archive(path) or (path,))[0])).astype(bool)


def _named(file: LabelFile, usual: Sequence[str], taken: Sequence[str]) -> str | None:
    """Return the column whose name is the most usual of these; None if there is none."""
    plain = {_plain(name): name for name in reversed(list(file.rows.columns)) if name not in taken}
    return next((plain[name] for name in usual if name in plain), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _not_a_finding(values: pd.Series) -> str:
    """Return why a column is not a finding, or "" if it is one."""
    written = values[values != ""].str.lower()
    fits = written.isin([*TRUE, *FALSE])
    if written.empty:
        return "is blank in every row"
    if not fits.all():
        return f"has other values than 1 and 0, such as {written[~fits].iloc[0]!r}"
    if not written.isin(TRUE).any():
        return "is 1 in no row"
    if not written.isin(FALSE).any() and not (values == "").any():
        return "is 1 in every row"
    return ""

"""A table of labels as people publish and edit it: read strictly, and every complaint names file, line and column."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import pandas as pd

from cxr_kd.data.table import UNSAFE_PATH
from cxr_kd.errors import DataError

OLDEST = 120  # years; published tables hold ages such as 412
_YEARS = {"Y": 1.0, "": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # DICOM's 058Y, 013M, 003W, 002D
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F"}
_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, eq=False)
class LabelFile:
    """Some columns of a CSV file, as text.

    Attributes:
        path: the file.
        rows: the columns that were asked for and are there, stripped of spaces; RangeIndex.
        lines: int64 (N,), the line of the file that each row ends on, as a text editor counts.
    """

    path: Path
    rows: pd.DataFrame
    lines: np.ndarray

    def __getitem__(self, column: str) -> pd.Series:
        return self.rows[column]

    def __contains__(self, column: str) -> bool:
        return column in self.rows.columns

    def refuse(self, wrong: pd.Series | np.ndarray, column: str, why: str) -> None:
        """Raise DataError where any row is `wrong`: the first one's line and value, and how many there are."""
        wrong = np.asarray(wrong, dtype=bool)
        if wrong.any():
            first, count = int(wrong.argmax()), int(wrong.sum())
            value, more = self.rows[column].iloc[first], f" ({count:,} such rows)" if count > 1 else ""
            raise DataError(f"{self.path}, line {self.lines[first]}, column {column!r}: {value!r} {why}{more}")

    def refuse_repeats(self, column: str) -> None:
        """Raise DataError where a value stands on two rows: an image must have one row."""
        again = self.rows[column].duplicated()
        if again.any():
            first = int((self.rows[column] == self.rows[column][again].iloc[0]).to_numpy().argmax())
            self.refuse(again, column, f"stands on line {self.lines[first]} already; each image needs one row")

    def refuse_unsafe_paths(self, column: str) -> None:
        """Raise DataError for paths that are absolute, climb out of the folder, are empty, or have backslashes."""
        self.refuse(self.rows[column].str.contains(UNSAFE_PATH), column, "is not a path inside the data set's folder")

    def numbers(self, column: str) -> pd.Series:
        """Return a column as floats, NaN where it is blank; DataError for anything that is no finite number."""
        text = self.rows[column]
        values = pd.to_numeric(text.where(text != ""), errors="coerce").astype(float)
        self.refuse((text != "") & ~np.isfinite(values), column, "is not a number")
        return values


def read_label_file(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> LabelFile:
    """Read these columns of a CSV file (comma, semicolon or tab; UTF-8 with or without its mark; plain or .gz).

    Columns that nobody asked for are passed over, as are blank lines and empty fields behind the last column.

    Raises:
        DataError: with the file, and the line where there is one: not there, not UTF-8, a missing or doubled column, a
            row of too few or too many fields, a quotation mark that is not closed.
    """
    try:
        with _opened(path) as stream:
            return _read(path, stream, columns, optional)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{_where_not_utf8(path, error)}; save the file as UTF-8") from error
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise DataError(f"{path}: not readable as a table ({error}); take it as published") from error


def read_ids(path: Path, known: Collection[str] = frozenset()) -> tuple[str, ...]:
    """Return the image that each line of a list names: the whole line, where that is a `known` id, or its first word.

    In some lists in circulation, labels follow the name. DataError for a file that is not there or not text, and for an
    image that stands there twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{_where_not_utf8(path, error)}; it must be a list of images, one a line") from error
    except OSError as error:
        raise DataError(f"{path}: not readable ({error})") from error
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if words := line.split(maxsplit=1):
            image_id = line.strip() if line.strip() in known else words[0]
            if image_id in seen:
                raise DataError(f"{path}, line {number}: {image_id!r} stands on line {seen[image_id]} already")
            seen[image_id] = number
    return tuple(seen)


def ages(written: pd.Series) -> pd.Series:
    """Return years (61, `061Y`, `013M`, 57.0), NaN for what is blank, no age, or no person's (over OLDEST)."""
    parts = written.str.upper().str.extract(r"^\s*(\d{1,4}(?:\.\d*)?)\s*([YMWD]?)\s*$")
    years = parts[0].astype(float) * parts[1].map(_YEARS).astype(float)
    return years.where(years <= OLDEST)


def unknown_ages(frame: pd.DataFrame) -> dict[str, int]:
    """Return {reason: images} of the images whose age is unknown, for `CxrTable.left_out`."""
    return {f"ages that are none (blank, over {OLDEST}), taken as unknown": int(frame["age"].isna().sum())}


def sexes(written: pd.Series) -> pd.Series:
    """Return "M", "F", or "" for anything else (blank, unknown, other)."""
    return written.str.strip().str.upper().map(_SEXES).fillna("").astype(object)


def _opened(path: Path) -> TextIO:
    # utf-8-sig: spreadsheets put a byte order mark in front of the first column's name
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _read(path: Path, stream: TextIO, columns: Sequence[str], optional: Sequence[str]) -> LabelFile:
    first = stream.readline()
    delimiter = max(_DELIMITERS, key=first.count)
    header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter, strict=True), [])]
    while header and not header[-1]:
        header.pop()
    missing = [name for name in columns if name not in header]
    if missing:
        raise DataError(f"{path}: no column {', '.join(map(repr, missing))}; the columns are {', '.join(header[:60])}")
    wanted = [*columns, *(name for name in optional if name in header)]
    twice = [name for name in wanted if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}, line 1: column {twice[0]!r} stands there twice")
    places, values, lines = [header.index(name) for name in wanted], [], []
    for line, fields in _fields(path, csv.reader(stream, delimiter=delimiter, strict=True), len(header)):
        values.append([fields[place].strip() for place in places])
        lines.append(line)
    rows = pd.DataFrame(values, columns=wanted, dtype=object)
    return LabelFile(path, rows, np.array(lines, dtype=np.int64))


def _fields(path: Path, reader: Iterator[list[str]], count: int) -> Iterator[tuple[int, list[str]]]:
    while True:
        begins = reader.line_num + 2  # type: ignore[attr-defined]  # the header was line 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path}, line {begins}: {error}; is a quotation mark not closed?") from error
        if fields is None:
            return
        line = reader.line_num + 1  # type: ignore[attr-defined]
        if not any(fields):
            continue
        if len(fields) < count or any(fields[count:]):
            raise DataError(
                f"{path}, line {line}: {len(fields)} fields where the header has {count}; is the file cut off, or a "
                "comma not quoted?"
            )
        yield line, fields


def _where_not_utf8(path: Path, error: UnicodeDecodeError) -> str:
    """The file and the first line that is not UTF-8."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as wrong:
                    return f"{path}, line {number}: not UTF-8 (byte {line[wrong.start]:#04x})"
    except (OSError, EOFError, zlib.error):
        pass
    return f"{path}: not UTF-8 ({error.reason})"

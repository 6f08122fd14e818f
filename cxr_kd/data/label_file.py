"""Read a label table as people publish and edit it. Reading is strict: errors name the file, line and column."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd

from cxr_kd.data.bad_rows import BadRows, Complaint
from cxr_kd.data.paths import CONTROL_CHARACTER, UNSAFE_PATH, too_long
from cxr_kd.data.regular_file import check_regular
from cxr_kd.errors import DataError

OLDEST = 120  # years; published tables hold ages such as 412
_YEARS = {"Y": 1.0, "": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}  # DICOM's 058Y, 013M, 003W, 002D
_SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F"}
_DELIMITERS = (",", ";", "\t")
# Upper limits for a label table, above the largest published ones: a small file can unpack to gigabytes.
_MOST_BYTES = 2**28
_MOST_CELLS = 8_000_000  # in the columns that are read; CheXpert has 4.2 million
_MOST_LINES = 2_000_000
_LONGEST_LINE = 2**20  # characters


@dataclass(frozen=True, eq=False)
class LabelFile:
    """Some columns of a CSV file, as text.

    Attributes:
        path: the file.
        rows: the requested columns that the file has, without surrounding spaces; RangeIndex.
        lines: int64 (N,), the line of the file that each row ends on, as a text editor counts.
    """

    path: Path
    rows: pd.DataFrame
    lines: np.ndarray

    def __getitem__(self, column: str) -> pd.Series:
        return self.rows[column]

    def __contains__(self, column: str) -> bool:
        return column in self.rows.columns

    def refuse_all(self, complaints: Iterable[Complaint]) -> None:
        """Raise one DataError for all complaints that hold, with the lines and values of the first problems."""
        bad = BadRows(self.path)
        for complaint in complaints:
            bad.add_complaint(complaint, self.rows[complaint.column], self.lines)
        bad.refuse()

    def refuse(self, wrong: pd.Series | np.ndarray, column: str, why: str) -> None:
        """Raise DataError if any row is `wrong`, as `refuse_all`."""
        self.refuse_all([Complaint(wrong, column, why)])

    def repeats(self, column: str) -> Complaint:
        """Return the complaint that a value is on an earlier line too. Blanks are no repeats."""
        values = self.rows[column]
        first = dict(zip(values[::-1], self.lines[::-1], strict=True))
        again = values.duplicated() & (values != "")
        return Complaint(again, column, lambda value: f"is on line {first[value]} already; each image needs one row")

    def unusable_names(self, column: str) -> list[Complaint]:
        """Return the complaints about values that cannot name a file, or an image in a list with one id per line."""
        values = self.rows[column]
        return [
            Complaint(values.str.contains(CONTROL_CHARACTER), column, "has a line break or other control character"),
            Complaint(too_long(values), column, "is longer than file names can be (255 bytes)"),
        ]

    def unsafe_paths(self, column: str) -> list[Complaint]:
        """Return the complaints about paths that are blank, absolute, lead out of the folder or have backslashes."""
        outside = Complaint(
            self.rows[column].str.contains(UNSAFE_PATH), column, "is not a path inside the data set's folder"
        )
        return [outside, *self.unusable_names(column)]

    def numbers(self, column: str) -> pd.Series:
        """Return a column as floats, NaN for blanks; DataError for everything else that is not a finite number."""
        text = self.rows[column]
        values = pd.to_numeric(text.where(text != ""), errors="coerce").astype(float)
        self.refuse((text != "") & ~np.isfinite(values), column, "is not a number")
        return values


def read_label_file(path: Path, columns: Sequence[str], optional: Sequence[str] = ()) -> LabelFile:
    """Return these columns of a CSV file (comma, semicolon or tab; UTF-8, with or without a byte order mark; or .gz).

    Other columns, blank lines and empty fields after the last column are ignored.

    Raises:
        DataError: with the file, and the line if there is one: missing, not a regular file, too large to be a table of
            labels, not UTF-8, a missing or doubled column, rows with too few or too many fields, a quotation mark that
            is not closed.
    """
    content = _content(path)
    try:
        with io.TextIOWrapper(io.BytesIO(content), "utf-8-sig", newline="") as stream:
            return _read(path, _lines(path, stream), columns, optional)
    except UnicodeDecodeError as error:
        raise DataError(f"{_where_not_utf8(path, content, error)}; save the file as UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path}: not readable as a table ({error}); use the file as published") from error


def read_ids(path: Path, known: Collection[str] = frozenset()) -> tuple[str, ...]:
    """Return the image id on each line of a list: the whole line if that is a `known` id, else its first word.

    In some lists in circulation, labels follow the name. DataError for a file that is missing or not text, and for an
    image that is listed twice.
    """
    content, seen = _content(path), dict[str, int]()
    try:
        with io.TextIOWrapper(io.BytesIO(content), "utf-8-sig") as stream:
            for number, line in enumerate(_lines(path, stream), 1):
                if words := line.split(maxsplit=1):
                    image_id = line.strip() if line.strip() in known else words[0]
                    if image_id in seen:
                        raise DataError(f"{path}, line {number}: {image_id!r} is on line {seen[image_id]} already")
                    seen[image_id] = number
    except UnicodeDecodeError as error:
        told = _where_not_utf8(path, content, error)
        raise DataError(f"{told}; it must be a list of images, one per line") from error
    return tuple(seen)


def ages(written: pd.Series) -> pd.Series:
    """Return ages in years from texts such as 61, 57.0, `061Y` and `013M`; NaN for all else, and over OLDEST."""
    parts = written.str.upper().str.extract(r"^\s*(\d{1,4}(?:\.\d*)?)\s*([YMWD]?)\s*$")
    years = parts[0].astype(float) * parts[1].map(_YEARS).astype(float)
    return years.where(years <= OLDEST)


def unknown_ages(frame: pd.DataFrame) -> dict[str, int]:
    """Return {reason: number of images with unknown age}, for `CxrTable.left_out`."""
    return {f"ages that are none (blank, over {OLDEST}), taken as unknown": int(frame["age"].isna().sum())}


def sexes(written: pd.Series) -> pd.Series:
    """Return "M", "F", or "" for anything else (blank, unknown, other)."""
    return written.str.strip().str.upper().map(_SEXES).fillna("").astype(object)


def _content(path: Path) -> bytes:
    """Return the content of a file, unpacked if its name ends in .gz; DataError if it is over _MOST_BYTES."""
    packed = path.suffix == ".gz"
    try:
        check_regular(path)
        with gzip.open(path) if packed else path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not readable as a table ({error}); use the file as published") from error
    if len(content) > _MOST_BYTES:
        unpacked = ", unpacked" if packed else ""
        raise DataError(f"{path}: over {_MOST_BYTES:,} bytes{unpacked}: too large to be a table of labels")
    return content


def _lines(path: Path, stream: io.TextIOWrapper) -> Iterator[str]:
    """Yield the lines of a text, with their ends; DataError for too long a line, or too many."""
    for number in count(1):
        line = stream.readline(_LONGEST_LINE)
        if not line:
            return
        if number > _MOST_LINES:
            raise DataError(f"{path}: over {_MOST_LINES:,} lines: too large to be a table of labels")
        if len(line) == _LONGEST_LINE and line[-1] not in "\r\n":
            raise DataError(f"{path}, line {number}: over {_LONGEST_LINE:,} characters: not a table of labels")
        yield line


def _read(path: Path, lines: Iterator[str], columns: Sequence[str], optional: Sequence[str]) -> LabelFile:
    first = next(lines, "")
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
        raise DataError(f"{path}, line 1: there are two columns {twice[0]!r}")
    places, ends = [header.index(name) for name in wanted], array("q")
    values: list[list[str]] = [[] for _ in wanted]
    for line, fields in _fields(path, csv.reader(lines, delimiter=delimiter, strict=True), len(header)):
        for place, column in zip(places, values, strict=True):
            column.append(fields[place].strip())
        ends.append(line)
        if len(ends) * len(wanted) > _MOST_CELLS:
            raise DataError(f"{path}: over {_MOST_CELLS:,} values to read: too large to be a table of labels")
    rows = pd.DataFrame(dict(zip(wanted, values, strict=True)), dtype=object)
    return LabelFile(path, rows, np.array(ends, dtype=np.int64))


def _fields(path: Path, reader: Iterator[list[str]], count: int) -> Iterator[tuple[int, list[str]]]:
    """Yield the line that each row ends on, and its fields; DataError at the end for rows without `count` fields."""
    bad = BadRows(path)
    while True:
        begins = reader.line_num + 2  # type: ignore[attr-defined]  # the header was line 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise DataError(f"{path}, line {begins}: {error}; is a quotation mark not closed?") from error
        if fields is None:
            break
        line = reader.line_num + 1  # type: ignore[attr-defined]
        if not any(fields):
            continue
        if len(fields) < count or any(fields[count:]):
            told = f"{len(fields)} fields, but the header has {count}; is the file cut off, or a comma not quoted?"
            bad.add(line, told)
        else:
            yield line, fields
    bad.refuse()


def _where_not_utf8(path: Path, content: bytes, error: UnicodeDecodeError) -> str:
    """Return the file, and the first line that is not UTF-8."""
    for number, line in enumerate(io.BytesIO(content), 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as wrong:
            return f"{path}, line {number}: not UTF-8 (byte {line[wrong.start]:#04x})"
    return f"{path}: not UTF-8 ({error.reason})"

import contextlib
import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_kd.data.label_file import ages, read_ids, read_label_file, sexes
from cxr_kd.errors import DataError

WANTED = ("path", "patient")


def written(folder: Path, content: str | bytes, name: str = "labels.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "path,patient\na.png,7\nb.png,8\n",
        "\ufeffpath,patient\r\na.png,7\r\nb.png,8\r\n",
        "path;patient\na.png;7\nb.png;8",
        "path\tpatient\na.png\t7\n\nb.png\t8\n",
        ' patient , note,path \n7,"a, b",a.png\n 8 ,, b.png \n',
        "path,patient,\na.png,7,\nb.png,8\n",
    ],
    ids=[
        "plain",
        "mark and CRLF",
        "semicolons",
        "tabs and a blank line",
        "other columns and spaces",
        "an empty column",
    ],
)
def test_common_variants_of_csv_are_read(tmp_path: Path, content: str):
    file = read_label_file(written(tmp_path, content), WANTED)
    assert file.rows.to_dict("list") == {"path": ["a.png", "b.png"], "patient": ["7", "8"]}


def test_compressed_and_optional_columns(tmp_path: Path):
    path = written(tmp_path, gzip.compress(b"path,patient,sex\na.png,7,F\n"), "labels.csv.gz")
    file = read_label_file(path, WANTED, optional=("sex", "age"))
    assert file.rows.columns.tolist() == ["path", "patient", "sex"]
    assert ("sex" in file, "age" in file) == (True, False)


def test_lines_are_counted_as_in_the_file_even_if_a_field_has_several(tmp_path: Path):
    path = written(tmp_path, 'path,patient,report\na.png,7,"two\nlines"\n\nb.png,,none\n')
    file = read_label_file(path, WANTED)
    assert file.lines.tolist() == [3, 5]
    with pytest.raises(DataError, match=r"labels\.csv, line 5, column 'patient': '' is blank$"):
        file.refuse(file["patient"] == "", "patient", "is blank")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", r"labels\.csv: no column 'path', 'patient'; the columns are $"),
        ("path,patients\n", r"no column 'patient'; the columns are path, patients"),
        ("path,patient,path\n", r"line 1: there are two columns 'path'"),
        ("path,patient,sex\na.png,7,F\nb.png,8", r"line 3: 2 fields, but the header has 3; is the file cut off"),
        ("path,patient\na.png,7,F\n", r"line 2: 3 fields, but the header has 2"),
        (
            'path,patient\na.png,7\n"b.png,8\nc.png,9\n',
            r"line 3: unexpected end of data; is a quotation mark",
        ),
        (f"path,patient\n{'a' * 200_000},7\n", r"line 2: field larger than field limit"),
        (b"path,patient\na.png,7\nb.png,J\xfcrgen\n", r"line 3: not UTF-8 \(byte 0xfc\); save the file as UTF-8"),
        (b"\xff\xfep\x00a\x00", r"line 1: not UTF-8 \(byte 0xff\)"),
    ],
    ids=["empty", "missing", "doubled", "cut off", "too many", "open quote", "endless field", "Latin-1", "UTF-16"],
)
def test_a_table_that_cannot_be_trusted_stops_with_file_and_line(tmp_path: Path, content: str | bytes, told: str):
    with pytest.raises(DataError, match=told):
        read_label_file(written(tmp_path, content), WANTED)


def test_a_file_that_is_missing_or_not_gzip(tmp_path: Path):
    with pytest.raises(DataError, match=r"nowhere\.csv: no such file"):
        read_label_file(tmp_path / "nowhere.csv", WANTED)
    packed = gzip.compress(b"path,patient\na.png,7\n" * 99)
    for content in (b"path,patient\n", packed[:-9], packed[:20] + b"\xff\xff\xff" + packed[23:]):
        with pytest.raises(DataError, match=r"labels\.csv\.gz: not readable as a table"):
            read_label_file(written(tmp_path, content, "labels.csv.gz"), WANTED)


@pytest.mark.parametrize("path", ["../a.png", "x/../../a.png", "/etc/passwd", "C:/a.png", "x\\a.png", ""])
def test_a_path_out_of_the_folder_is_refused_with_its_line(tmp_path: Path, path: str):
    file = read_label_file(written(tmp_path, f"path,patient\na..b/c.png,7\n{path},8\n"), WANTED)
    with pytest.raises(DataError, match=r"line 3, column 'path': .* is not a path inside the data set's folder"):
        file.refuse_all(file.unsafe_paths("path"))


def test_repeats_and_numbers(tmp_path: Path):
    file = read_label_file(written(tmp_path, "path,patient\na,1\nb,\na,x\na,nan\n"), WANTED)
    with pytest.raises(DataError, match=r"2 problems:\n  line 4, column 'path': 'a' is on line 2 already; "):
        file.refuse_all([file.repeats("path")])
    with pytest.raises(DataError, match=r"line 4, column 'patient': 'x' is not a number\n  line 5, .*'nan' is"):
        file.numbers("patient")
    fine = read_label_file(written(tmp_path, "path,patient\na,1\nb,\nc, 2.5\n"), WANTED)
    np.testing.assert_array_equal(fine.numbers("patient"), [1, np.nan, 2.5])


@pytest.mark.parametrize(
    ("text", "years"),
    [("57", 57), ("57.0", 57), ("061Y", 61), ("006M", 0.5), ("000D", 0), ("412", np.nan), ("", np.nan), ("-3", np.nan),
     ("old", np.nan), ("999Y", np.nan), ("1e1", np.nan)],
)  # fmt: skip
def test_ages(text: str, years: float):
    assert ages(pd.Series([text])).iloc[0] == pytest.approx(years, nan_ok=True)


def test_sexes():
    assert sexes(pd.Series(["M", "female", " f ", "O", "", "Unknown", "Male"])).tolist() == list("MFF") + [""] * 3 + [
        "M"
    ]


def test_ids_of_a_list(tmp_path: Path):
    path = written(tmp_path, "\ufeffa.png 0 1 0\n\nb.png 1 0 0\r\n", "test.txt")
    assert read_ids(path) == ("a.png", "b.png")
    spaced = written(tmp_path, "scan 1.png\nscan 2.png 0 1\n", "test.txt")
    assert read_ids(spaced, known={"scan 1.png"}) == ("scan 1.png", "scan")
    with pytest.raises(DataError, match=r"test\.txt, line 3: 'a\.png' is on line 1 already"):
        read_ids(written(tmp_path, "a.png\nb.png\na.png\n", "test.txt"))
    with pytest.raises(DataError, match=r"test\.txt, line 2: not UTF-8"):
        read_ids(written(tmp_path, b"a.png\n\xff\n", "test.txt"))
    with pytest.raises(DataError, match="no such file"):
        read_ids(tmp_path / "nowhere.txt")


@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"path,patient\n{text}".encode()))
def test_any_bytes_are_a_table_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    path = written(tmp_path_factory.getbasetemp(), content, "fuzz.csv")
    for read in (lambda: len(read_label_file(path, WANTED).lines), lambda: len(read_ids(path))):
        with contextlib.suppress(DataError):
            assert read() >= 0

"""Tables of labels that are small on disk and would take gigabytes, minutes, or for ever: each is refused."""

import gzip
import os
from pathlib import Path

import pytest
from bounded import refused

from cxr_kd.data.label_file import read_ids, read_label_file
from cxr_kd.errors import DataError

READ = "from cxr_kd.data.label_file import read_label_file; read_label_file(path, ['path', 'patient'])"
HEADER = b"path,patient\n"


def packed(path: Path, piece: bytes, times: int) -> Path:
    """Write the header and `piece`, many times over, as a .gz file."""
    with gzip.open(path, "wb") as file:
        file.write(HEADER)
        for _ in range(times):
            file.write(piece)
    return path


@pytest.mark.parametrize(
    ("piece", "times", "reason"),
    [
        (b"images/1.png,p1\n" * 2**16, 300, "over 268,435,456 bytes, unpacked: too large to be a table of labels"),
        (bytes(2**20), 20, "line 2: over 1,048,576 characters: not a table of labels"),
        (b"\n" * 2**20, 10, "over 2,000,000 lines: too large to be a table of labels"),
        (b"a,b\n" * 2**18, 10, "over 2,000,000 lines: too large to be a table of labels"),
        ("𝄞,b\n".encode() * 2**17, 20, "over 2,000,000 lines: too large to be a table of labels"),
        (b"," * 2**20, 20, "line 2: over 1,048,576 characters: not a table of labels"),
    ],
    ids=["300 MB of rows", "one line", "blank lines", "short rows", "four-byte characters", "commas"],
)
def test_a_packed_bomb_is_refused_within_a_gigabyte(tmp_path: Path, piece: bytes, times: int, reason: str):
    path = packed(tmp_path / "labels.csv.gz", piece, times)
    assert path.stat().st_size < 4e6
    told = refused(path, READ)
    assert told.startswith(f"{path}")
    assert reason in told


def test_a_bomb_of_values_that_all_differ_is_refused_within_a_gigabyte(tmp_path: Path):
    path = tmp_path / "labels.csv"
    columns = [f"column{number}" for number in range(16)]
    rows = (",".join(f"{row}-{column}" for column in range(16)) for row in range(600_000))
    path.write_text("\n".join([",".join(columns), *rows]))
    told = refused(path, f"from cxr_kd.data.label_file import read_label_file; read_label_file(path, {columns})")
    assert told == f"{path}: over 8,000,000 values to read: too large to be a table of labels"


def test_a_sparse_file_is_refused_within_a_gigabyte(tmp_path: Path):
    path = tmp_path / "labels.csv"
    path.write_bytes(HEADER)
    os.truncate(path, 2**40)
    assert "over 268,435,456 bytes: too large" in refused(path, READ)


@pytest.mark.parametrize("name", ["labels.csv", "labels.csv.gz"])
def test_a_named_pipe_is_refused_and_never_waited_for(tmp_path: Path, name: str):
    path = tmp_path / name
    os.mkfifo(path)
    assert refused(path, READ) == f"{path}: a named pipe, not a file; put the file itself there"
    ids = "from cxr_kd.data.label_file import read_ids; read_ids(path)"
    assert refused(path, ids) == f"{path}: a named pipe, not a file; put the file itself there"


def test_a_folder_is_no_table(tmp_path: Path):
    for read in (lambda: read_label_file(tmp_path, ["path"]), lambda: read_ids(tmp_path)):
        with pytest.raises(DataError, match="a folder, not a file"):
            read()

"""Rows of a `.npy` file are read and written one by one."""

import os
from pathlib import Path

import numpy as np
import pytest

from cxr_kd.errors import DataError
from cxr_kd.npy_rows import NpyRows, allocate


@pytest.mark.parametrize("axes", [1, 2])
def test_rows_that_were_written_are_read_and_numpy_reads_them_too(tmp_path: Path, axes: int):
    path, shape = tmp_path / "rows.npy", (3, 4, 5)
    values = np.random.default_rng(0).normal(size=shape).astype(np.float16)
    allocate(path, shape, np.float16)
    flat = values.reshape(-1, *shape[axes:])
    order = np.random.default_rng(1).permutation(len(flat))
    with NpyRows(path, axes=axes, write=True) as rows:
        assert (rows.shape, rows.row_shape) == (shape, shape[axes:])
        rows.write(order, flat[order])
        rows.sync()
    np.testing.assert_array_equal(np.load(path), values)
    with NpyRows(path, axes=axes) as rows:
        np.testing.assert_array_equal(rows.read(order), flat[order])
        assert rows.read(order[:0]).shape == (0, *shape[axes:])


def test_an_allocated_file_holds_zeros_and_takes_no_room(tmp_path: Path):
    allocate(tmp_path / "rows.npy", (1000, 1000), np.uint8)
    assert (tmp_path / "rows.npy").stat().st_blocks * 512 < 100_000
    assert not np.load(tmp_path / "rows.npy").any()


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path):
    np.save(tmp_path / "rows.npy", np.zeros((4, 10), np.uint8))
    with NpyRows(tmp_path / "rows.npy") as rows:
        os.truncate(tmp_path / "rows.npy", (tmp_path / "rows.npy").stat().st_size - 5)
        rows.read(np.arange(3))
        with pytest.raises(DataError, match=r"rows\.npy ends before row 3: delete the folder"):
            rows.read(np.array([3]))

"""A `.npy` file of many equal rows, read and written row by row.

Plain reads and writes, not a memory mapping: pages of a mapping count as the process's memory once they are touched,
which after an epoch is the whole file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cxr_kd.errors import DataError
from cxr_kd.files import written_whole


class NpyRows:
    """A `.npy` file in C order, open for reading or, with `write`, for both.

    Attributes:
        path: the file.
        dtype: of the values.
        shape: of the whole array; the first `axes` of them number the rows, in C order.
        row_shape: of one row.
    """

    def __init__(self, path: Path, *, axes: int = 1, write: bool = False) -> None:
        mapped = np.load(path, mmap_mode="r")
        self.path, self.shape, self.row_shape = path, mapped.shape, mapped.shape[axes:]
        self._start, self.dtype = mapped.offset, mapped.dtype
        self._row_bytes = math.prod(self.row_shape) * self.dtype.itemsize
        self._file = path.open("r+b" if write else "rb", buffering=0)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return these rows, (n, *row_shape); DataError if the file ends before one of them."""
        values = np.empty((len(rows), *self.row_shape), self.dtype)
        for value, row in zip(values, rows.tolist(), strict=True):
            self._file.seek(self._start + row * self._row_bytes)
            if self._file.readinto(value.data) != self._row_bytes:
                raise DataError(
                    f"{self.path} ends before row {row}: delete the folder {self.path.parent} and run the same "
                    f"command again, which writes it anew"
                )
        return values

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Write (n, *row_shape) values to these rows; OSError if the disk has no room."""
        for value, row in zip(np.ascontiguousarray(values, self.dtype), rows.tolist(), strict=True):
            self._file.seek(self._start + row * self._row_bytes)
            left = memoryview(value.reshape(-1).view(np.uint8))
            while left:  # a disk that fills up takes a part, and refuses the next
                left = left[self._file.write(left) :]

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> NpyRows:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def allocate(path: Path, shape: Sequence[int], dtype: type[np.generic]) -> None:
    """Write a `.npy` file of zeros, whole; it takes no room on the disk until its rows are written."""
    with written_whole(path) as temporary:
        np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=tuple(shape))

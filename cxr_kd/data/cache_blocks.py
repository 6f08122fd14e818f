"""Blocks of a cache: decoded and written one after the other, and checked when they are read.

A block is BLOCK consecutive images of `images.npy`. Its SHA-256 is recorded when it is written and compared when the
block is used: once per process, at the first use of one of its images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_kd.data.images.decode import decode
from cxr_kd.errors import DataError, StorageError
from cxr_kd.files import disk_errors, read_json, write_json
from cxr_kd.npy_rows import NpyRows

if TYPE_CHECKING:
    from cxr_kd.study.data_settings import Intensity  # a decoding process needs no pydantic

BLOCK = 32  # images; a build that is killed loses at most one block per process

_NEXT = (
    "Repair this and run the same command again: it continues where it stopped. Or remove the file and run again: "
    "another cache is built, without this image"
)


@dataclass(frozen=True)
class Block:
    """Consecutive images that are decoded and written together; plain values, so that a process can receive it."""

    folder: Path
    first: int
    paths: tuple[str, ...]
    size: int
    keep_aspect: bool
    intensity: Intensity

    @property
    def _record(self) -> Path:
        return self.folder / "blocks" / f"{self.first:09d}.json"

    @property
    def _rows(self) -> np.ndarray:
        return np.arange(self.first, self.first + len(self.paths))

    def build(self) -> int:
        """Decode and write the images, then write the record; return the number of images.

        Raises:
            StorageError: if the cache cannot be written, or if an image file cannot be read because of the storage.
                Such an image is not recorded as unreadable, because it would never be tried again.
        """
        images = np.zeros((len(self.paths), self.size, self.size), np.uint8)
        unreadable: dict[int, str] = {}
        for position, path in enumerate(self.paths):
            try:
                images[position] = decode(Path(path), self.size, keep_aspect=self.keep_aspect, intensity=self.intensity)
            except StorageError as error:
                raise StorageError(f"{error}. {_NEXT}") from error
            except DataError as error:
                unreadable[self.first + position] = str(error).removeprefix(f"{path}: ")
        with disk_errors(self.folder), NpyRows(self.folder / "images.npy", write=True) as file:
            file.write(self._rows, images)
            write_json(self._record, {"sha256": _sha256(images), "unreadable": unreadable})
        return len(self.paths)

    def record(self) -> dict[str, Any] | None:
        """Return what `build` recorded: `sha256` of the pixels and `unreadable` {row: reason}; None without a record.

        A record that is not JSON counts as none: the machine may have lost power while it was written.
        """
        try:
            record: dict[str, Any] = read_json(self._record)
        except (FileNotFoundError, ValueError):
            return None
        return record

    def is_done(self) -> bool:
        """Return whether the pixels in the file are the recorded ones, which they may not be after a power cut."""
        record = self.record()
        if record is None:
            return False
        with NpyRows(self.folder / "images.npy") as stored:
            return bool(record["sha256"] == _sha256(stored.read(self._rows)))


class CheckedRows:
    """The images of a complete cache. Each block is compared with its SHA-256 at its first use in this process."""

    def __init__(self, folder: Path, block_sha256: Sequence[str]) -> None:
        self._folder, self._expected = folder, block_sha256
        self._file = NpyRows(folder / "images.npy")
        self._checked: frozenset[int] = frozenset()

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Return the images of these rows, uint8 (n, S, S); DataError if a block that holds one has changed."""
        blocks = frozenset((rows // BLOCK).tolist())
        for block in sorted(blocks - self._checked):
            self._check(block)
        self._checked |= blocks
        return self._file.read(rows)

    def _check(self, block: int) -> None:
        first, end = block * BLOCK, min((block + 1) * BLOCK, self._file.shape[0])
        if _sha256(self._file.read(np.arange(first, end))) != self._expected[block]:
            raise DataError(
                f"{self._file.path}: the pixels of images {first} to {end - 1} are not those that were decoded; the "
                f"file was changed or damaged after it was built. Delete the folder {self._folder} and run the same "
                f"command again: the cache is then built again"
            )


def _sha256(images: np.ndarray) -> str:
    return hashlib.sha256(images.reshape(-1).data).hexdigest()

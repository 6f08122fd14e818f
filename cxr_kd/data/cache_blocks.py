"""The work of building a cache: blocks of images, decoded and written one by one, over processes where that pays."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_kd.data.images.decode import decode
from cxr_kd.data.parallel import soonest_done
from cxr_kd.errors import DataError, StorageError
from cxr_kd.files import disk_errors, read_json, write_json
from cxr_kd.npy_rows import NpyRows

if TYPE_CHECKING:
    from cxr_kd.study.data_settings import Intensity  # a worker needs no pydantic

_GOES_ON = "mend this and start again: it goes on. Or take the file away: another cache is built, without it"


@dataclass(frozen=True)
class Block:
    """Consecutive images, decoded and written together; plain values, so that it travels to a process."""

    folder: Path
    first: int
    paths: tuple[str, ...]
    size: int
    keep_aspect: bool
    intensity: Intensity

    @property
    def _record(self) -> Path:
        return self.folder / "blocks" / f"{self.first:09d}.json"

    def build(self) -> int:
        """Decode and write the images, then record that; return their number.

        Raises:
            DataError: where the folder can't be written to. An image that can't be read is recorded with the reason.
            StorageError: where the storage is at fault, not the file: recorded, the image would never be tried again.
        """
        images = np.zeros((len(self.paths), self.size, self.size), np.uint8)
        unreadable: dict[int, str] = {}
        for position, path in enumerate(self.paths):
            try:
                images[position] = decode(Path(path), self.size, keep_aspect=self.keep_aspect, intensity=self.intensity)
            except StorageError as error:
                raise StorageError(f"{error}; {_GOES_ON}") from error
            except DataError as error:
                unreadable[self.first + position] = str(error).removeprefix(f"{path}: ")
        with disk_errors(self.folder):
            with NpyRows(self.folder / "images.npy", write=True) as file:
                file.write(self._rows, images)
            write_json(self._record, {"sha256": _sha256(images), "unreadable": unreadable})
        return len(self.paths)

    def record(self) -> dict[str, Any] | None:
        """Return what `build` recorded, `sha256` of the pixels and `unreadable` {row: reason}; None for nothing."""
        try:
            record: dict[str, Any] = read_json(self._record)
        except (FileNotFoundError, ValueError):  # not JSON: the machine went down while it was written
            return None
        return record

    def is_done(self) -> bool:
        """Say whether the pixels in the file are those of the record: after a power cut they may not be."""
        record = self.record()
        if record is None:
            return False
        with NpyRows(self.folder / "images.npy") as stored:
            return bool(record["sha256"] == _sha256(stored.read(self._rows)))

    @property
    def _rows(self) -> np.ndarray:
        return np.arange(self.first, self.first + len(self.paths))


def _sha256(images: np.ndarray) -> str:
    return hashlib.sha256(images.reshape(-1).data).hexdigest()


def build_blocks(blocks: Sequence[Block], workers: int, report: Callable[[int], object]) -> None:
    """Build the blocks, over processes where that pays; `report` is told the number of images of each that is done."""
    with closing(soonest_done(Block.build, blocks, workers)) as built:
        for images in built:
            report(images)

"""Decode every image file of a data set once, without keeping it: which are unreadable and why, which almost black."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from cxr_kd.data.images.decode import decode
from cxr_kd.data.images.resize import DARK
from cxr_kd.data.parallel import soonest_done
from cxr_kd.errors import DataError

if TYPE_CHECKING:
    from cxr_kd.data.table import CxrTable  # a decoding process needs no pandas
    from cxr_kd.study.data_settings import Intensity

SIZE = 224  # px
FILES_PER_TASK = 64


@dataclass
class FileScan:
    """What was found in `images` files.

    Attributes:
        unreadable: path -> reason, in the order of the table.
        dark: number of readable images without a pixel as bright as DARK.
    """

    images: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    dark: int = 0


@dataclass(frozen=True)
class _Task:
    """Files that are decoded together; plain values, so that a process can receive it."""

    root: Path
    paths: tuple[str, ...]
    intensity: Intensity

    def scan(self) -> FileScan:
        found = FileScan(len(self.paths))
        for path in self.paths:
            file = self.root / path
            try:
                found.dark += int(decode(file, SIZE, intensity=self.intensity).max() < DARK)
            except DataError as error:
                found.unreadable[path] = str(error).removeprefix(f"{file}: ")
        return found


def scan_files(table: CxrTable, *, intensity: Intensity = "fixed", workers: int = 1, progress: bool = True) -> FileScan:
    """Decode every image file of `table` at SIZE px and return what was found.

    Memory does not grow with the number of images. DataError if a decoding process dies.
    """
    paths = table.frame["path"].tolist()
    starts = range(0, len(paths), FILES_PER_TASK)
    tasks = [_Task(table.root, tuple(paths[first : first + FILES_PER_TASK]), intensity) for first in starts]
    found = FileScan()
    with (
        tqdm(total=len(paths), desc=f"reading {table.dataset}", unit=" images", disable=not progress) as bar,
        closing(soonest_done(_Task.scan, tasks, workers)) as scanned,
    ):
        for part in scanned:
            found.images += part.images
            found.dark += part.dark
            found.unreadable |= part.unreadable
            bar.update(part.images)
    found.unreadable = {path: found.unreadable[path] for path in paths if path in found.unreadable}
    return found

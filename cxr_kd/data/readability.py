"""Every image file of a data set decoded once and let go: which can't be read, and why."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from cxr_kd.data.blocks import PROCESS_START_SECONDS, over_processes
from cxr_kd.data.decode import decode
from cxr_kd.data.errors import DataError
from cxr_kd.data.table import CxrTable

SIZE = 224  # px
TOGETHER = 64  # files that a process takes at a time


@dataclass(frozen=True)
class _Part:
    """Files that are decoded together; plain values, so that they travel to a process."""

    root: Path
    paths: tuple[str, ...]

    def faults(self) -> tuple[int, dict[str, str]]:
        found = {path: reason for path in self.paths if (reason := _fault(self.root / path))}
        return len(self.paths), found


def _fault(path: Path) -> str:
    try:
        decode(path, SIZE)
    except DataError as error:
        return str(error).removeprefix(f"{path}: ")
    return ""


def faults(table: CxrTable, *, workers: int = 1, progress: bool = True) -> dict[str, str]:
    """Return path -> reason of the image files of `table` that can't be read, in its order.

    Memory does not grow with the number of images. DataError where a decoding process dies.
    """
    paths = table.frame["path"].tolist()
    parts = [_Part(table.root, tuple(paths[first : first + TOGETHER])) for first in range(0, len(paths), TOGETHER)]
    found: dict[str, str] = {}
    with tqdm(total=len(paths), desc=f"reading {table.dataset}", unit=" images", disable=not progress) as bar:
        for count, wrong in _each(parts, workers):
            found |= wrong
            bar.update(count)
    return {path: found[path] for path in paths if path in found}


def _each(parts: Sequence[_Part], workers: int) -> Iterator[tuple[int, dict[str, str]]]:
    """Go through the parts: here as long as that is soonest done, else over processes."""
    for position, part in enumerate(parts):
        started = time.perf_counter()
        yield part.faults()
        left = (len(parts) - position - 1) * (time.perf_counter() - started)
        if workers > 1 and left * (1 - 1 / workers) > PROCESS_START_SECONDS:
            yield from over_processes(_Part.faults, parts[position + 1 :], workers)
            return

"""Every image file of a data set decoded once and let go: which can't be read, and why; which are almost black."""

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
    from cxr_kd.data.table import CxrTable  # a worker needs no pandas
    from cxr_kd.study.data_settings import Intensity

SIZE = 224  # px
TOGETHER = 64  # files that a process takes at a time


@dataclass
class Seen:
    """What was found of `images` files.

    Attributes:
        unreadable: path -> reason, in the order of the table.
        dark: of the others, how many have no pixel as bright as DARK.
    """

    images: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)
    dark: int = 0


@dataclass(frozen=True)
class _Part:
    """Files that are decoded together; plain values, so that they travel to a process."""

    root: Path
    paths: tuple[str, ...]
    intensity: Intensity

    def look(self) -> Seen:
        seen = Seen(len(self.paths))
        for path in self.paths:
            file = self.root / path
            try:
                seen.dark += int(decode(file, SIZE, intensity=self.intensity).max() < DARK)
            except DataError as error:
                seen.unreadable[path] = str(error).removeprefix(f"{file}: ")
        return seen


def look(table: CxrTable, *, intensity: Intensity = "fixed", workers: int = 1, progress: bool = True) -> Seen:
    """Decode every image file of `table`, at SIZE px, and say what was found.

    Memory does not grow with the number of images. DataError where a decoding process dies.
    """
    paths = table.frame["path"].tolist()
    starts = range(0, len(paths), TOGETHER)
    parts = [_Part(table.root, tuple(paths[first : first + TOGETHER]), intensity) for first in starts]
    seen = Seen()
    with (
        tqdm(total=len(paths), desc=f"reading {table.dataset}", unit=" images", disable=not progress) as bar,
        closing(soonest_done(_Part.look, parts, workers)) as looked,
    ):
        for part in looked:
            seen.images += part.images
            seen.dark += part.dark
            seen.unreadable |= part.unreadable
            bar.update(part.images)
    seen.unreadable = {path: seen.unreadable[path] for path in paths if path in seen.unreadable}
    return seen

"""What the paths of a table may be: places inside the data set's folder, with names that files can have."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxr_kd.data.images.archive import in_archive

if TYPE_CHECKING:
    import pandas as pd

# A path that is absolute, leads out of the root, is blank or not posix is no place inside the data set's folder.
UNSAFE_PATH = r"^$|^/|^[A-Za-z]:|\\|\x00|(?:^|/)\.\.(?:/|$)"
CONTROL_CHARACTER = r"[\x00-\x1f\x7f\x85\u2028\u2029]"  # lists of ids and paths have one per line
_LONGEST_NAME, _LONGEST_PATH = 255, 4095  # bytes, on Linux and most other systems
LINK_OUT = "reached by a symbolic link out of the data set's folder; put the files themselves there"


def too_long(values: pd.Series) -> pd.Series:
    """Return bool (N,): whether a part of a path is longer than file names can be, or the whole than paths can be."""
    suspects = values.str.len() > _LONGEST_NAME / 4  # a character takes up to 4 bytes
    return suspects & values.map(_is_too_long).astype(bool)


def _is_too_long(path: str) -> bool:
    parts = os.fsencode(path).split(b"/")
    return max(map(len, parts)) > _LONGEST_NAME or sum(map(len, parts)) + len(parts) > _LONGEST_PATH


def links_out(root: Path, paths: Iterable[str]) -> np.ndarray:
    """Return bool (N,): whether a path, or a folder on the way to it, is a symbolic link out of `root`.

    Names that no file can have are no links.
    """
    real_root = os.path.realpath(root)
    known: dict[str, bool] = {}

    def leaves(place: str) -> bool:
        if place not in known:
            path = os.path.join(root, place)
            known[place] = os.path.islink(path) and not Path(os.path.realpath(path)).is_relative_to(real_root)
        return known[place]

    def is_out(path: str) -> bool:
        parts = (in_archive(path) or (path,))[0].split("/")
        return any(leaves("/".join(parts[:end])) for end in range(1, len(parts) + 1))

    return np.array([is_out(path) for path in paths], dtype=bool)

"""Refuse what only looks like a file. Opening a named pipe waits forever; a device never ends."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cxr_kd.errors import DataError

_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def check_regular(path: Path) -> None:
    """Raise DataError if `path` exists and is neither a regular file nor a link to one.

    The message does not name the path: callers say which image, array or table it is. A missing file raises nothing,
    because opening it says what is wrong.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except (OSError, ValueError):
        return
    if kind != stat.S_IFREG:
        raise DataError(f"{_KINDS.get(kind, 'something else')}, not a file; put the file itself there")

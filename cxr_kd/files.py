"""Files that are either whole or absent, locks between processes, and one sentence when the disk refuses a write.

Processes that decode images import this module, so it imports nothing heavy at its top.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENAMETOOLONG, ENOENT
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_kd.errors import StorageError

if TYPE_CHECKING:
    import pandas as pd

_THIS_MACHINE = f"{zlib.crc32(platform.node().encode()):08x}"  # processes of several machines may share a folder
_TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)(\.\w+)?")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; rename it to `path` at the end, remove it after an error.

    The file gets the permissions that the umask asks for, whatever the writing library chose. Temporary files of
    writers that were killed are removed when a process first writes into their folder.

    Raises:
        StorageError: if the disk refuses the file: no room, no permission, a failing device.
    """
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent)
        temporary = path.with_name(f".{path.name}.{_THIS_MACHINE}-{os.getpid()}{path.suffix}")
        try:
            temporary.touch()
            permissions = temporary.stat().st_mode
            yield temporary
            temporary.chmod(permissions)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@cache  # once per process and folder: to list a folder of 100,000 images at each write would take hours
def _remove_abandoned(folder: Path) -> None:
    for name in os.listdir(folder):
        temporary = _TEMPORARY.fullmatch(name)
        if temporary and temporary[1] == _THIS_MACHINE and not _is_running(int(temporary[2])):
            (folder / name).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's process
        return True
    return True


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Raise StorageError, in one sentence, if the disk refuses what is written below `folder` in this context."""
    try:
        yield
    except OSError as error:
        if error.errno in (None, ENOENT, ENAMETOOLONG):  # about content, a file that is read here, or a name
            raise
        raise StorageError(
            f"cannot write to {folder} ({error.strerror}): make room or check the permissions, then run the same "
            f"command again; what is finished is kept"
        ) from error


def check_room(folder: Path, needed_bytes: int, what: str) -> None:
    """Raise StorageError if the disk of `folder`, which need not exist yet, has no room for `what`."""
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if needed_bytes > free:
        raise StorageError(
            f"{folder}: {what} needs {_size(needed_bytes)} more and {_size(free)} are free: make room, then run the "
            f"same command again"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold the lock file `path`; if another process holds it, print `busy` to stderr and wait.

    The system releases the lock of a process that dies. StorageError if the lock file cannot be written.
    """
    from filelock import FileLock, Timeout  # 0.2 s, which a decoding process need not spend

    lock = FileLock(path)
    with disk_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(busy, file=sys.stderr, flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; ValueError names the file if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path}: not readable as JSON ({error}): remove it and run the step that writes it"
        ) from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's content, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_csv(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV without its index, whole."""
    with written_whole(path) as temporary:
        frame.to_csv(temporary, index=False)

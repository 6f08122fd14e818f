"""Read one image, or one small array, of an .npz archive, without holding an array of images in memory."""

from __future__ import annotations

import lzma
import math
import os
import re
import struct
import threading
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from cxr_kd.data.images.resize import check_shape
from cxr_kd.data.regular_file import check_regular
from cxr_kd.errors import DataError, StorageError, is_of_storage

# What zipfile, its decompressors and NumPy's header parser raise on bad content; RuntimeError is an encrypted member.
_BROKEN = (OSError, EOFError, ValueError, TypeError, ArithmeticError, MemoryError, RuntimeError, SyntaxError,
           zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError)  # fmt: skip
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_IN_ARCHIVE = re.compile(r"^(.+\.npz)#(\w+)/(\d+)$")
_LOCK = threading.Lock()  # a stream has one position
_PIECE = 2**20  # bytes that are read at a time
_MOST_BYTES = 2**28  # of an array that is read whole; the largest labels of ChestMNIST take 9 MB


def in_archive(path: str) -> tuple[str, str, int] | None:
    """Return file, array and position of a path like `chestmnist_64.npz#train_images/17`; None for other paths."""
    match = _IN_ARCHIVE.match(path)
    return (match[1], match[2], int(match[3])) if match else None


class Header(NamedTuple):
    """What the header of an array says."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def image(path: str) -> np.ndarray:
    """Return one image, uint8 (H, W), of an array (N, H, W); `path` is `FILE.npz#ARRAY/POSITION` (`in_archive`).

    An array is compressed as one stream, so an image can be reached only through the images before it. Each process
    keeps one stream open: reading in ascending order decompresses the array once. Before the first image, the whole
    array is compared with its checksum, because most damage decompresses to other pixels without an error. Memory does
    not grow with N.

    Raises:
        DataError: with the path and the reason: no such file, array or position; not an .npz archive; an array of
            another type, a shape that no radiograph has, or damaged or incomplete content.
        StorageError: a DataError, if the file could not be read now but may be readable later.
    """
    place = in_archive(path)
    if place is None:
        raise DataError(f"{path}: not the path of an image of an archive, which is FILE.npz#ARRAY/POSITION")
    file, name, position = place
    with _as_data_error(path), _LOCK:
        check_regular(Path(file))
        state = os.stat(file)
        return _images(file, name, os.getpid(), state.st_size, state.st_mtime_ns).read(position)


def header(file: Path, name: str) -> Header:
    """Return shape and type of an array without reading it; DataError as for `image`."""
    with _as_data_error(str(file)):
        stream, found = _opened(str(file), name)
        stream.close()
        return found


def array(file: Path, name: str) -> np.ndarray:
    """Return a small array whole; DataError as for `image`, for arrays of Python objects, and over _MOST_BYTES."""
    with _as_data_error(str(file)):
        stream, found = _opened(str(file), name)  # its size is checked before memory is asked for
        stream.close()
        if math.prod(found.shape) * found.dtype.itemsize > _MOST_BYTES:
            raise DataError(f"array {name!r} is {found}, over {_MOST_BYTES:,} bytes: too large to be labels")
        with zipfile.ZipFile(file) as archive, archive.open(f"{name}.npy") as stream:
            return np.lib.format.read_array(stream, allow_pickle=False)


def checksums(file: Path) -> dict[str, str]:
    """Return array -> CRC-32 (hex) of its content, as the archive's directory lists them; DataError as for `image`."""
    with _as_data_error(str(file)):
        check_regular(file)
        with zipfile.ZipFile(file) as archive:
            return {info.filename.removesuffix(".npy"): f"{info.CRC:08x}" for info in archive.infolist()}


class _Images:
    """An array of images of an archive, open for reading one image after the other."""

    def __init__(self, file: str, name: str) -> None:
        self._stream, found = _opened(file, name)
        if found.dtype != np.uint8 or len(found.shape) != 3 or found.fortran_order:
            raise DataError(f"array {name!r} is {found}, not uint8 (N, height, width) in C order")
        check_shape(*found.shape[1:])
        self._name, self._start = name, self._stream.tell()
        self._count, *self._shape = found.shape
        self._damage = _damage(file, name)  # stored, so that not every image looks for it again

    def read(self, position: int) -> np.ndarray:
        """Return the image at a position, uint8 (H, W)."""
        if self._damage:
            raise DataError(self._damage)
        if position >= self._count:
            raise DataError(f"array {self._name!r} holds {self._count:,} images, the last at {self._count - 1}")
        length = math.prod(self._shape)
        self._stream.seek(self._start + position * length)  # zipfile reads forward in pieces; backward, from the start
        return np.frombuffer(self._stream.read(length), np.uint8).reshape(self._shape).copy()


@lru_cache(maxsize=1)
def _images(file: str, name: str, process: int, size: int, changed: int) -> _Images:
    # A forked process must not move its parent's stream, and a replaced file must be opened again: the arguments that
    # are not used tell the cache which stream is meant.
    del process, size, changed
    return _Images(file, name)


def _opened(file: str, name: str) -> tuple[IO[bytes], Header]:
    """Return an array's stream, at its first value, and its header; DataError if their lengths do not agree."""
    check_regular(Path(file))
    archive = zipfile.ZipFile(file)
    try:
        info = archive.getinfo(f"{name}.npy")
    except KeyError:
        names = ", ".join(entry.removesuffix(".npy") for entry in archive.namelist()[:20])
        raise DataError(f"the archive holds no array {name!r}; it holds: {names}") from None
    stream = archive.open(info)
    found = _header(stream)
    length = stream.tell() + math.prod(found.shape) * found.dtype.itemsize
    if info.file_size != length:
        raise DataError(f"array {name!r} has {info.file_size:,} bytes; its header says {length:,} ({found})")
    return stream, found


def _damage(file: str, name: str) -> str:
    """Return what is wrong with an array, "" if nothing is; all of it is read, in pieces, and its checksum compared."""
    try:
        with _opened(file, name)[0] as stream:
            while stream.read(_PIECE):
                pass
    except OSError:  # of the disk or the network, not of the data: it may be temporary
        raise
    except _BROKEN as error:
        return f"array {name!r} is damaged ({type(error).__name__}: {error}); fetch the file again"
    return ""


def _header(stream: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(f"NumPy format {version}")
    return Header(*_HEADERS[version](stream))


@contextmanager
def _as_data_error(where: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise type(error)(f"{where}: {error}") from error.__cause__
    except FileNotFoundError as error:
        raise DataError(f"{where}: no such file") from error
    except _BROKEN as error:
        if is_of_storage(error):
            raise StorageError(f"{where}: cannot be read ({error})") from error
        raise DataError(f"{where}: not a complete .npz archive ({type(error).__name__}: {error})") from error

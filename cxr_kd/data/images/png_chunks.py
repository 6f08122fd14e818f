"""Check the chunks of a PNG file. Pillow does not check the CRC of the chunks that hold the pixels.

Without this check, some altered files are decoded to other pixels. JPEG and DICOM files have no checksums: altered
bytes in them are noticed only if they cannot be decoded.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from cxr_kd.errors import DataError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">I4s")  # length of the content, name of the chunk
_PIECE = 2**20  # bytes that are read at a time


def check_chunks(file: BinaryIO) -> None:
    """Raise DataError if a chunk of an open PNG file does not match its CRC-32, or if IEND, the last chunk, is missing.

    What follows IEND is not looked at. The file is left at its beginning.
    """
    file.seek(len(SIGNATURE))
    name = b""
    while name != b"IEND":
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            raise DataError("not a complete PNG file (it ends without its last chunk, IEND)")
        length, name = _HEADER.unpack(head)
        if _checksum(file, length, name) != file.read(4):
            shown = name.decode("ascii", "backslashreplace")
            raise DataError(f"not a complete PNG file (chunk {shown!r} is damaged or cut off: its CRC does not match)")
    file.seek(0)


def _checksum(file: BinaryIO, length: int, name: bytes) -> bytes:
    """Return the CRC-32 of a chunk's name and content, as it must follow them in the file."""
    crc = zlib.crc32(name)
    while length > 0:
        piece = file.read(min(length, _PIECE))
        if not piece:
            raise DataError("not a complete PNG file (it ends within a chunk)")
        crc = zlib.crc32(piece, crc)
        length -= len(piece)
    return crc.to_bytes(4, "big")

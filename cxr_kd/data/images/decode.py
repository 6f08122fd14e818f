"""One radiograph, of whatever kind of file, to one 8-bit grayscale array."""

from __future__ import annotations

import contextlib
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow
from PIL import Image

from cxr_kd.data.images import archive, dicom
from cxr_kd.data.images.resize import MOST_PIXELS, RESIZE_RULE, resized, to_8_bit
from cxr_kd.errors import DataError, StorageError, is_of_storage

if TYPE_CHECKING:
    from cxr_kd.study.data_settings import Intensity

__all__ = ["INTENSITY_RULES", "MOST_PIXELS", "RESIZE_RULE", "decode"]

# How greys become 8 bit; 65535 is what torchxrayvision takes for white in PadChest (torchxrayvision/datasets.py).
INTENSITY_RULES: dict[Intensity, str] = {
    "fixed": "8-bit images as stored, colour as luminance (ITU-R 601); 16-bit PNG: value / 65535 * 255; "
    f"DICOM: {dicom.FIXED_RULE}",
    "per-image": "8-bit images as stored, colour as luminance (ITU-R 601); 16-bit PNG and DICOM: the image's own "
    f"minimum is 0 and its maximum 255, for DICOM {dicom.PER_IMAGE_RULE}",
}

MODES = ("L", "LA", "RGB", "RGBA", "P")  # 519 files of ChestX-ray14 are RGBA with equal channels, opaque throughout

_PNG_SIGNATURE, _JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_BIT_DEPTH_AT, _COLOUR_TYPE_AT = 24, 25  # bytes of a PNG file (IHDR)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)  # what Pillow raises on bad content


def decode(path: Path, size: int, *, keep_aspect: bool = False, intensity: Intensity = "fixed") -> np.ndarray:
    """Return the radiograph in `path` as uint8 (size, size).

    PNG and JPEG of 8 bits (colour and palette become luminance, an alpha channel is dropped), 16-bit grey PNG, DICOM
    (`formats.dicom`), whatever the file's name, and one image of an archive (`formats.archive`). Greys become 8 bit by
    INTENSITY_RULES, then the size changes by RESIZE_RULE, so that fine structure does not alias; `keep_aspect` fits the
    longer side and pads with black around the centre, otherwise each side is fitted on its own.

    Raises:
        DataError: for anything else (missing, empty, truncated, 1-bit, 16-bit colour, CMYK, over MOST_PIXELS, every
            pixel the same), with the file and the reason.
        StorageError: a DataError, where the file could not be read: another time it may be.
    """
    try:
        pixels = archive.image(str(path)) if archive.in_archive(str(path)) else _read(path, intensity)
        if all(rows.min() == rows.max() for rows in (pixels[::32], pixels)):  # mostly, a few rows tell
            raise DataError(f"every pixel has the same grey ({pixels.flat[0]}): not a radiograph")
    except DataError as error:
        raise type(error)(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error.__cause__
    return resized(pixels, size, keep_aspect=keep_aspect)


def _read(path: Path, intensity: Intensity) -> np.ndarray:
    try:
        with path.open("rb") as file:
            header = file.read(dicom.HEADER_BYTES)
            file.seek(0)
            if header.startswith(_PNG_SIGNATURE):
                return _png(file, header, intensity)
            if header.startswith(_JPEG_SIGNATURE):
                return _loaded(file, "JPEG")
            if dicom.is_dicom(header):
                return dicom.read(file, intensity)
    except FileNotFoundError as error:
        raise DataError("no such file") from error
    except OSError as error:
        raise (StorageError if is_of_storage(error) else DataError)(f"can't be read ({error})") from error
    raise DataError("not a PNG, JPEG or DICOM file" if header else "the file is empty (0 bytes)")


def _png(file: BinaryIO, header: bytes, intensity: Intensity) -> np.ndarray:
    depth, colour = header[_BIT_DEPTH_AT:_COLOUR_TYPE_AT], header[_COLOUR_TYPE_AT:][:1]
    if depth == b"\x01":
        raise DataError("1-bit PNG: black and white, not a radiograph")
    if depth != b"\x10":
        return _loaded(file, "PNG")
    if colour != b"\x00":  # Pillow would cut it down to 8 bits without a word
        raise DataError("16-bit PNG in colour; this reader takes 16-bit grey and 8-bit PNG")
    pixels = _loaded(file, "PNG")
    low, high = (int(pixels.min()), int(pixels.max())) if intensity == "per-image" else (0, 65535)
    return np.take(to_8_bit(np.arange(65536), low, high), pixels)


def _loaded(file: BinaryIO, form: str) -> np.ndarray:
    """Decode the whole image: uint8 or, from 16-bit PNG, integers up to 65535; (H, W)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=[form]) as image:
                _check(image)
                image.load()
                return _array(image if image.mode in ("L", "I", "I;16") else image.convert("L"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"over {MOST_PIXELS:,} pixels: not a radiograph") from error
    except _BROKEN as error:
        if is_of_storage(error):
            raise
        raise DataError(f"not a complete {form} file ({error.__class__.__name__}: {error})") from error


def _array(image: Image.Image) -> np.ndarray:
    if image.mode == "L":  # not I;16, which Pillow hands over as signed numbers
        # Pillow's own memory, where it is in one piece (16 MiB): np.asarray copies it twice.
        with contextlib.suppress(ValueError):
            return pyarrow.array(image).to_numpy().reshape(image.height, image.width)
    return np.asarray(image)


def _check(image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise DataError(f"{image.width}x{image.height}: over {MOST_PIXELS:,} pixels: not a radiograph")
    if image.mode not in (*MODES, "I", "I;16"):
        raise DataError(f"pixels of mode {image.mode!r}; this reader takes {', '.join(MODES)} and 16-bit grey")

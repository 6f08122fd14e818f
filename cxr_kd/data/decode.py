"""One image file, to one 8-bit grayscale array."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_kd.data.table import DataError

RESIZE_RULE = "area average (Pillow BOX); bilinear where the file is smaller than the cache"

FORMATS = ("PNG", "JPEG")  # what is inside counts, not the file's name
MODES = ("L", "LA", "RGB", "RGBA", "P")  # 519 files of ChestX-ray14 are RGBA with equal channels, opaque throughout
MOST_PIXELS = 80_000_000  # several times the largest detector; beyond it, a file is a mistake or an attack

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BIT_DEPTH_AT = 24  # byte of a PNG file (IHDR); Pillow would cut 16-bit colour down to 8 without a word
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)  # what Pillow raises on bad content


def decode(path: Path, size: int, keep_aspect: bool = False) -> np.ndarray:
    """Return the radiograph in `path` as uint8 (size, size).

    8-bit PNG or JPEG; colour and palette become luminance (ITU-R 601), an alpha channel is dropped. Reduced by area
    averaging, so that fine structure does not alias; `keep_aspect` fits the longer side and pads with black around the
    centre, otherwise each side is fitted on its own.

    Raises:
        DataError: for anything else (missing, empty, truncated, 16-bit, 1-bit, CMYK, over MOST_PIXELS), with the
            file and the reason.
    """
    try:
        return _resized(_gray(path), size, keep_aspect)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error.__cause__


def _gray(path: Path) -> Image.Image:
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            _check_depth(file.read(_BIT_DEPTH_AT + 1))
            file.seek(0)
            with Image.open(file, formats=FORMATS) as image:
                _check_header(image)
                return image.convert("L")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"over {MOST_PIXELS:,} pixels: not a radiograph") from error
    except FileNotFoundError as error:
        raise DataError("no such file") from error
    except _BROKEN as error:
        raise DataError(f"not a complete PNG or JPEG file ({error.__class__.__name__}: {error})") from error


def _check_depth(header: bytes) -> None:
    if not header:
        raise DataError("the file is empty (0 bytes)")
    if header.startswith(_PNG_SIGNATURE) and header[_BIT_DEPTH_AT:] == b"\x10":
        raise DataError("16-bit PNG; this reader takes 8-bit PNG and JPEG")


def _check_header(image: Image.Image) -> None:
    if image.width * image.height > MOST_PIXELS:
        raise DataError(f"{image.width}x{image.height}: over {MOST_PIXELS:,} pixels: not a radiograph")
    if image.mode not in MODES:
        raise DataError(f"pixels of mode {image.mode!r}; this reader takes 8-bit {', '.join(MODES)}")


def _resized(image: Image.Image, size: int, keep_aspect: bool) -> np.ndarray:
    longer = max(image.size) if keep_aspect else 0
    width, height = (max(1, round(side * size / (longer or side))) for side in image.size)
    reduces = width <= image.width and height <= image.height
    small = image.resize((width, height), Image.Resampling.BOX if reduces else Image.Resampling.BILINEAR)
    if (width, height) == (size, size):
        return np.array(small)
    canvas = np.zeros((size, size), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[top : top + height, left : left + width] = np.array(small)
    return canvas

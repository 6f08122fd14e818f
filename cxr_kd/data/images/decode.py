"""Decode one radiograph, in any of the accepted kinds of file, to one 8-bit grayscale array."""

from __future__ import annotations

import contextlib
import struct
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow
from PIL import ExifTags, Image

from cxr_kd.data.images import archive, dicom, dicom_greys, png_chunks
from cxr_kd.data.images.resize import MOST_PIXELS, RESIZE_RULE, check_shape, looked_up, resized, to_8_bit
from cxr_kd.data.regular_file import check_regular
from cxr_kd.errors import DataError, StorageError, is_of_storage

if TYPE_CHECKING:
    from cxr_kd.study.data_settings import Intensity

__all__ = ["INTENSITY_RULES", "MOST_PIXELS", "RESIZE_RULE", "decode"]

# How greys become 8 bit. The rules are part of a cache's plan: another wording makes existing caches unusable.
# torchxrayvision takes 65535 for white in PadChest, too (torchxrayvision/datasets.py).
INTENSITY_RULES: dict[Intensity, str] = {
    "fixed": "8-bit images as stored, colour as luminance (ITU-R 601); 16-bit PNG: value / 65535 * 255; "
    f"DICOM: {dicom_greys.FIXED_RULE}",
    "per-image": "8-bit images as stored, colour as luminance (ITU-R 601); 16-bit PNG and DICOM: the image's own "
    f"minimum is 0 and its maximum 255, for DICOM {dicom_greys.PER_IMAGE_RULE}",
}

MODES = ("L", "LA", "RGB", "RGBA", "P")  # 519 files of ChestX-ray14 are RGBA with equal channels, all opaque

_JPEG_SIGNATURE = b"\xff\xd8\xff"
_BIT_DEPTH_AT, _COLOUR_TYPE_AT = 24, 25  # bytes of a PNG file (IHDR)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)  # what Pillow raises on bad content
# What an EXIF orientation asks for (EXIF 2.32, tag 274); 1 and all other values ask for nothing.
_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(path: Path, size: int, *, keep_aspect: bool = False, intensity: Intensity = "fixed") -> np.ndarray:
    """Return the radiograph in `path` as uint8 (size, size).

    Accepted are 8-bit PNG and JPEG (colour and palette become luminance, an alpha channel is dropped), 16-bit grey PNG,
    DICOM (`images.dicom`), and one image of an .npz archive (`images.archive`). The content decides, not the file's
    name. An EXIF orientation in a PNG or JPEG file is applied, so that the image is as viewers show it.

    Greys become 8 bit by INTENSITY_RULES. Then the size changes by RESIZE_RULE, which keeps fine structure from
    aliasing. With `keep_aspect` the longer side is fitted and the image is centred on black; otherwise each side is
    fitted.

    Raises:
        DataError: for everything else, with the file and the reason: missing, not a regular file, empty, truncated,
            damaged (PNG chunks that do not match their CRC), 1-bit, 16-bit colour, CMYK, a shape that no radiograph has
            (`resize.check_shape`), all pixels equal.
        StorageError: a DataError, if the file could not be read now but may be readable later.
    """
    try:
        pixels = archive.image(str(path)) if archive.in_archive(str(path)) else _read(path, intensity)
        if all(rows.min() == rows.max() for rows in (pixels[::32], pixels)):  # a few rows mostly suffice
            raise DataError(f"every pixel has the same grey ({pixels.flat[0]}): not a radiograph")
    except DataError as error:
        raise type(error)(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error.__cause__
    return resized(pixels, size, keep_aspect=keep_aspect)


def _read(path: Path, intensity: Intensity) -> np.ndarray:
    check_regular(path)
    try:
        with path.open("rb") as file:
            header = file.read(dicom.HEADER_BYTES)
            file.seek(0)
            if header.startswith(png_chunks.SIGNATURE):
                return _png(file, header, intensity)
            if header.startswith(_JPEG_SIGNATURE):
                return _loaded(file, "JPEG")
            if dicom.is_dicom(header):
                return dicom.read(file, intensity)
    except FileNotFoundError as error:
        raise DataError("no such file") from error
    except OSError as error:
        raise (StorageError if is_of_storage(error) else DataError)(f"cannot be read ({error})") from error
    raise DataError("not a PNG, JPEG or DICOM file" if header else "the file is empty (0 bytes)")


def _png(file: BinaryIO, header: bytes, intensity: Intensity) -> np.ndarray:
    depth, colour = header[_BIT_DEPTH_AT:_COLOUR_TYPE_AT], header[_COLOUR_TYPE_AT:][:1]
    if depth == b"\x01":
        raise DataError("1-bit PNG: black and white, not a radiograph")
    if depth == b"\x10" and colour != b"\x00":  # Pillow would reduce it to 8 bits without a message
        raise DataError("16-bit PNG in colour; this reader takes 16-bit grey and 8-bit PNG")
    png_chunks.check_chunks(file)
    pixels = _loaded(file, "PNG")
    if depth != b"\x10":
        return pixels
    low, high = (int(pixels.min()), int(pixels.max())) if intensity == "per-image" else (0, 65535)
    return looked_up(to_8_bit(np.arange(65536), low, high), pixels)


def _loaded(file: BinaryIO, form: str) -> np.ndarray:
    """Return the decoded image, (H, W): uint8, or integers up to 65535 from a 16-bit PNG."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=[form]) as image:
                check_shape(image.height, image.width)
                if image.mode not in (*MODES, "I", "I;16"):
                    raise DataError(
                        f"pixels of mode {image.mode!r}; this reader takes {', '.join(MODES)} and 16-bit grey"
                    )
                image.load()
                grey = image if image.mode in ("L", "I", "I;16") else image.convert("L")
                return _array(_upright(grey))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"over {MOST_PIXELS:,} pixels: not a radiograph") from error
    except _BROKEN as error:
        if is_of_storage(error):
            raise
        raise DataError(f"not a complete {form} file ({error.__class__.__name__}: {error})") from error


def _upright(image: Image.Image) -> Image.Image:
    """Return the image turned or mirrored as its EXIF orientation says.

    EXIF data that cannot be read count as none, as they do in viewers. (`ImageOps.exif_transpose` fails on them.)
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except _BROKEN as error:
        if is_of_storage(error):
            raise
        return image
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _array(image: Image.Image) -> np.ndarray:
    if image.mode == "L":  # not I;16, which Pillow hands over as signed numbers
        # Pillow's own memory, if it is in one piece (16 MiB): np.asarray copies it twice.
        with contextlib.suppress(ValueError):
            array = pyarrow.array(image)  # not its to_numpy, which imports pandas
            pixels = np.frombuffer(array.buffers()[1], np.uint8, len(array), array.offset)
            return pixels.reshape(image.height, image.width)
    return np.asarray(image)

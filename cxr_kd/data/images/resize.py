"""Change pixels to 8 bits and to another size; refuse shapes that no radiograph has."""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from cxr_kd.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MOST_PIXELS = 80_000_000  # several times the largest detector: a larger image is a mistake or an attack
MOST_ASPECT = 50  # longer side / shorter side; a whole-spine image has about 3
# The rule is part of a cache's plan: another wording makes existing caches unusable.
RESIZE_RULE = "area average, each pixel by the share of it that is covered; bilinear along a side that is enlarged"
DARK = 64  # an image with no brighter grey shows little: 12-bit values in a 16-bit file end at 16
_TOGETHER = 32  # rows of the result that are computed at a time
_ROWS = 256  # rows of an image that are looked up at a time


def check_shape(height: int, width: int) -> None:
    """Raise DataError for an image of over MOST_PIXELS pixels, or one much longer than wide (MOST_ASPECT).

    Call it with the size in the file's header, before memory for the pixels is allocated.
    """
    if height * width > MOST_PIXELS:
        raise DataError(f"{width}x{height}: over {MOST_PIXELS:,} pixels: not a radiograph")
    if max(height, width) > MOST_ASPECT * min(height, width):
        raise DataError(f"{width}x{height}: one side is over {MOST_ASPECT} times the other: not a radiograph")


def to_8_bit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return `values` as uint8 of the same shape: `low` becomes 0 and `high` 255; values beyond them are clipped.

    All pixels are 0 if `low` equals `high`.
    """
    if low == high:
        return np.zeros(values.shape, np.uint8)
    scaled = (values.astype(np.float64) - low) * 255 / (high - low)
    return (scaled.clip(0, 255) + 0.5).astype(np.uint8)


def looked_up(table: np.ndarray, values: np.ndarray, low: int = 0) -> np.ndarray:
    """Return table[values - low] for values (H, W), in the type of the table.

    A few rows at a time: NumPy indexes with 8 bytes per pixel, 640 MB for the largest image.
    """
    found = np.empty(values.shape, table.dtype)
    for top in range(0, len(values), _ROWS):
        rows = values[top : top + _ROWS]
        np.take(table, rows.astype(np.intp) - low, mode="clip", out=found[top : top + _ROWS])
    return found


def resized(pixels: np.ndarray, size: int, *, keep_aspect: bool = False) -> np.ndarray:
    """Return `pixels`, uint8 (H, W), as uint8 (size, size), by RESIZE_RULE.

    With `keep_aspect` the longer side is fitted and the image is centred on black; otherwise each side is fitted.
    """
    longer = max(pixels.shape) if keep_aspect else 0
    height, width = (max(1, round(side * size / (longer or side))) for side in pixels.shape)
    small = _area_mean(pixels, min(height, pixels.shape[0]), min(width, pixels.shape[1]))
    if small.shape != (height, width):
        small = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BILINEAR))
    if (height, width) == (size, size):
        return small
    canvas = np.zeros((size, size), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    canvas[top : top + height, left : left + width] = small
    return canvas


def _area_mean(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the area mean, uint8 (height, width), as two products with sparse coverage matrices.

    Nearly as exact as OpenCV's INTER_AREA in float32, and 1.1 to 5 times as fast unless the reduction is by a whole
    number (docs/design.md has the measurements).
    """
    if pixels.shape == (height, width):
        return pixels
    full_height, full_width = pixels.shape
    down, across = full_height // gcd(full_height, height), full_width // gcd(full_width, width)
    # 16-bit integers, if the sums fit, and few rows at a time keep the work in the processor's cache.
    narrow = "uint16" if 255 * down < 2**16 else "float32"
    weights = _coverage(full_width, width, "float32")
    sums = np.empty((width, height), np.float32)
    for first, last, top, bottom, block in _blocks(full_height, height, narrow):
        rows = block @ pixels[top:bottom].astype(narrow)
        sums[:, first:last] = weights @ np.ascontiguousarray(rows.T, dtype=np.float32)
    return (sums.T * np.float32(1 / (down * across)) + np.float32(0.5)).astype(np.uint8)


@lru_cache(maxsize=64)
def _blocks(length: int, size: int, dtype: str) -> list[tuple[int, int, int, int, csr_array]]:
    """Return `_coverage` in blocks: (first, last) result rows, (top, bottom) pixel rows they need, and the weights."""
    weights, blocks = _coverage(length, size, dtype), []
    for first in range(0, size, _TOGETHER):
        last = min(first + _TOGETHER, size)
        top, bottom = first * length // size, -(-last * length // size)
        blocks.append((first, last, top, bottom, weights[first:last, top:bottom]))
    return blocks


@lru_cache(maxsize=64)
def _coverage(length: int, size: int, dtype: str) -> csr_array:
    """Return how much of each of `length` pixels lies in each of `size` equal parts of their row, (size, length).

    The values are integers. Their unit is the largest length that divides a pixel and a part: a part is length / gcd
    units long.
    """
    from scipy.sparse import csr_array

    pixel, part = size // gcd(length, size), length // gcd(length, size)
    edges = np.union1d(np.arange(length + 1) * pixel, np.arange(size + 1) * part)
    start = edges[:-1]
    return csr_array((np.diff(edges).astype(dtype), (start // part, start // pixel)), shape=(size, length))

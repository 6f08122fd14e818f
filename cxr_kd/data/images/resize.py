"""Pixels as numbers: to 8 bit, and to another size."""

from __future__ import annotations

from functools import lru_cache
from math import gcd
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MOST_PIXELS = 80_000_000  # several times the largest detector; beyond it, a file is a mistake or an attack
RESIZE_RULE = "area average, each pixel by the share of it that is covered; bilinear along a side that is enlarged"
DARK = 64  # an image whose brightest grey is below shows little: 12-bit values in a 16-bit file end at 16
_TOGETHER = 32  # rows of the result


def to_8_bit(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return uint8 of the same shape: `low` becomes 0, `high` 255, what lies between is rounded, the rest clipped.

    Everything is 0 where low equals high.
    """
    if low == high:
        return np.zeros(values.shape, np.uint8)
    scaled = (values.astype(np.float64) - low) * 255 / (high - low)
    return (scaled.clip(0, 255) + 0.5).astype(np.uint8)


def resized(pixels: np.ndarray, size: int, *, keep_aspect: bool = False) -> np.ndarray:
    """Return uint8 (size, size) of uint8 (H, W), by RESIZE_RULE.

    `keep_aspect` fits the longer side and pads with black around the centre, otherwise each side is fitted on its own.
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
    if pixels.shape == (height, width):
        return pixels
    full_height, full_width = pixels.shape
    down, across = full_height // gcd(full_height, height), full_width // gcd(full_width, width)
    # Whole numbers of 16 bits, where the sums fit, and few rows at a time: both keep the work in the processor's cache.
    narrow = "uint16" if 255 * down < 2**16 else "float32"
    weights = _coverage(full_width, width, "float32")
    sums = np.empty((width, height), np.float32)
    for first, last, top, bottom, block in _blocks(full_height, height, narrow):
        rows = block @ pixels[top:bottom].astype(narrow)
        sums[:, first:last] = weights @ np.ascontiguousarray(rows.T, dtype=np.float32)
    return (sums.T * np.float32(1 / (down * across)) + np.float32(0.5)).astype(np.uint8)


@lru_cache(maxsize=64)
def _blocks(length: int, size: int, dtype: str) -> list[tuple[int, int, int, int, csr_array]]:
    """Cut `_coverage` into blocks of parts: (first, last) of the parts, (top, bottom) of the pixels they need."""
    weights, blocks = _coverage(length, size, dtype), []
    for first in range(0, size, _TOGETHER):
        last = min(first + _TOGETHER, size)
        top, bottom = first * length // size, -(-last * length // size)
        blocks.append((first, last, top, bottom, weights[first:last, top:bottom]))
    return blocks


@lru_cache(maxsize=64)
def _coverage(length: int, size: int, dtype: str) -> csr_array:
    """How much of each of `length` pixels lies in each of `size` equal parts of their row, (size, length).

    Whole numbers. The unit is the largest that divides a pixel and a part alike: a part holds length / gcd of them.
    """
    from scipy.sparse import csr_array

    pixel, part = size // gcd(length, size), length // gcd(length, size)
    edges = np.union1d(np.arange(length + 1) * pixel, np.arange(size + 1) * part)
    start = edges[:-1]
    return csr_array((np.diff(edges).astype(dtype), (start // part, start // pixel)), shape=(size, length))

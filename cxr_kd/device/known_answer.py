"""The image that every exported model can be checked with: drawn from whole numbers, so any program draws the same."""

from __future__ import annotations

import numpy as np


def image(size: int) -> np.ndarray:
    """Return the check image as uint8 (size, size): two dark lungs in a bright body, with a texture.

    With x and y the column and the row, from 0, and // the division of whole numbers:

        u = 1000 x // size, v = 1000 y // size
        lung = (u - 310)^2 * 84100 + (v - 480)^2 * 28900 < 2430490000, or the same with (u - 690)
        grey = (60 in a lung, 170 elsewhere) + (7 x + 13 y + (x y) % 31) % 32
    """
    y, x = np.mgrid[:size, :size].astype(np.int64)
    u, v = 1000 * x // size, 1000 * y // size
    lung = np.zeros((size, size), bool)
    for centre in (310, 690):
        lung |= (u - centre) ** 2 * 84100 + (v - 480) ** 2 * 28900 < 2430490000
    return (np.where(lung, 60, 170) + (7 * x + 13 * y + x * y % 31) % 32).astype(np.uint8)

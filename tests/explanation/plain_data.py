"""Pairs of images that a test draws itself, as the measures of maps take them."""

from types import SimpleNamespace

import numpy as np

from cxr_kd.explanation.pairs import Pairs


def pairs_of(images: np.ndarray, columns: list[int]) -> tuple[Pairs, SimpleNamespace]:
    """One pair per image, uint8 (P, S, S), and the data that holds the images."""
    names = [f"{number:03d}" for number in range(len(images))]
    cache = SimpleNamespace(rows=lambda ids: [int(name) for name in ids], pixels=lambda rows: images[rows])
    ids = np.array(names, dtype=str)
    return Pairs(ids, np.array(columns, int), ids, images.shape[-1]), SimpleNamespace(cache=cache)

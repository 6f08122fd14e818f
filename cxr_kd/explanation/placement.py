"""Two checks of the pointing game: would another patient's map do as well, and do the cells look where they are drawn?

A map can hit a finding because the finding is always at that place. `specific` takes this away: what is left is due to
the single image.

A cell of a map is drawn at its own place on the grid, as Grad-CAM does. The pixels that it depends on may lie
elsewhere. A layer of stride 2 that pads both sides alike looks half a cell up and left at an even size, and five
of them add up to half a cell of the last map; training can move it further. `displacement` measures it without labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from cxr_kd.explanation.localisation import BLOCK, Reading, enlarged, read
from cxr_kd.explanation.pairs import Pairs


def peaks(maps: np.ndarray, size: int, reading: Reading) -> np.ndarray:
    """Return row and column, in px of an image of `size` px, of the highest evidence of maps (P, h, w), as int (P, 2).

    An empty map has none: (-1, -1).
    """
    found = np.full((len(maps), 2), -1)
    for start in range(0, len(maps), BLOCK):
        grey = enlarged(read(maps[start : start + BLOCK], reading), size).reshape(-1, size * size)
        own = np.stack(np.unravel_index(grey.argmax(axis=1), (size, size)), axis=1)
        found[start : start + BLOCK] = np.where(grey.max(axis=1, keepdims=True) > 0, own, -1)
    return found


def specific(points: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return by how much oftener each pair's own peak hits the finding than other patients' peaks do, (P,), -1 to 1.

    `points` are `peaks`. Other patients' peaks are those of the maps of the same finding; NaN if there are none. A map
    that is the same in every image has 0, however often it hits.
    """
    found = np.full(len(pairs), np.nan)
    for column in np.unique(pairs.columns):
        same = np.flatnonzero(pairs.columns == column)
        hits = _hits(points[same], pairs.place(same))  # of each place: which of the peaks lie in it
        patients = pairs.patients[same]
        others = np.not_equal.outer(patients, patients)
        count = others.sum(axis=1)
        by_others = (hits & others).sum(axis=1) / np.maximum(count, 1)
        found[same] = np.where(count > 0, hits.diagonal() - by_others, np.nan)
    return found


def moved_hits(points: np.ndarray, pairs: Pairs, displacement: tuple[float, float]) -> np.ndarray:
    """Return the pointing game, 1 or 0 (P,), of peaks that are moved down and right by so many px, inside the image."""
    moved = np.clip(points + np.rint(displacement).astype(int), 0, pairs.size - 1)
    moved[points.min(axis=1) < 0] = -1
    hits = [_hits(moved[block], pairs.place(block)).diagonal() for block in pairs.blocks()]
    return np.concatenate([np.empty(0, bool), *hits]).astype(np.float64)


def displacement(features: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> tuple[float, float]:
    """Return how far from the image's centre the pixels lie that its middle cells depend on: px down, px right.

    `features` makes the map (B, K, h, w) of images (B, 1, S, S), 8-bit or float in [0, 1]; the middle cells are one or
    two per side. The dependence is the squared gradient of a random mixture of their channels, and what is returned is
    its centre of mass, averaged over the images. A network with attention depends on all pixels; the centre of mass
    is defined there too, but says less.
    """
    with torch.inference_mode(False), torch.enable_grad():
        grey = images.clone()
        grey = (grey.float() / 255 if grey.dtype == torch.uint8 else grey).requires_grad_()
        cells = features(grey)
        (top, bottom), (left, right) = (((side - 1) // 2, side // 2 + 1) for side in cells.shape[-2:])
        middle = cells[:, :, top:bottom, left:right]
        mixture = torch.randn(middle.shape, generator=torch.Generator().manual_seed(0)).to(middle)
        (gradient,) = torch.autograd.grad((middle * mixture).sum(), grey)
    weights = gradient.square().sum(dim=1)
    weights = weights / weights.sum(dim=(1, 2), keepdim=True)
    away_y, away_x = (torch.arange(side).to(weights) + 0.5 - side / 2 for side in weights.shape[1:])
    down, right_px = (weights.sum(dim=2) * away_y).sum(dim=1).mean(), (weights.sum(dim=1) * away_x).sum(dim=1).mean()
    found = float(down), float(right_px)
    return found if all(map(math.isfinite, found)) else (0.0, 0.0)  # the cells do not depend on the image


def _hits(points: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return whether each of Q peaks lies in each of P places (P, S, S), as bool (P, Q)."""
    return np.logical_and(places[:, points[:, 0], points[:, 1]], points.min(axis=1) >= 0)

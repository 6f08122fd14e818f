"""How alike two maps are: of teacher and student, of two seeds, of two versions of a network. One value per pair.

Both maps are first brought to one grid, the coarser of the two (mean of the cells).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from cxr_kd.distill.map_losses import on_one_grid

TOP = 0.1  # share of the cells that counts as the top of a map


@dataclass(frozen=True, eq=False)
class Likeness:
    """Likeness of P pairs of maps, (P,) each.

    rank: Spearman's rank correlation of the cells, -1 to 1, higher is more alike; NaN if a map is constant. Used for
        maps by Adebayo et al., NeurIPS 2018.
    top: intersection over union of the cells with the highest tenth of the evidence, 0 to 1, higher is more alike.
        Ghorbani et al., "Interpretation of Neural Networks is Fragile", AAAI 2019 (top-k intersection).
    distance: distance of the centres of mass of the evidence above the map's mean, as a share of the image's side, 0 to
        1.41; lower is more alike; NaN if a map is constant. Ghorbani et al.
    """

    rank: np.ndarray
    top: np.ndarray
    distance: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """Return the measures by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def likeness(first: np.ndarray, second: np.ndarray) -> Likeness:
    """Compare signed maps (P, h, w) with others (P, h', w')."""
    one, other = (
        each.numpy() for each in on_one_grid(*(torch.from_numpy(np.asarray(m, np.float32)) for m in (first, second)))
    )
    distances = np.hypot(*(_centre(one) - _centre(other)).T)
    return Likeness(rank_correlation(one, other), _top_overlap(one, other), distances)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return Spearman's rank correlation (P,) of maps (P, h, w) on one grid, -1 to 1; NaN if a map is constant."""
    from scipy.stats import rankdata  # slow to import

    ranks = [rankdata(_flat(maps), axis=1) for maps in (one, other)]
    first, second = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    with np.errstate(invalid="ignore"):
        found = (first * second).sum(axis=1) / np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
    return np.asarray(found)


def _top_overlap(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    cells = _flat(one).shape[1]
    count = max(1, round(TOP * cells))
    tops = []
    for maps in (one, other):
        order = np.argsort(-_flat(maps), axis=1, kind="stable")[:, :count]
        top = np.zeros((len(maps), cells), dtype=bool)
        np.put_along_axis(top, order, True, axis=1)
        tops.append(top)
    return (tops[0] & tops[1]).sum(axis=1) / np.maximum((tops[0] | tops[1]).sum(axis=1), 1)


def _centre(maps: np.ndarray) -> np.ndarray:
    """Centres of mass (P, 2) of what is above each map's mean, as fractions of the image."""
    grey = np.maximum(maps - maps.mean(axis=(1, 2), keepdims=True), 0)
    y, x = ((np.arange(cells) + 0.5) / cells for cells in grey.shape[1:])
    with np.errstate(invalid="ignore"):
        return np.stack([grey.sum(axis=2) @ y, grey.sum(axis=1) @ x], axis=1) / grey.sum(axis=(1, 2))[:, None]


def _flat(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(len(maps), maps.shape[1] * maps.shape[2])

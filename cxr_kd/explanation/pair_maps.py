"""One network's maps of pairs: of each pair its own finding only, so that they fit into memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.explanation.methods.cam import Explainer, of_pairs
from cxr_kd.explanation.pairs import Pairs


@dataclass(frozen=True, eq=False)
class PairMaps:
    """Signed maps (P, h, w) and logits (P,) of P pairs."""

    maps: np.ndarray
    logits: np.ndarray

    @property
    def grid(self) -> tuple[int, int]:
        """Cells down and across."""
        return self.maps.shape[1], self.maps.shape[2]


def pair_maps(explain: Explainer, pairs: Pairs, data: Prepared) -> PairMaps:
    """Return the maps and logits that an explainer gives for pairs, one batch of images after the other."""
    maps, logits = [], []
    for which, rows, images in pairs.batches(data):
        with torch.inference_mode():
            own, evidence = of_pairs(explain, images, rows, pairs.columns[which])
        maps.append(evidence.float().numpy())
        logits.append(own.float().numpy())
    if not maps:
        return PairMaps(np.empty((0, 1, 1), np.float32), np.empty(0, np.float32))
    return PairMaps(np.concatenate(maps), np.concatenate(logits))

"""Maps that know nothing of the finding: what every measure of a network's maps is read against.

A network's maps mean something only if they are better than all of these. Adebayo et al., "Sanity Checks for Saliency
Maps", NeurIPS 2018, show why: an edge detector makes maps that look convincing. Sources of the single controls: random
map and image centre, Zhang et al., IJCV 2018; mean place, Arun et al., Radiology: Artificial Intelligence 3 (2021).
"""

from __future__ import annotations

import numpy as np
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.explanation.measures import CENTRE, EDGES, MEAN_PLACE, RANDOM
from cxr_kd.explanation.pairs import Pairs
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier


def control_maps(
    pairs: Pairs, data: Prepared, grid: tuple[int, int], train: Pairs, *, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return the maps (P, h, w) of each control but that of random weights (`untrained`), on a grid of h x w cells.

    RANDOM: uniform noise per cell. CENTRE: falls off from the image's centre. MEAN_PLACE: the mean place of the finding
    in `train`, pairs of the training side; left out if these show a finding nowhere. EDGES: the mean strength of the
    edges of each cell (Sobel filter).
    """
    found = {
        RANDOM: np.random.default_rng(seed).random((len(pairs), *grid)),
        CENTRE: np.broadcast_to(_centre(grid), (len(pairs), *grid)),
    }
    means = _mean_places(train, grid)
    if len(pairs) and set(pairs.columns) <= set(means):
        found[MEAN_PLACE] = np.stack([means[column] for column in pairs.columns])
    found[EDGES] = np.concatenate([np.empty((0, *grid)), *_edges(pairs, data, grid)])
    return found


def untrained(model: CxrClassifier, *, seed: int = 0) -> CxrClassifier:
    """Return the same network with random weights, which look at every image without having learned anything."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build(model.name, model.findings, image_size=model.image_size)
    return fresh.eval()


def _centre(grid: tuple[int, int]) -> np.ndarray:
    """A Gaussian hill at the image's centre; its standard deviation is a quarter of the image."""
    y, x = ((np.arange(cells) + 0.5) / cells - 0.5 for cells in grid)
    return np.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * 0.25**2))


def _mean_places(train: Pairs, grid: tuple[int, int]) -> dict[int, np.ndarray]:
    """The mean place of each finding on the grid, by the finding's position."""
    from cxr_kd.explanation.localisation import ceiling

    sums: dict[int, np.ndarray] = {}
    for block in train.blocks():
        for column, shares in zip(train.columns[block], ceiling(train.place(block), grid), strict=True):
            sums[int(column)] = sums.get(int(column), 0) + shares
    return {column: total / (train.columns == column).sum() for column, total in sums.items()}


def _edges(pairs: Pairs, data: Prepared, grid: tuple[int, int]) -> list[np.ndarray]:
    from skimage.filters import sobel  # slow to import

    found = []
    for _, rows, images in pairs.batches(data):
        strength = np.stack([sobel(image.astype(np.float32)) for image in images[:, 0].numpy()])
        cells = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(strength).unsqueeze(1), grid)
        found.append(cells[:, 0].numpy()[rows])
    return found

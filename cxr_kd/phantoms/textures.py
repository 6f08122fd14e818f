"""Textures that phantoms share, drawn once per process: lung vessel trees, tissue mottle, the nets of fibrosis.

Textures are sampled at body coordinates (cm), so a phantom's anatomy is the same at every image size. Each is smoothed
to the pixels of the image that will sample it, so fine vessels fade instead of breaking up.
"""

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

TEXEL_CM = 0.08
TILE = 512  # texels of a repeating tile: 41 cm, more than an image shows
TREES = 12
TREE_ROWS, TREE_COLUMNS = 432, 272  # around a hilum: 17.3 cm up and down, 3 cm medial to 18.8 cm lateral
TREE_ORIGIN = (216, 38)  # the hilum's texel

_MAIN_BRANCHES_DEGREES = (-80, -58, -34, -8, 16, 36, 54, 72, 86)  # from the hilum, 0 lateral, 90 down
_LAYER_WIDTHS_CM = (0.62, 0.45, 0.32, 0.22, 0.15)


@lru_cache(maxsize=4)
def vessel_trees(pixel_cm: float) -> np.ndarray:
    """Return the thickness of lung vessels around a hilum, float32 (TREES, TREE_ROWS, TREE_COLUMNS), 1 if large."""
    return np.stack([_tree(np.random.default_rng([77, tree]), pixel_cm) for tree in range(TREES)])


@lru_cache(maxsize=16)
def mottle(scale_cm: float, pixel_cm: float) -> np.ndarray:
    """Return a repeating cloud of this grain, float32 (TILE, TILE), with mean 0 and standard deviation 1."""
    noise = np.random.default_rng([78, round(100 * scale_cm)]).standard_normal((TILE, TILE)).astype(np.float32)
    cloud = gaussian_filter(noise, max(scale_cm, 0.5 * pixel_cm) / TEXEL_CM, mode="wrap")
    return (cloud - cloud.mean()) / cloud.std()


@lru_cache(maxsize=4)
def net(pixel_cm: float) -> np.ndarray:
    """Return the net of fibrosis, float32 (TILE, TILE) in 0..1: coarse meshes over a fine honeycomb."""
    coarse = np.clip(1 - np.abs(mottle(0.52, 0.01)) / 0.4, 0, 1)
    fine = np.clip(1 - np.abs(mottle(0.28, 0.01)) / 0.5, 0, 1)
    strands = gaussian_filter(0.8 * coarse + 0.7 * fine, 0.35 * pixel_cm / TEXEL_CM, mode="wrap")
    return np.clip(strands / np.quantile(strands, 0.98), 0, 1).astype(np.float32)


def _tree(rng: np.random.Generator, pixel_cm: float) -> np.ndarray:
    """Return the vessels of one lung, float32 (TREE_ROWS, TREE_COLUMNS)."""
    points: list[np.ndarray] = []
    for degrees in _MAIN_BRANCHES_DEGREES:
        angle = np.deg2rad(degrees + rng.uniform(-7, 7))
        width = rng.uniform(0.42, 0.6) * (1.15 if degrees > 30 else 0.85)
        _grow(rng, (rng.uniform(-0.4, 0.4), rng.uniform(-1.4, 1.4)), angle, rng.uniform(2.4, 3.6), width, points)
    where = np.concatenate(points)
    tree = np.zeros((TREE_ROWS, TREE_COLUMNS), dtype=np.float32)
    layer_of = np.abs(where[:, 2, None] - np.array(_LAYER_WIDTHS_CM)).argmin(axis=1)
    for layer, width in enumerate(_LAYER_WIDTHS_CM):
        tree += _rasterised(where[layer_of == layer], width, pixel_cm)
    return tree


def _grow(
    rng: np.random.Generator,
    start: tuple[float, float],
    angle: float,
    length: float,
    width: float,
    points: list[np.ndarray],
) -> None:
    """Append points (n, 3) (cm lateral, down, width) of a vessel that bends slightly and forks until it is thin."""
    steps = max(int(length / 0.05), 2)
    angles = angle + np.cumsum(rng.normal(0, 0.025, steps)) + np.linspace(0, rng.normal(0, 0.25), steps)
    x = start[0] + 0.05 * np.cumsum(np.cos(angles))
    y = start[1] + 0.05 * np.cumsum(np.sin(angles))
    points.append(np.stack([x, y, np.linspace(width, 0.85 * width, steps)], axis=1))
    if width < 0.13:
        return
    spread = rng.uniform(0.2, 0.5)
    for side, share in ((1, rng.uniform(0.7, 0.82)), (-1, rng.uniform(0.55, 0.75))):
        _grow(rng, (x[-1], y[-1]), angles[-1] + side * spread, length * rng.uniform(0.6, 0.85), width * share, points)


def _rasterised(points: np.ndarray, width: float, pixel_cm: float) -> np.ndarray:
    """Return points 0.05 cm apart drawn as a tube; its height follows its width, and smoothing keeps its area."""
    rows, columns = (
        np.arange(n + 1) - origin for n, origin in zip((TREE_ROWS, TREE_COLUMNS), TREE_ORIGIN, strict=True)
    )
    count, _, _ = np.histogram2d(points[:, 1] / TEXEL_CM, points[:, 0] / TEXEL_CM, bins=(rows, columns))
    tube = 0.42 * width / TEXEL_CM  # standard deviation in texels
    height = width / _LAYER_WIDTHS_CM[0] * np.sqrt(2 * np.pi) * tube * 0.05 / TEXEL_CM
    return gaussian_filter(count * height, np.hypot(tube, 0.35 * pixel_cm / TEXEL_CM)).astype(np.float32)

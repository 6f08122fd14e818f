"""Smooth expected calibration error: the residuals are smoothed by a kernel in place of bins.

Source: Błasiok and Nakkiran, "Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing", ICLR 2024. The grid,
the reflected Gaussian kernel and the search for its width are those of the authors' library relplot 1.0, so that both
give the same number.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from cxr_kd.evaluation.probability.cases import Scored

SMALLEST_WIDTH = 0.001  # the search ends here
HALVINGS = 10
EPSILON = 1e-4  # images; added to the density, as relplot does
MESH = 128  # largest number of points at which the resamples are evaluated


def smooth_ece(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
    """Return the smooth ECE of labels and probabilities (n,), in [0, 1], lower is better, and the kernel's width.

    The width is the largest one that is at least as large as the smooth ECE with it (definition 3.2).
    """
    weights = np.ones(len(labels)) if weights is None else weights
    low, high = 0.0, 1.0
    if not _error(labels, probabilities, weights, high) > high:
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            too_small = middle < SMALLEST_WIDTH or middle < _error(labels, probabilities, weights, middle)
            low, high = (middle, high) if too_small else (low, middle)
    return _error(labels, probabilities, weights, high), high


def resampled_smooth_ece(scored: Scored, probabilities: np.ndarray) -> np.ndarray:
    """Return the smooth ECE for each weighting (W,), with the kernel's width for all patients.

    The first weighting must give each patient the weight 1; it gets the exact value, and the others are evaluated on a
    coarser mesh and moved by the difference.
    """
    exact, width = smooth_ece(scored.labels, probabilities)
    points = _points(width)
    left, share = _place(probabilities, points)
    used = np.unique(np.concatenate([left, left + 1]))
    residuals, images = (_by_patient(scored, left, share, used, values)
                         for values in (probabilities - scored.labels, np.ones(len(left))))  # fmt: skip
    mesh = _mesh(used / (points - 1), width)
    kernel = _kernel(mesh[:, None] - used / (points - 1), width)
    for mirrored in (-used / (points - 1), 2 - used / (points - 1)):
        kernel += _kernel(mesh[:, None] - mirrored, width)
    smoothed = np.abs((residuals.T @ kernel.T).T @ scored.weights).sum(axis=0)
    density = (kernel.sum(axis=0) @ images) @ scored.weights
    with np.errstate(invalid="ignore", divide="ignore"):
        values = smoothed / density
    return np.maximum(values + (exact - values[0]), 0)


def _by_patient(scored: Scored, left: np.ndarray, share: np.ndarray, used: np.ndarray, values: np.ndarray) -> csr_array:
    """The values at each grid point in use and patient, (points, P)."""
    below = scored.by_patient(np.searchsorted(used, left), len(used), (1 - share) * values)
    return below + scored.by_patient(np.searchsorted(used, left + 1), len(used), share * values)


def _mesh(used: np.ndarray, width: float) -> np.ndarray:
    """At most MESH points, evenly spaced, that cover the probabilities in use and the kernel's reach beyond them."""
    low, high = max(0.0, used[0] - 4 * width), min(1.0, used[-1] + 4 * width)
    return np.linspace(low, high, MESH)


def _error(labels: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, width: float) -> float:
    """The smooth ECE with a given width of the kernel."""
    points = _points(width)
    left, share = _place(probabilities, points)
    mesh = np.linspace(0, 1, max(round(10 / width), 200))
    smoothed, density = (_at(mesh, _convolved(left, share, weights * values, points, width))
                         for values in (probabilities - labels, np.ones(len(labels))))  # fmt: skip
    return float(np.abs(smoothed).sum() / (density + EPSILON).sum())


def _points(width: float) -> int:
    """The number of grid points over [0, 1]."""
    return max(2000, round(20 / width)) // 2 + 1


def _place(probabilities: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """The grid point left of each probability, and its distance from there, in grid steps."""
    place = probabilities * (points - 1)
    left = place.astype(int).clip(0, points - 2)
    return left, place - left


def _convolved(left: np.ndarray, share: np.ndarray, values: np.ndarray, points: int, width: float) -> np.ndarray:
    """The values on the grid, smoothed by the kernel and reflected at 0 and 1: (points,)."""
    on_grid = np.bincount(left, (1 - share) * values, points) + np.bincount(left + 1, share * values, points)
    kernel = _kernel(np.linspace(0, 1, points) - 0.5, width)
    mirrored = np.concatenate([on_grid[::-1][:-1], on_grid, on_grid[::-1][1:]])
    reach = points // 2
    cut = max(0, reach - int(np.ceil(10 * width * (points - 1))) - 1)  # beyond 10 widths the kernel is 1e-22
    whole = np.convolve(mirrored, kernel[cut : points - cut], "valid")
    return whole[reach + cut :][:points]


def _kernel(distance: np.ndarray, width: float) -> np.ndarray:
    return np.exp(-(distance**2) / (2 * width**2)) / (np.sqrt(2 * np.pi) * width)


def _at(mesh: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values on the grid, interpolated at the points of a mesh."""
    steps = len(values) - 1
    left = (mesh * steps).astype(int).clip(0, steps - 1)
    share = (mesh - left / steps) * steps
    return values[left] * (1 - share) + values[left + 1] * share

"""Spearman's rank correlation of two scores, for many weightings of the patients at once."""

from __future__ import annotations

import numpy as np

from cxr_kd.evaluation.metrics import CHUNK


def spearman(first: np.ndarray, second: np.ndarray, patients: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of two scores (N,) for each column of the patient weights (P, W): (W,).

    A weight is how often all images of the patient count; ranks are made anew in each column, tied scores sharing their
    mean rank. `patients` (N,) in 0..P-1. Direction: 1 is the same order, -1 the opposite, NaN if all scores of a column
    are equal. Source: Spearman, American Journal of Psychology 15 (1904).
    """
    ranked = [_positions(scores) for scores in (first, second)]
    correlation = np.empty(weights.shape[1])
    for start in range(0, weights.shape[1], CHUNK):
        of_image = np.ascontiguousarray(weights[:, start : start + CHUNK], dtype=np.float64)[patients]  # (N, CHUNK)
        one, other = (_centred_ranks(*positions, of_image) for positions in ranked)
        covariance = np.einsum("nw,nw,nw->w", of_image, one, other)
        variances = [np.einsum("nw,nw,nw->w", of_image, ranks, ranks) for ranks in (one, other)]
        with np.errstate(invalid="ignore"):
            correlation[start : start + CHUNK] = covariance / np.sqrt(variances[0] * variances[1])
    return correlation


def _positions(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The ascending order (N,), where each distinct score begins in it (U,), and each image's distinct score (N,)."""
    order = np.argsort(scores, kind="stable")
    _, starts, distinct = np.unique(scores[order], return_index=True, return_inverse=True)
    of_image = np.empty(len(scores), dtype=np.int64)
    of_image[order] = distinct
    return order, starts, of_image


def _centred_ranks(order: np.ndarray, starts: np.ndarray, distinct: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Each image's mean rank minus that of all, (N, CHUNK), if each image counts `weights` (N, CHUNK) times."""
    tied = np.add.reduceat(weights[order], starts, axis=0)
    up_to = np.cumsum(tied, axis=0)
    return (up_to - tied / 2 - up_to[-1] / 2)[distinct]

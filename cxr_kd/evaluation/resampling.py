"""Statistics of a bootstrap over patients: the draws, percentile intervals, p-values and their correction.

Images of one patient resemble each other, so whole patients are drawn with replacement (a cluster bootstrap; Davison
and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).
"""

from __future__ import annotations

import numpy as np

from cxr_kd.study.settings import Evaluation

ALPHA = 0.05  # significance level
PERCENTILES = (2.5, 97.5)  # bounds of a 95 % interval


def resample_patients(patients: np.ndarray, settings: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Return each image's patient number (N,) in 0..P-1, and how often each resample draws each patient (R, P).

    `patients` holds the patient id of each image, (N,). The same patients and settings give the same resamples.
    """
    names, numbers = np.unique(patients, return_inverse=True)
    count = len(names)
    random = np.random.default_rng(settings.seed)
    return numbers, random.multinomial(count, np.full(count, 1 / count), settings.resamples)


def spread(values: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many entries of an array (N, ...), at even distances: no draw, so always the same ones."""
    positions = np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)
    return np.asarray(values[positions])


def interval(resampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the 95 % percentile interval over the last axis of `resampled` (..., R).

    Resamples in which the value is undefined (NaN) are left out. Both bounds are NaN if all are undefined.
    """
    finite = np.isfinite(resampled)
    whole, some = finite.all(axis=-1), finite.any(axis=-1)
    bounds = np.full((2, *resampled.shape[:-1]), np.nan)
    # np.nanpercentile goes through the values one by one, so it is for those that need it only.
    for which, percentile in ((whole, np.percentile), (some & ~whole, np.nanpercentile)):
        if which.any():
            bounds[:, which] = percentile(resampled[which], PERCENTILES, axis=-1)
    return bounds[0], bounds[1]


def p_value(resampled: np.ndarray) -> np.ndarray:
    """Return the two-sided p-value (...) of "the difference is 0", from resampled differences (..., R).

    It is the smallest level at which the percentile interval excludes 0 (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, section 15.4). One resample is added on the side of 0 (Davison and Hinkley, equation 4.11), so that
    p is never below 2 / (R + 1). NaN if no resample is defined.
    """
    defined = np.isfinite(resampled)
    below, above = ((resampled <= 0) & defined).sum(axis=-1), ((resampled >= 0) & defined).sum(axis=-1)
    p = np.minimum(1.0, 2 * (1 + np.minimum(below, above)) / (1 + defined.sum(axis=-1)))
    return np.where(defined.any(axis=-1), p, np.nan)


def holm(p: np.ndarray) -> np.ndarray:
    """Return p-values (K,) corrected for their number by Holm's step-down method. NaN stays NaN and is not counted.

    Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6
    (1979).
    """
    from statsmodels.stats.multitest import multipletests  # slow to import

    tested = np.isfinite(p)
    if not tested.any():
        return np.full(p.shape, np.nan)
    corrected = np.full(p.shape, np.nan)
    corrected[tested] = multipletests(p[tested], alpha=ALPHA, method="holm")[1]
    return corrected

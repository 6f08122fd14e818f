"""Intervals and tests that cover two sources of chance: which patients were tested, and which training was run.

A bootstrap over patients says how far a value would move with other patients. It says nothing about another training of
the same network with another seed. Radiology has the same problem with readers: a study of several readers and many
cases must hold for other readers and other cases (multi-reader multi-case, MRMC). Here the trainings are the readers.

Source: Obuchowski and Rockette, Communications in Statistics 24 (1995), with the degrees of freedom of Hillis,
Statistics in Medicine 26 (2007), for one or two treatments and patients resampled together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Inference:
    """A value averaged over S trainings, with its 95 % interval; every array has the shape (...) of one value.

    estimate: the mean over the trainings.
    low, high: a t interval over patients and trainings; NaN for a single training, because one training does not show
        how far another would move the value.
    p: two-sided, of "the value is 0"; NaN for a single training.
    se_patients: standard error from the patients, for the trainings at hand.
    se_trainings: standard error from the trainings; NaN for a single one.
    degrees_of_freedom: S - 1 if the trainings cause all of the error, without bound if the patients do.
    """

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    se_patients: np.ndarray
    se_trainings: np.ndarray
    degrees_of_freedom: np.ndarray


def infer(estimates: np.ndarray, resampled: np.ndarray) -> Inference:
    """Return the mean over trainings with an interval that covers other patients and other trainings.

    `estimates` (S, ...) has one value per training, `resampled` (S, ..., R) the same value in R resamples of the
    patients, the same resamples for every training. For a comparison, the value is the difference of two networks with
    the same seed. Resamples in which a value is undefined (NaN) are left out.

    The variance of the mean is V/S + C: V is the sample variance of the values over the trainings, and C, not below 0,
    the mean covariance over patients of two trainings. V also holds the part of the patients' chance that differs from
    training to training, so the two parts are not counted twice. Degrees of freedom: (V/S + C)^2 / ((V/S)^2 / (S - 1)).
    """
    from scipy.stats import t  # slow to import

    count, mean = len(estimates), estimates.mean(axis=0)
    of_mean = resampled.mean(axis=0)
    patients = _variance(of_mean)
    if count == 1:
        unknown = np.full(mean.shape, np.nan)
        return Inference(mean, unknown, unknown, unknown, np.sqrt(patients), unknown, unknown)
    trainings = estimates.var(axis=0, ddof=1) / count
    # The variance of a mean of S values is (mean variance + (S - 1) mean covariance) / S.
    own = np.stack([_variance(each) for each in resampled]).mean(axis=0)
    shared = np.maximum((count * patients - own) / (count - 1), 0)
    variance = trainings + shared
    with np.errstate(divide="ignore", invalid="ignore"):
        degrees = (count - 1) * np.where(trainings > 0, (variance / trainings) ** 2, np.inf)
        se = np.sqrt(variance)
        p = np.where(se > 0, 2 * t.sf(np.abs(mean) / se, degrees), np.where(mean == 0, 1.0, 0.0))
    half = t.ppf((1 + LEVEL) / 2, degrees) * se
    p = np.where(np.isfinite(mean), p, np.nan)
    return Inference(mean, mean - half, mean + half, p, np.sqrt(patients), np.sqrt(trainings), degrees)


def _variance(resampled: np.ndarray) -> np.ndarray:
    """The variance over the last axis, without undefined resamples; NaN if fewer than two are defined."""
    defined = np.isfinite(resampled)
    count = defined.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(defined, resampled, 0).sum(axis=-1) / count
        squares = np.where(defined, resampled - mean[..., None], 0) ** 2
        return np.where(count > 1, squares.sum(axis=-1) / (count - 1), np.nan)

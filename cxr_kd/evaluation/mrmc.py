"""Intervals and tests that cover two sources of chance: which patients were tested, and which training was run.

A bootstrap over patients says how far a value would move with other patients. It says nothing about another training of
the same network with another seed. Radiology has the same problem with readers: a study of several readers and many
cases must hold for other readers and other cases (multi-reader multi-case, MRMC). Here the trainings are the readers.

Sources: the variance is that of Obuchowski and Rockette, Communications in Statistics 24 (1995), for random readers and
random cases. The number of standard errors is that of Cochran and Cox, Experimental Designs (1950), for a mean with two
variances of which one is estimated from few values. Hillis's degrees of freedom (Statistics in Medicine 26, 2007) are
for more readers than a study has trainings: with three, and the trainings as the main source of chance, a test at 5 %
claims an effect in 7 % of studies without one (`simulations/false_claims.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr_kd.evaluation.resampling import interval

LEVEL = 0.95
_SMALLEST_P = 1e-12


@dataclass(frozen=True, eq=False)
class Inference:
    """A value averaged over S trainings, with its 95 % interval; every array has the shape (...) of one value.

    estimate: the mean over the trainings.
    low, high: the interval over patients and trainings; for one training, the percentile interval over patients.
    p: two-sided, of "the value is 0"; NaN for one training, which does not show how far another would move the value.
    se_patients: the standard error that other patients cause, for the trainings at hand.
    se_trainings: the standard error that other trainings cause beyond it; NaN for one training.
    """

    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    se_patients: np.ndarray
    se_trainings: np.ndarray


def infer(estimates: np.ndarray, resampled: np.ndarray, *, bounded: bool = False) -> Inference:
    """Return the mean over trainings with an interval that covers other patients and other trainings.

    `estimates` (S, ...) has one value per training, `resampled` (S, ..., R) the same value in R resamples of the
    patients, the same resamples for every training. For a comparison, the value is the difference of two networks with
    the same seed. Resamples in which a value is undefined (NaN) are left out. `bounded`: the values are from 0 to 1,
    and the interval is computed for their log-odds, so that it stays inside.

    The variance of the mean is V/S + C: V is the sample variance of the values over the trainings, and C, not below 0,
    the mean covariance over patients of two trainings. V also holds the part of the patients' chance that differs from
    training to training, so nothing is counted twice. The interval is the mean plus or minus k standard errors, with
    k = (C z + V/S t) / (C + V/S), z of the normal distribution and t of the t distribution with S - 1 degrees of
    freedom: z if only the patients cause chance, t if only the trainings do.
    """
    count, mean, patients = len(estimates), estimates.mean(axis=0), _variance(resampled.mean(axis=0))
    if count == 1:
        unknown = np.full(mean.shape, np.nan)
        return Inference(mean, *interval(resampled[0]), unknown, np.sqrt(patients), unknown)
    trainings = estimates.var(axis=0, ddof=1) / count
    # The variance of the mean of S resampled values is (mean variance + (S - 1) mean covariance) / S.
    own = np.stack([_variance(each) for each in resampled]).mean(axis=0)
    shared = np.maximum((count * patients - own) / (count - 1), 0)
    beyond = np.sqrt(np.maximum(trainings + shared - patients, 0))
    half = _standard_errors(np.asarray(1 - LEVEL), shared, trainings, count) * np.sqrt(shared + trainings)
    low, high = _log_odds_interval(mean, half) if bounded else (mean - half, mean + half)
    return Inference(mean, low, high, _p_value(mean, shared, trainings, count), np.sqrt(patients), beyond)


def _standard_errors(level: np.ndarray, shared: np.ndarray, trainings: np.ndarray, count: int) -> np.ndarray:
    """The number k of standard errors for a two-sided level; of the normal distribution if both variances are 0."""
    from scipy.special import ndtri, stdtrit  # slow to import

    total = shared + trainings
    share = np.divide(trainings, total, out=np.zeros_like(total), where=total > 0)
    return -(1 - share) * ndtri(level / 2) - share * stdtrit(count - 1, level / 2)


def _p_value(mean: np.ndarray, shared: np.ndarray, trainings: np.ndarray, count: int) -> np.ndarray:
    """The level at which the interval just holds 0, by bisection of its logarithm; NaN where the mean is NaN."""
    se = np.sqrt(shared + trainings)
    low, high = np.full(mean.shape, np.log(_SMALLEST_P)), np.zeros(mean.shape)
    for _ in range(60):
        middle = (low + high) / 2
        excludes = np.abs(mean) > _standard_errors(np.exp(middle), shared, trainings, count) * se
        low, high = np.where(excludes, low, middle), np.where(excludes, middle, high)
    return np.where(np.isnan(mean), np.nan, np.where(mean == 0, 1.0, np.exp(high)))


def _log_odds_interval(mean: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of an interval of the log-odds, as values from 0 to 1; the mean itself where it is 0 or 1."""
    from scipy.special import expit, logit  # slow to import

    inside = (mean > 0) & (mean < 1)
    middle = np.where(inside, mean, 0.5)
    half = half / (middle * (1 - middle))
    low, high = (np.where(inside, expit(logit(middle) + each), mean) for each in (-half, half))
    return np.where(np.isnan(mean), np.nan, low), np.where(np.isnan(mean), np.nan, high)


def _variance(resampled: np.ndarray) -> np.ndarray:
    """The variance over the last axis, without undefined resamples; NaN if fewer than two are defined."""
    defined = np.isfinite(resampled)
    count = defined.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(defined, resampled, 0).sum(axis=-1) / count
        squares = np.where(defined, resampled - mean[..., None], 0) ** 2
        return np.where(count > 1, squares.sum(axis=-1) / (count - 1), np.nan)

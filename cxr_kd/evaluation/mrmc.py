"""Intervals and tests that cover two sources of chance: which patients were tested, and which training was run.

A bootstrap over patients says how far a value would move with other patients. It says nothing about another training of
the same network with another seed. Radiology has the same problem with readers: a study of several readers and many
cases must hold for other readers and other cases (multi-reader multi-case, MRMC). Here the trainings are the readers.

Sources: the variance is that of Obuchowski and Rockette, Communications in Statistics 24 (1995), for random readers and
random cases. The width of the interval is that of Banerjee, Sankhya 22 (1960), for a mean with several variances, each
with its own degrees of freedom: it covers at least 95 %, and a test at any level claims at most that share of effects
where there is none, also with two trainings and after a correction over findings. Hillis's degrees of freedom
(Statistics in Medicine 26, 2007) are for more readers than a study has trainings, and a mean of the two quantiles
(Cochran and Cox, Experimental Designs, 1950) claims too much at the small levels of a correction. How often effects are
claimed where there are none is simulated by `simulations/training_noise.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

OVER_PATIENTS, OVER_BOTH = "patients", "patients and trainings"  # what an interval covers: the column `interval`
LEVEL = 0.95
SMALLEST_P = 1e-12  # a smaller p is given as this


@dataclass(frozen=True, eq=False)
class Inference:
    """A value averaged over S trainings, with its 95 % interval; every array has the shape (...) of one value.

    covers: OVER_PATIENTS for one training, OVER_BOTH for several.
    estimate: the mean over the trainings.
    low, high: the interval over patients and trainings; for one training, over patients only.
    p: two-sided, of "the value is 0"; NaN for one training, which does not show how far another would move the value.
    se_patients: the standard error that other patients cause, for the trainings at hand.
    se_trainings: the standard error that other trainings cause beyond it; NaN for one training.
    """

    covers: str
    estimate: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    se_patients: np.ndarray
    se_trainings: np.ndarray


def infer(
    estimates: np.ndarray, resampled: np.ndarray, *, patient_degrees: ArrayLike = np.inf, bounded: bool = False
) -> Inference:
    """Return the mean over trainings with an interval that covers other patients and other trainings.

    `estimates` (S, ...) has one value per training, `resampled` (S, ..., R) the same value in R resamples of the
    patients, the same resamples for every training. For a comparison, the value is the difference of two networks with
    the same seed. Resamples in which a value is undefined (NaN) are left out. `patient_degrees` (...): the degrees of
    freedom of the patients' variance; few if a finding has few positive patients (`simulations/false_calls.py`).
    `bounded`: the values are from 0 to 1, and the interval is computed for their log-odds, so that it stays inside.

    The variance of the mean is V/S + C: V is the sample variance of the values over the trainings, and C, not below 0,
    the mean covariance over patients of two trainings. V also holds the part of the patients' chance that differs from
    training to training, so nothing is counted twice. The interval is the mean plus or minus sqrt(u^2 C + t^2 V/S): u
    and t are quantiles of t distributions with `patient_degrees` and S - 1 degrees of freedom. For one training, V is 0
    and C the variance over patients.
    """
    count, mean, patients = len(estimates), estimates.mean(axis=0), variance(resampled.mean(axis=0))
    degrees = np.asarray(patient_degrees, dtype=np.float64)
    if count == 1:
        chance, unknown = _Chance(patients, np.zeros_like(patients), degrees, 1), np.full(mean.shape, np.nan)
        bounds = chance.interval(mean, bounded=bounded)
        return Inference(OVER_PATIENTS, mean, *bounds, unknown, np.sqrt(patients), unknown)
    trainings = estimates.var(axis=0, ddof=1) / count
    # The variance of the mean of S resampled values is (mean variance + (S - 1) mean covariance) / S.
    own = np.stack([variance(each) for each in resampled]).mean(axis=0)
    shared = np.maximum((count * patients - own) / (count - 1), 0)
    beyond = np.sqrt(np.maximum(trainings + shared - patients, 0))
    chance = _Chance(shared, trainings, degrees, count - 1)
    bounds = chance.interval(mean, bounded=bounded)
    return Inference(OVER_BOTH, mean, *bounds, chance.p_value(mean), np.sqrt(patients), beyond)


@dataclass(frozen=True, eq=False)
class _Chance:
    """The two variances of a mean over trainings, (...) each, and their degrees of freedom."""

    patients: np.ndarray
    trainings: np.ndarray
    patient_degrees: np.ndarray
    training_degrees: int

    def half_width(self, level: np.ndarray) -> np.ndarray:
        """Return half of the width of the interval that leaves out a share `level`."""
        from scipy.special import ndtri, stdtrit  # slow to import

        few = np.where(np.isinf(self.patient_degrees), 1.0, self.patient_degrees)
        of_patients = np.where(np.isinf(self.patient_degrees), ndtri(level / 2), stdtrit(few, level / 2))
        of_trainings = stdtrit(self.training_degrees, level / 2)
        return np.sqrt(of_patients**2 * self.patients + of_trainings**2 * self.trainings)

    def interval(self, mean: np.ndarray, *, bounded: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the bounds of the 95 % interval around a mean, by its log-odds if it is `bounded`."""
        half = self.half_width(np.asarray(1 - LEVEL))
        return _log_odds_interval(mean, half) if bounded else (mean - half, mean + half)

    def p_value(self, mean: np.ndarray) -> np.ndarray:
        """Return the level whose interval just holds 0, by bisection of its logarithm; NaN if it is unknown."""
        low, high = np.full(mean.shape, np.log(SMALLEST_P)), np.zeros(mean.shape)
        for _ in range(60):
            middle = (low + high) / 2
            excludes = np.abs(mean) > self.half_width(np.exp(middle))
            low, high = np.where(excludes, low, middle), np.where(excludes, middle, high)
        unknown = np.isnan(mean) | np.isnan(self.patients + self.trainings)
        return np.where(unknown, np.nan, np.where(mean == 0, 1.0, np.exp(high)))


def _log_odds_interval(mean: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of an interval of the log-odds, as values from 0 to 1; the mean itself where it is 0 or 1."""
    from scipy.special import expit, logit  # slow to import

    inside = (mean > 0) & (mean < 1)
    middle = np.where(inside, mean, 0.5)
    half = half / (middle * (1 - middle))
    low, high = (np.where(inside, expit(logit(middle) + each), mean) for each in (-half, half))
    return np.where(np.isnan(mean), np.nan, low), np.where(np.isnan(mean), np.nan, high)


def variance(resampled: np.ndarray) -> np.ndarray:
    """Return the variance over the last axis, without undefined resamples; NaN if fewer than two are defined."""
    defined = np.isfinite(resampled)
    count = defined.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(defined, resampled, 0).sum(axis=-1) / count
        squares = np.where(defined, resampled - mean[..., None], 0) ** 2
        return np.where(count > 1, squares.sum(axis=-1) / (count - 1), np.nan)


def degrees_of_mean(variances: np.ndarray, degrees: np.ndarray) -> float:
    """Return the degrees of freedom of a mean of values with these variances and degrees of freedom, (L,) each.

    Values without a variance (NaN) are left out. Source: Satterthwaite, Biometrics Bulletin 2 (1946).
    """
    known = np.isfinite(variances)
    squares = (variances[known] ** 2 / degrees[known]).sum()
    return float(variances[known].sum() ** 2 / squares) if squares > 0 else np.inf

"""One interval rule for tables that hold single trainings and repeated ones: what the interval covers is said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr_kd.evaluation.mrmc import infer
from cxr_kd.evaluation.resampling import interval

PATIENTS, PATIENTS_AND_TRAININGS = "patients", "patients and trainings"  # in the column `interval`


@dataclass(frozen=True, eq=False)
class WithInterval:
    """A value, averaged over trainings, with its 95 % interval (low, high) and p of "the value is 0", (...) each.

    covers: PATIENTS for one training, PATIENTS_AND_TRAININGS for several. p is NaN for one training, which supports no
    claim about the way of training.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p: np.ndarray
    covers: str


def with_interval(values: np.ndarray) -> WithInterval:
    """Return the mean over trainings with its interval, from values (S, ..., 1 + R).

    S trainings; the first of the 1 + R columns is the estimate, the others are resamples of the patients, the same for
    every training. One training: a percentile interval over patients (`resampling.interval`). Several: `mrmc.infer`.
    """
    estimates, resampled = values[..., 0], values[..., 1:]
    if len(values) == 1:
        low, high = interval(resampled[0])
        return WithInterval(estimates[0], low, high, np.full(low.shape, np.nan), PATIENTS)
    found = infer(estimates, resampled)
    p = np.where(np.isfinite(found.low), found.p, np.nan)  # without a standard error, no p
    return WithInterval(found.estimate, found.low, found.high, p, PATIENTS_AND_TRAININGS)


def mean_of_defined(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean over one axis without NaN; NaN if all are NaN."""
    defined = np.isfinite(values)
    total, count = np.where(defined, values, 0).sum(axis=axis), defined.sum(axis=axis)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)

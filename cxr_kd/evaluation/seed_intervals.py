"""95 % intervals of a statistic over one run, or over several seeds of one training.

One run: percentiles of the bootstrap over patients (`resampling`). Several: over patients and trainings (`mrmc`). The
column `interval` of a table says which.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr_kd.evaluation.mrmc import OVER_BOTH, OVER_PATIENTS, infer
from cxr_kd.evaluation.resampling import interval

SHARE = (0.0, 1.0)  # bounds of a share, e.g. a sensitivity
DISTANCE = (0.0, np.inf)


def interval_kind(seeds: int) -> str:
    """Return what an interval over this number of seeds covers."""
    return OVER_PATIENTS if seeds == 1 else OVER_BOTH


def summarise(
    name: str,
    values: np.ndarray,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    *,
    distance: bool = False,
    errors: bool = False,
) -> dict[str, np.ndarray]:
    """Return the columns NAME (mean over seeds), NAME_low and NAME_high of values (S, ..., 1 + R), each (...).

    values[..., 0] is the estimate, the others are R resamples of the patients. The interval is cut at `bounds`, which
    the value cannot pass. `errors` adds NAME_se_patients and NAME_se_trainings (NaN for one seed).

    `distance`: the value measures a distance from 0, such as a calibration error. Chance makes it larger, in the
    patients at hand and once more in each resample, so the percentile interval is too high. The basic interval
    (Davison and Hinkley 1997, equation 5.6) takes the difference off; that of several seeds is moved by as much. An
    estimate above its own interval is mostly chance.
    """
    estimates, resampled = values[..., 0], values[..., 1:]
    result = infer(estimates, resampled)
    low, high = result.low, result.high
    if len(values) == 1:
        low, high = interval(resampled[0])
        if distance:
            low, high = 2 * estimates[0] - high, 2 * estimates[0] - low
    elif distance:
        bias = mean_of_defined(resampled, axis=-1).mean(axis=0) - result.estimate
        low, high = low - bias, high - bias
    undefined = np.isnan(result.estimate)
    columns = {name: result.estimate}
    for end, bound in (("low", low), ("high", high)):
        columns[f"{name}_{end}"] = np.where(undefined, np.nan, np.clip(bound, *bounds))
    if errors:
        columns[f"{name}_se_patients"] = result.se_patients
        columns[f"{name}_se_trainings"] = result.se_trainings
    return columns


@dataclass(frozen=True, eq=False)
class WithInterval:
    """A value, averaged over trainings, with its 95 % interval (low, high) and p of "the value is 0", (...) each.

    covers: OVER_PATIENTS for one training, OVER_BOTH for several. p is NaN for one training, which supports no
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
        return WithInterval(estimates[0], low, high, np.full(low.shape, np.nan), OVER_PATIENTS)
    found = infer(estimates, resampled)
    return WithInterval(found.estimate, found.low, found.high, found.p, OVER_BOTH)


def mean_of_defined(values: np.ndarray, axis: int) -> np.ndarray:
    """Return the mean over one axis without NaN; NaN if all are NaN."""
    defined = np.isfinite(values)
    total, count = np.where(defined, values, 0).sum(axis=axis), defined.sum(axis=axis)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)

"""95 % intervals of a statistic over one run, or over several seeds of one training.

One run: percentiles of the bootstrap over patients (`resampling`). Several: over patients and trainings (`mrmc`). The
column `interval` of a table says which.
"""

from __future__ import annotations

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
        bias = _mean(resampled).mean(axis=0) - result.estimate
        low, high = low - bias, high - bias
    undefined = np.isnan(result.estimate)
    columns = {name: result.estimate}
    for end, bound in (("low", low), ("high", high)):
        columns[f"{name}_{end}"] = np.where(undefined, np.nan, np.clip(bound, *bounds))
    if errors:
        columns[f"{name}_se_patients"] = result.se_patients
        columns[f"{name}_se_trainings"] = result.se_trainings
    return columns


def _mean(resampled: np.ndarray) -> np.ndarray:
    """The mean over the last axis, without undefined resamples; NaN if all are undefined."""
    defined = np.isfinite(resampled)
    with np.errstate(invalid="ignore"):
        return np.where(defined, resampled, 0).sum(axis=-1) / defined.sum(axis=-1)

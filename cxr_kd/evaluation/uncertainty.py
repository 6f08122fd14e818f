"""Estimates of AUROC and average precision with 95 % intervals, and paired differences on the same images.

Of one training, an interval is from a bootstrap over patients (`resampling`): it says how far a value would move with
other patients, and nothing about another training. Of several trainings (seeds), it covers both (`mrmc`). Only then is
a difference tested: a claim about a method must hold for its next training too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr_kd.evaluation.bootstrap import (
    DEFAULTS,
    MEAN,
    METRICS,
    Bootstrap,
    Runs,
    bootstrap,
    bootstrap_difference,
    listed,
)
from cxr_kd.evaluation.delong import delong, logit_interval, mean_over_findings
from cxr_kd.evaluation.mrmc import OVER_BOTH, OVER_PATIENTS
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.resampling import ALPHA, holm
from cxr_kd.study.settings import Evaluation


def evaluate(runs: Runs, settings: Evaluation = DEFAULTS, seeds: Sequence[int] | None = None) -> pd.DataFrame:
    """Return AUROC and average precision of each finding and of their mean (the last row), with 95 % intervals.

    Several runs (seeds of one training) are averaged; PredictionsError unless they hold the same images. Columns: run,
    side, those of `Bootstrap.counts`, prevalence, interval (OVER_PATIENTS or OVER_BOTH), for each metric M: M, M_low,
    M_high and M_seedS, the value of each training, S from `seeds` (by default 0, 1, ...); and auroc_delong_low,
    auroc_delong_high: DeLong's interval, which needs no resampling and covers patients only.
    """
    result = bootstrap(runs, settings)
    frame = result.counts.copy()
    frame.insert(0, "run", _run_names(runs))
    frame.insert(1, "side", listed(runs)[0].metadata.side)
    frame["prevalence"] = (frame["positives"] / frame["images"]).to_numpy(np.float64, na_value=np.nan)
    for metric in METRICS:
        value = result.inference(metric)
        frame["interval"] = value.covers
        columns = {"": value.estimate, "_low": value.low, "_high": value.high}
        columns |= _of_seeds(metric, result, seeds)
        frame = frame.assign(**{f"{metric}{end}": column for end, column in columns.items()})
    low, high = _delong_bounds(listed(runs), np.flatnonzero(result.counts["left_out"][:-1] == ""))
    return frame.assign(auroc_delong_low=low, auroc_delong_high=high)


def _delong_bounds(runs: Sequence[Predictions], scored: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """DeLong's interval of the mean over runs, for the findings at `scored` and for their mean: (L + 1,) each."""
    bounds = np.full((2, len(runs[0].findings) + 1), np.nan)
    labels, logits = runs[0].labels, np.stack([run.logits for run in runs], axis=-1)
    share = np.full(len(runs), 1 / len(runs))
    found = [delong(labels[:, i], logits[:, i], runs[0].patients).combined(share) for i in scored]
    for position, value in zip([*scored, -1], [*found, *([mean_over_findings(found)] if found else [])], strict=False):
        low, high = logit_interval(value.auroc, value.standard_error, value.degrees)
        bounds[:, position] = low[0], high[0]
    return bounds[0], bounds[1]


def compare(
    first: Runs, second: Runs, settings: Evaluation = DEFAULTS, seeds: Sequence[int] | None = None
) -> pd.DataFrame:
    """Return the paired difference `second` minus `first` of each finding and of the mean, with 95 % intervals.

    Columns: first, second (run names), finding, positives, left_out, interval (OVER_PATIENTS or OVER_BOTH), and for
    each metric M: M_difference, M_low, M_high; M_se_patients and M_se_trainings, the two parts of its standard error;
    M_p, two-sided; M_p_holm, corrected over the findings (for the mean, p itself: see `correct_over_comparisons`); and
    M_seedS, the difference of each training, S from `seeds` (by default 0, 1, ...). The last column is `shown`, see
    `is_shown`. Of one training, the p-values and M_se_trainings are NaN.

    Raises PredictionsError unless all runs hold the same images and labels, and both sides as many trainings.
    """
    result = bootstrap_difference(first, second, settings)
    frame = result.counts[["finding", "positives", "left_out"]].copy()
    frame.insert(0, "first", _run_names(first))
    frame.insert(1, "second", _run_names(second))
    frame["interval"] = OVER_PATIENTS if len(result.estimates) == 1 else OVER_BOTH
    for metric in METRICS:
        frame = frame.assign(**_difference_columns(metric, result, seeds))
    return frame.assign(shown=is_shown(frame))


def _difference_columns(metric: str, result: Bootstrap, seeds: Sequence[int] | None) -> dict[str, np.ndarray]:
    """The columns of one metric in `compare`."""
    value = result.inference(metric)
    corrected = value.p.copy()
    corrected[:-1] = holm(value.p[:-1])
    columns = {
        "_difference": value.estimate,
        "_low": value.low,
        "_high": value.high,
        "_se_patients": value.se_patients,
        "_se_trainings": value.se_trainings,
        "_p": value.p,
        "_p_holm": corrected,
    }
    columns |= _of_seeds(metric, result, seeds)
    return {f"{metric}{name}": column for name, column in columns.items()}


def _of_seeds(metric: str, result: Bootstrap, seeds: Sequence[int] | None) -> dict[str, np.ndarray]:
    """The value of each training: `_seedS` -> values of the findings and of the mean."""
    own = result.estimates[:, METRICS.index(metric)]
    names = range(len(own)) if seeds is None else seeds
    return {f"_seed{seed}": of_seed for seed, of_seed in zip(names, own, strict=True)}


def is_shown(comparisons: pd.DataFrame) -> np.ndarray:
    """Return for each row of comparisons whether its difference of AUROC is shown: corrected p below ALPHA (rows,).

    Never for one training, which has no p.
    """
    return (comparisons["auroc_p_holm"] < ALPHA).to_numpy(bool)


def correct_over_comparisons(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Return comparisons of several pairs of arms with the p-values of their means corrected over the pairs (Holm)."""
    frame, means = comparisons.copy(), (comparisons["finding"] == MEAN).to_numpy()
    for metric in METRICS:
        frame.loc[means, f"{metric}_p_holm"] = holm(frame.loc[means, f"{metric}_p"].to_numpy(np.float64))
    return frame.assign(shown=is_shown(frame))


def _run_names(runs: Runs) -> str:
    return " + ".join(run.metadata.run for run in listed(runs))

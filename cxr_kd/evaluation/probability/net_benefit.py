"""Net benefit and the decision curve: is deciding by the network better than treating all patients, or none?

Source: Vickers and Elkin, Medical Decision Making 26 (2006). A threshold is the probability from which one would act:
at 10 %, one accepts nine unneeded actions for one needed. This only makes sense for calibrated probabilities, so a
curve says which ones it uses: "raw" or "platt" (`recalibration.METHODS`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.bootstrap import DEFAULTS, Runs
from cxr_kd.evaluation.probability.cases import Cases, Scored, gather
from cxr_kd.evaluation.probability.recalibration import Method, Recalibration, fit_recalibration, recalibrated
from cxr_kd.evaluation.seed_intervals import interval_kind, summarise
from cxr_kd.study.settings import Evaluation

THRESHOLDS = (*(i / 1000 for i in range(1, 10)), *(i / 100 for i in range(1, 100)))


def decision_curves(
    test: Runs,
    validation: Runs,
    settings: Evaluation = DEFAULTS,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    methods: Sequence[Method] = ("raw", "platt"),
) -> pd.DataFrame:
    """Return the net benefit on the test side, one row per finding, method and threshold, averaged over seeds.

    Columns: those of `cases.COUNTS`, probabilities (the method; fitted on the validation side of each run), threshold,
    interval, net_benefit with _low and _high (true positives per image, at most the prevalence, higher is better),
    net_benefit_all (every image called positive; calling none has 0), and advantage with _low and _high: net benefit
    minus the larger of net_benefit_all and 0, in the same resample. PredictionsError for a threshold outside (0, 1).
    """
    if wrong := [value for value in thresholds if not 0 < value < 1]:
        raise PredictionsError(f"the threshold {wrong[0]} is not between 0 and 1, both excluded")
    cases = gather(test, validation, settings)
    maps = [fit_recalibration(run) for run in cases.validation]
    ascending = np.array(sorted(thresholds))
    frames = [_curve(cases, maps, finding, method, ascending) for finding in cases.left_out for method in methods]
    return pd.concat(frames, ignore_index=True)


def net_benefit(scored: Scored, probabilities: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the net benefit of probabilities (n,), and of calling every image positive, for each weighting: (T, W).

    An image is called positive if its probability is at least the threshold. Thresholds (T,) ascend. NaN if no
    image has a weight.
    """
    reached = np.searchsorted(thresholds, probabilities, side="right")  # the number of thresholds that it reaches
    count = len(thresholds) + 1
    true = scored.binned(reached, count, scored.labels)
    false = scored.binned(reached, count, 1 - scored.labels)
    odds = (thresholds / (1 - thresholds))[:, None]
    with np.errstate(invalid="ignore"):
        total = true.sum(axis=0) + false.sum(axis=0)
        at_least = [np.cumsum(part[::-1], axis=0)[::-1][1:] / total for part in (true, false)]
        everyone = true.sum(axis=0) / total - odds * false.sum(axis=0) / total
    return at_least[0] - odds * at_least[1], everyone


def _curve(
    cases: Cases, maps: Sequence[Recalibration], finding: str, method: Method, thresholds: np.ndarray
) -> pd.DataFrame:
    """The decision curve of one finding and method; one row without values if it is left out."""
    logits, left_out = recalibrated(cases, maps, finding, method)
    scored = cases.scored(finding)
    fixed = {"probabilities": method, "interval": interval_kind(len(scored))}
    if left_out:
        empty = np.full((len(scored), cases.weights.shape[1]), np.nan)
        columns = {"threshold": np.nan, **summarise("net_benefit", empty), "net_benefit_all": np.nan}
        return cases.rows(finding, {**fixed, **columns, **summarise("advantage", empty)}, left_out)
    curves = [net_benefit(one, expit(own), thresholds) for one, own in zip(scored, logits, strict=True)]
    values, everyone = np.stack([each for each, _ in curves]), curves[0][1]
    columns = {"threshold": thresholds, **summarise("net_benefit", values), "net_benefit_all": everyone[:, 0]}
    columns |= summarise("advantage", values - np.maximum(everyone, 0))
    return cases.rows(finding, {**fixed, **columns})

"""ROC and precision-recall curves with bands from the patient bootstrap, on a fixed grid of the horizontal axis."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from cxr_kd.evaluation.bootstrap import DEFAULTS, Runs
from cxr_kd.evaluation.probability.cases import Scored, gather
from cxr_kd.evaluation.resampling import spread
from cxr_kd.evaluation.seed_intervals import SHARE, interval_kind, summarise
from cxr_kd.study.settings import Evaluation

GRID = np.linspace(0, 1, 101)
THRESHOLDS = 200  # of positives, and as many of negatives, that resamples are evaluated at
Curve = Callable[[np.ndarray, np.ndarray], np.ndarray]  # true, false positives by descending threshold -> on the grid


def roc_curves(test: Runs, settings: Evaluation = DEFAULTS) -> pd.DataFrame:
    """Return the ROC curves, one row per finding and false positive rate of GRID, averaged over seeds.

    Columns: those of `cases.COUNTS`, false_positive_rate, interval, and sensitivity with _low and _high (95 %, at this
    false positive rate). A finding that is left out has one row without values.
    """
    return _curves(test, settings, "false_positive_rate", "sensitivity", roc_at_grid)


def precision_recall_curves(test: Runs, settings: Evaluation = DEFAULTS) -> pd.DataFrame:
    """Return the precision-recall curves, one row per finding and recall of GRID, averaged over seeds.

    Columns: those of `cases.COUNTS`, recall, interval, and precision with _low and _high (95 %): that of the highest
    threshold that reaches the recall. There is no interpolation, which would be too optimistic (Davis and Goadrich,
    ICML 2006). Chance has the prevalence as its precision.
    """
    return _curves(test, settings, "recall", "precision", precision_at_grid)


def roc_at_grid(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Return the sensitivity at each false positive rate of GRID, linear in between: (G,).

    true, false: (T,) the weight of positives and of negatives with at least each threshold, thresholds descending, the
    last one below all. NaN if the positives or the negatives have no weight.
    """
    if not (true[-1] > 0 and false[-1] > 0):
        return np.full(len(GRID), np.nan)
    return np.interp(GRID, np.concatenate([[0], false / false[-1]]), np.concatenate([[0], true / true[-1]]))


def precision_at_grid(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Return the precision at each recall of GRID: (G,). Arguments and NaN as in `roc_at_grid`."""
    if not (true[-1] > 0 and false[-1] > 0):
        return np.full(len(GRID), np.nan)
    found = np.flatnonzero(true > 0)  # thresholds above all positives have the recall 0
    recall = true[found] / true[-1]
    first = np.searchsorted(recall, np.minimum(GRID, recall[-1]) - 1e-12)
    return (true[found] / (true[found] + false[found]))[first]


def cumulated(scored: Scored, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of positives and of negatives with at least each threshold, (T, W), thresholds descending."""
    ascending = np.sort(thresholds)
    reached = np.searchsorted(ascending, scored.logits, side="right")
    parts = (scored.binned(reached, len(ascending) + 1, values) for values in (scored.labels, 1 - scored.labels))
    true, false = (np.cumsum(part[::-1], axis=0) for part in parts)
    return true, false


def _curves(test: Runs, settings: Evaluation, across: str, up: str, curve: Curve) -> pd.DataFrame:
    cases = gather(test, None, settings)
    frames = []
    for finding, left_out in cases.left_out.items():
        fixed = {"interval": interval_kind(len(cases.test))}
        if left_out:
            empty = np.full((len(cases.test), cases.weights.shape[1]), np.nan)
            frames.append(cases.rows(finding, {across: np.nan, **fixed, **summarise(up, empty)}))
            continue
        values = np.stack([_on_grid(scored, curve) for scored in cases.scored(finding)])
        frames.append(cases.rows(finding, {across: GRID, **fixed, **summarise(up, values, SHARE)}))
    return pd.concat(frames, ignore_index=True)


def _on_grid(scored: Scored, curve: Curve) -> np.ndarray:
    """The curve of each weighting on the grid, (G, W); that of the first one uses every threshold."""
    weights = scored.weights
    once = Scored(scored.labels, scored.logits, scored.patients, weights[:, :1])
    exact = [part[:, 0] for part in cumulated(once, np.unique(scored.logits))]
    coarse = np.unique(np.concatenate([_some(scored.logits[scored.labels == label]) for label in (1, 0)]))
    parts = cumulated(scored, coarse)
    resampled = [curve(true, false) for true, false in zip(*(part[:, 1:].T for part in parts), strict=True)]
    return np.stack([curve(*exact), *resampled], axis=1)


def _some(logits: np.ndarray) -> np.ndarray:
    """At most THRESHOLDS of the logits, evenly spaced by rank."""
    return spread(np.unique(logits), THRESHOLDS)

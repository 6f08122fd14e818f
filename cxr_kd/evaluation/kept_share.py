"""How much of its teacher's advantage a distilled student keeps, with an interval over patients and trainings.

The share is (distilled - alone) / (teacher - alone), of the mean AUROC: 0 if distillation changes nothing, 1 if the
student becomes as good as its teacher. A share s is in the 95 % interval if the 95 % interval of
(distilled - alone) - s (teacher - alone) holds 0, as Fieller does for a ratio (Journal of the Royal Statistical Society
B 16, 1954), here with the intervals of `mrmc`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from cxr_kd.evaluation.bootstrap import Bootstrap, bootstrap, difference
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.study.settings import Evaluation

COLUMNS = ("teacher", "alone", "student", "interval", "advantage", "advantage_low", "advantage_high", "share",
           "share_low", "share_high")  # fmt: skip
_WIDEST = 1000.0  # the interval is said to be unknown if it is wider


def kept_shares(
    predictions: Mapping[str, Sequence[Predictions]], triples: Sequence[tuple[str, str, str]], settings: Evaluation
) -> pd.DataFrame:
    """Return one row per triple of arms (teacher, student alone, student distilled), with the columns COLUMNS.

    `advantage` is the mean AUROC of the teacher minus that of the student alone. The share and its interval are NaN
    unless the interval of the advantage is above 0: without an advantage there is nothing to keep.
    """
    arms = dict.fromkeys(arm for triple in triples for arm in triple)
    found = {arm: bootstrap(predictions[arm], settings) for arm in arms}
    rows = []
    for teacher, alone, student in triples:
        advantage, gain = difference(found[alone], found[teacher]), difference(found[alone], found[student])
        value = advantage.inference("auroc")
        estimate, low, high = (float(each[-1]) for each in (value.estimate, value.low, value.high))
        share = _share(gain, advantage) if low > 0 else (np.nan, np.nan, np.nan)
        rows.append((teacher, alone, student, value.covers, estimate, low, high, *share))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _share(gain: Bootstrap, advantage: Bootstrap) -> tuple[float, float, float]:
    """Return the share of the advantage that the gain is, and its bounds. The advantage's interval is above 0."""

    def excluded(share: float) -> bool:
        rest = Bootstrap(
            gain.counts,
            gain.estimates - share * advantage.estimates,
            gain.resampled - share * advantage.resampled,
            gain.degrees,
            is_difference=True,
        ).inference("auroc")
        return not rest.low[-1] <= 0 <= rest.high[-1]

    estimate = float(gain.inference("auroc").estimate[-1] / advantage.inference("auroc").estimate[-1])
    return estimate, _bound(excluded, estimate, -1), _bound(excluded, estimate, 1)


def _bound(excluded: Callable[[float], bool], estimate: float, side: int) -> float:
    """Return the end of the interval on one side of the estimate, to 0.0001; infinite if there is none nearby."""
    inside, step = estimate, 0.25
    while not excluded(estimate + side * step):
        inside, step = estimate + side * step, 2 * step
        if step > _WIDEST:
            return side * np.inf
    outside = estimate + side * step
    while abs(outside - inside) > 1e-4:
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if excluded(middle) else (middle, outside)
    return (inside + outside) / 2

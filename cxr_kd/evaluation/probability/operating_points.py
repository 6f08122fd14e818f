"""Operating points: the logits from which a run calls a finding present, chosen on its validation side.

They are kept in a file beside the run (FILE), never inside a weights file: another hospital needs others. An exported
model holds a copy, which says what each threshold reached on validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import expit

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.probability.run_file import RunFile

FILE = "operating-points.json"  # beside the run's predictions
TARGET = 0.9  # default of the fixed sensitivity, and of the fixed specificity
Rule = Literal["youden", "sensitivity", "specificity"]
RULES: Mapping[Rule, str] = {
    "youden": "largest sensitivity + specificity on validation (Youden's index)",
    "sensitivity": "highest threshold with the wanted sensitivity on validation",
    "specificity": "lowest threshold with the wanted specificity on validation",
}


class OperatingPoint(BaseModel):
    """One rule's threshold for one finding, and what it reaches on validation.

    An image is called positive if its logit is at least `logit`. `target` is the wanted sensitivity or specificity.
    positives, negatives: on validation. Without a threshold, `left_out` says why.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    finding: str
    rule: Rule
    target: float | None = None
    positives: int
    negatives: int
    logit: float | None = None
    sensitivity: float | None = None
    specificity: float | None = None
    left_out: str = ""

    @property
    def raw_probability(self) -> float | None:
        """The sigmoid of the threshold. It is not a probability of the finding, because it is not recalibrated."""
        return None if self.logit is None else float(expit(self.logit))


class OperatingPoints(RunFile):
    """The operating points of one run: each rule for each finding."""

    points: tuple[OperatingPoint, ...]

    def of(self, finding: str, rule: Rule) -> OperatingPoint:
        """Return the point of a finding and rule; PredictionsError if it is not in the file."""
        for point in self.points:
            if (point.finding, point.rule) == (finding, rule):
                return point
        there = sorted({point.finding for point in self.points})
        raise PredictionsError(f"operating point {rule!r} of {finding!r}: not chosen; there is {', '.join(there)}")


def choose_operating_points(
    validation: Predictions, sensitivity: float = TARGET, specificity: float = TARGET
) -> OperatingPoints:
    """Return the operating points of one run, chosen on its validation side. Unknown labels are left out.

    A finding without a positive or a negative gets no threshold, and `left_out` says so. Raises PredictionsError for
    predictions of another side, and for a target that is not in (0, 1].
    """
    for name, target in (("sensitivity", sensitivity), ("specificity", specificity)):
        if not 0 < target <= 1:
            raise PredictionsError(f"the wanted {name} is {target}; a number above 0, at most 1, is needed")
    targets: Mapping[Rule, float | None] = {"youden": None, "sensitivity": sensitivity, "specificity": specificity}
    points = [
        _point(finding, rule, target, labels, logits)
        for finding, labels, logits in zip(validation.findings, validation.labels.T, validation.logits.T, strict=True)
        for rule, target in targets.items()
    ]
    return OperatingPoints.fitted_on(validation, points=tuple(points))


def thresholds(labels: np.ndarray, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return every threshold that changes a call, descending, with its sensitivity and specificity, (T,) each.

    labels (n,) in {1, 0}, both of them present. The first threshold is above all logits and calls nothing positive, the
    last is the smallest logit and calls everything positive.
    """
    above = np.nextafter(logits.max(), np.inf, dtype=logits.dtype)
    values = np.concatenate([[above], np.unique(logits)[::-1]])
    positive, negative = (np.sort(logits[labels == label]) for label in (1, 0))
    sensitivity = 1 - np.searchsorted(positive, values, side="left") / len(positive)
    return values, sensitivity, np.searchsorted(negative, values, side="left") / len(negative)


def _point(finding: str, rule: Rule, target: float | None, labels: np.ndarray, logits: np.ndarray) -> OperatingPoint:
    """Choose the threshold of one finding by one rule."""
    counts: dict[str, Any] = {"positives": int((labels == 1).sum()), "negatives": int((labels == 0).sum())}

    def without(reason: str) -> OperatingPoint:
        return OperatingPoint(finding=finding, rule=rule, target=target, **counts, left_out=reason)

    if missing := [name.removesuffix("s") for name, count in counts.items() if not count]:
        return without(f"validation: no {missing[0]}")
    known = ~np.isnan(labels)
    values, sensitivity, specificity = thresholds(labels[known], logits[known])
    if rule == "youden":
        chosen = int(np.argmax(sensitivity + specificity))  # of equals, the highest threshold
        if sensitivity[chosen] + specificity[chosen] <= 1:
            return without("validation: no threshold is better than chance")
    elif rule == "sensitivity":
        chosen = int(np.argmax(sensitivity >= target))
    else:
        chosen = int(np.flatnonzero(specificity >= target)[-1])
    reached: dict[str, Any] = {"sensitivity": float(sensitivity[chosen]), "specificity": float(specificity[chosen])}
    return OperatingPoint(finding=finding, rule=rule, target=target, logit=float(values[chosen]), **counts, **reached)

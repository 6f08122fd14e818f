"""Recalibration of logits, fitted on validation: temperature scaling, Platt scaling, prevalence correction.

A sigmoid of a network's logit is not the probability of a finding: losses, class weights and early stopping move it.
A threshold of 0.5 on it means nothing until this was checked. Each method maps a logit to intercept + slope * logit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.probability.cases import Cases
from cxr_kd.evaluation.probability.logistic import fit_intercept, fit_line, fit_slope, why_no_fit
from cxr_kd.evaluation.probability.run_file import RunFile

FILE = "recalibration.json"  # beside the run's predictions
Method = Literal["raw", "temperature", "platt", "prevalence"]
METHODS: Mapping[Method, str] = {
    "raw": "sigmoid of the network's logits, not recalibrated",
    "temperature": "temperature scaling: one temperature for all findings, fitted on validation",
    "platt": "Platt scaling: an intercept and a slope per finding, fitted on validation",
    "prevalence": "prevalence correction: an intercept per finding, fitted on validation",
}


class LogitMap(BaseModel):
    """How a method maps the logits of a finding; `left_out` says why there is no map, or is empty."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Method
    finding: str
    intercept: float | None = None
    slope: float | None = None
    left_out: str = ""

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Return intercept + slope * logits, the recalibrated logits; PredictionsError if there is no map."""
        if self.intercept is None or self.slope is None:
            raise PredictionsError(f"{self.finding}: no {self.method} recalibration ({self.left_out})")
        return self.intercept + self.slope * logits


class Recalibration(RunFile):
    """The maps of one run: each method for each finding."""

    maps: tuple[LogitMap, ...]

    def of(self, finding: str, method: Method) -> LogitMap:
        """Return the map of a finding; PredictionsError names what was fitted if it is not among it."""
        for each in self.maps:
            if (each.finding, each.method) == (finding, method):
                return each
        fitted = sorted({each.finding for each in self.maps})
        raise PredictionsError(f"{method} recalibration of {finding!r}: not fitted; there is {', '.join(fitted)}")


def fit_recalibration(validation: Predictions) -> Recalibration:
    """Return every method's maps for one run, fitted on its validation side. Unknown labels are left out.

    - temperature: slope 1 / T, with one T for all findings that minimises the log loss (Guo et al., ICML 2017).
    - platt: intercept and slope per finding, by logistic regression (Platt 1999, without his smoothing of labels).
    - prevalence: intercept per finding, so that the mean probability is the prevalence of the validation side
      ("recalibration in the large", Steyerberg 2019, section 15.3).

    A finding without a positive or a negative has no map for the last two; `LogitMap.left_out` says so. Raises
    PredictionsError for predictions of another side.
    """
    maps = [LogitMap(method="raw", finding=finding, intercept=0, slope=1) for finding in validation.findings]
    maps += _temperature(validation)
    for finding, labels, logits in _known(validation):
        maps += [_platt(finding, labels, logits), _prevalence(finding, labels, logits)]
    return Recalibration.fitted_on(validation, maps=tuple(maps))


def recalibrated(
    cases: Cases, maps: Sequence[Recalibration], finding: str, method: Method
) -> tuple[list[np.ndarray], str]:
    """Return the finding's recalibrated logits (n,) for each seed; or [] and the reason why there are none."""
    if reason := cases.left_out[finding]:
        return [], reason
    of_seeds = [each.of(finding, method) for each in maps]
    if reason := why_no_map(of_seeds):
        return [], reason
    return [each.apply(scored.logits) for each, scored in zip(of_seeds, cases.scored(finding), strict=True)], ""


def why_no_map(maps: Sequence[LogitMap]) -> str:
    """Return the reason of the first seed without a map, or an empty text."""
    return next((each.left_out for each in maps if each.left_out), "")


def shift_prevalence(logits: np.ndarray, fitted_at: float, wanted: float) -> np.ndarray:
    """Return logits calibrated at the prevalence `fitted_at`, moved to the prevalence `wanted`; both in (0, 1).

    Exact if only the prevalence differs and not how positives and negatives look (Saerens, Latinne and Decaestecker,
    Neural Computation 14 (2002), equation 2.4). PredictionsError for a prevalence outside (0, 1).
    """
    for name, value in (("the prevalence of the fit", fitted_at), ("the wanted prevalence", wanted)):
        if not 0 < value < 1:
            raise PredictionsError(f"{name} is {value}; a number between 0 and 1, both excluded, is needed")
    return logits + np.log(wanted / (1 - wanted)) - np.log(fitted_at / (1 - fitted_at))


def _known(validation: Predictions) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Each finding with its known labels and their logits, float64."""
    parts = []
    for finding, labels, logits in zip(validation.findings, validation.labels.T, validation.logits.T, strict=True):
        known = ~np.isnan(labels)
        parts.append((finding, labels[known].astype(np.float64), logits[known].astype(np.float64)))
    return parts


def _temperature(validation: Predictions) -> list[LogitMap]:
    parts = _known(validation)
    labels, logits = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    slope, reason = 0.0, "no known label on the validation side"
    if len(labels) and (((logits > 0) & (labels == 0)) | ((logits < 0) & (labels == 1))).any():
        slope, reason = fit_slope(labels, logits), "the best temperature on the validation side is not positive"
    elif len(labels):
        reason = "every logit on the validation side has the right sign, so no temperature is the best"
    if slope > 0:
        return [LogitMap(method="temperature", finding=part[0], intercept=0, slope=slope) for part in parts]
    return [LogitMap(method="temperature", finding=part[0], left_out=reason) for part in parts]


def _platt(finding: str, labels: np.ndarray, logits: np.ndarray) -> LogitMap:
    if reason := why_no_fit(labels, logits):
        return LogitMap(method="platt", finding=finding, left_out=f"validation: {reason}")
    intercept, slope = fit_line(labels, logits)
    return LogitMap(method="platt", finding=finding, intercept=intercept, slope=slope)


def _prevalence(finding: str, labels: np.ndarray, logits: np.ndarray) -> LogitMap:
    missing = [name for name, value in (("positive", 1), ("negative", 0)) if not (labels == value).any()]
    if missing:
        return LogitMap(method="prevalence", finding=finding, left_out=f"validation: no {missing[0]}")
    return LogitMap(method="prevalence", finding=finding, intercept=fit_intercept(labels, logits), slope=1)

"""What operating points do on the test side: sensitivity, specificity, predictive values, and other prevalences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.bootstrap import DEFAULTS, Runs
from cxr_kd.evaluation.probability.cases import Cases, Scored, gather
from cxr_kd.evaluation.probability.operating_points import RULES, TARGET, OperatingPoints, Rule, choose_operating_points
from cxr_kd.evaluation.seed_intervals import SHARE, interval_kind, summarise
from cxr_kd.study.settings import Evaluation

MEASURES = ("sensitivity", "specificity", "ppv", "npv", "accuracy", "f1")
RAW_HALF = "raw_0.5"  # in the column `rule`: a sigmoid of at least 0.5, which nobody chose
PREVALENCES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def evaluate_operating_points(
    test: Runs,
    validation: Runs,
    settings: Evaluation = DEFAULTS,
    *,
    sensitivity: float = TARGET,
    specificity: float = TARGET,
) -> pd.DataFrame:
    """Return what each operating point reaches on the test side, one row per finding and rule, averaged over seeds.

    Each run has its own thresholds (`choose_operating_points` on its validation side). A last row per finding, with
    the rule RAW_HALF, is for the sigmoid 0.5 without recalibration: it shows what that mistake costs.

    Columns: those of `cases.COUNTS`, rule, target, validation_positives, threshold_logit and threshold_raw (its
    sigmoid; both averaged over seeds), called (images called positive, averaged), interval ("patients", or "patients
    and trainings"), and for each measure M of MEASURES, all in [0, 1], higher is better: M, M_low, M_high (95 %),
    M_se_patients, M_se_trainings. Then accuracy_no_finding and f1_no_finding: what calling every image negative scores.
    NaN where undefined, e.g. the PPV if nothing is called. A row without values has its reason in `left_out`.
    """
    cases = gather(test, validation, settings)
    chosen = [choose_operating_points(run, sensitivity, specificity) for run in cases.validation]
    frames = [frame for finding in cases.left_out for frame in _finding(cases, chosen, finding)]
    return pd.concat(frames, ignore_index=True)


def predictive_values(
    test: Runs,
    validation: Runs,
    settings: Evaluation = DEFAULTS,
    *,
    sensitivity: float = TARGET,
    specificity: float = TARGET,
    prevalences: Sequence[float] = PREVALENCES,
) -> pd.DataFrame:
    """Return PPV and NPV at other prevalences, one row per finding, rule and prevalence, averaged over seeds.

    They follow from sensitivity and specificity on the test side by Bayes' rule (`bayes`), which holds if positives and
    negatives look as they do there. Columns: those of `cases.COUNTS`, rule, at_prevalence, interval, and ppv, npv with
    _low and _high. PredictionsError for a prevalence outside (0, 1).
    """
    if wrong := [value for value in prevalences if not 0 < value < 1]:
        raise PredictionsError(f"the prevalence {wrong[0]} is not between 0 and 1, both excluded")
    cases = gather(test, validation, settings)
    chosen = [choose_operating_points(run, sensitivity, specificity) for run in cases.validation]
    frames = []
    for finding in cases.left_out:
        for rule in RULES:
            points, left_out = _thresholds(cases, chosen, finding, rule)
            shape = (2, len(prevalences), cases.weights.shape[1])
            values = np.full((len(cases.test), *shape), np.nan)
            for seed, (scored, logit) in enumerate(zip(cases.scored(finding), points, strict=False)):
                reached = measures(confusion(scored, logit))
                values[seed] = bayes(reached[0], reached[1], np.array(prevalences)[:, None])
            columns: dict[str, Any] = {
                "rule": rule,
                "at_prevalence": list(prevalences),
                "interval": interval_kind(len(cases.test)),
            }
            columns |= summarise("ppv", values[:, 0], SHARE) | summarise("npv", values[:, 1], SHARE)
            frames.append(cases.rows(finding, columns, left_out))
    return pd.concat(frames, ignore_index=True)


def confusion(scored: Scored, logit: float) -> np.ndarray:
    """Return the weight of true positives, false positives, false negatives, true negatives: (4, W)."""
    called = scored.logits >= logit
    positive = scored.labels == 1
    parts = [positive & called, ~positive & called, positive & ~called, ~positive & ~called]
    return scored.sums(np.stack(parts).astype(np.float64))


def measures(counts: np.ndarray) -> np.ndarray:
    """Return the measures of MEASURES, in order, (6, W), from `confusion`; NaN where the denominator is 0."""
    true, false, missed, clear = counts
    parts = (
        (true, true + missed),
        (clear, clear + false),
        (true, true + false),
        (clear, clear + missed),
        (true + clear, counts.sum(axis=0)),
        (2 * true, 2 * true + false + missed),
    )
    return np.stack([np.divide(a, b, out=np.full_like(a, np.nan), where=b > 0) for a, b in parts])


def bayes(sensitivity: np.ndarray, specificity: np.ndarray, prevalence: np.ndarray) -> np.ndarray:
    """Return PPV and NPV at a prevalence, (2, ...), for arrays that broadcast; NaN if nothing is called so."""
    found, false = sensitivity * prevalence, (1 - specificity) * (1 - prevalence)
    clear, missed = specificity * (1 - prevalence), (1 - sensitivity) * prevalence
    with np.errstate(invalid="ignore"):
        return np.stack([found / (found + false), clear / (clear + missed)])


def _finding(cases: Cases, chosen: Sequence[OperatingPoints], finding: str) -> Iterator[pd.DataFrame]:
    """Give the row of each rule for one finding."""
    scored = cases.scored(finding)
    for rule in (*RULES, RAW_HALF):
        points, left_out = _thresholds(cases, chosen, finding, rule)
        values = np.full((len(scored), len(MEASURES), cases.weights.shape[1]), np.nan)
        called = np.full(len(scored), np.nan)
        for seed, (one, logit) in enumerate(zip(scored, points, strict=False)):
            counts = confusion(one, logit)
            values[seed], called[seed] = measures(counts), counts[:2, 0].sum()
        first = None if rule == RAW_HALF else chosen[0].of(finding, cast(Rule, rule))
        columns: dict[str, Any] = {
            "rule": rule, "target": first.target if first and first.target else np.nan,
            "validation_positives": chosen[0].of(finding, "youden").positives,
            "threshold_logit": np.mean(points) if points else np.nan,
            "threshold_raw": np.mean([1 / (1 + np.exp(-point)) for point in points]) if points else np.nan,
            "called": called.mean(), "interval": interval_kind(len(scored)),
        }  # fmt: skip
        for i, measure in enumerate(MEASURES):
            columns |= summarise(measure, values[:, i], SHARE, errors=True)
        row = cases.rows(finding, columns, left_out)
        yield row.assign(accuracy_no_finding=1 - row["prevalence"], f1_no_finding=0.0)


def _thresholds(cases: Cases, chosen: Sequence[OperatingPoints], finding: str, rule: str) -> tuple[list[float], str]:
    """Return the threshold of each seed; or [] and the reason why there is none."""
    if reason := cases.left_out[finding]:
        return [], reason
    if rule == RAW_HALF:
        return [0.0] * len(chosen), ""
    points = [each.of(finding, cast(Rule, rule)) for each in chosen]
    if reason := next((point.left_out for point in points if point.left_out), ""):
        return [], reason
    return [point.logit for point in points if point.logit is not None], ""

"""Estimates of AUROC and average precision with 95 % intervals, and paired differences on the same images.

The intervals come from a bootstrap over patients (`resampling`). They say how far a value would move with other
patients. They say nothing about another training with another seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.metrics import rank
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.resampling import interval, resample_patients
from cxr_kd.study.settings import Evaluation

METRICS = ("auroc", "average_precision")
MEAN = "mean"  # the value of the column `finding` in the row that holds the mean over findings
DEFAULTS = Evaluation()

Runs = Predictions | Sequence[Predictions]  # one run, or the seeds of one training


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Both metrics of the L findings and of their mean (last): the estimate, and R resamples of the patients.

    counts: one row per finding and one for the mean, with the columns finding, images, positives, negatives,
    positive_patients (empty for the mean) and left_out ("" or the reason why there is no value).
    estimate: (2, L + 1), in the order of METRICS. resampled: (2, L + 1, R). NaN for a finding that is left out.
    """

    counts: pd.DataFrame
    estimate: np.ndarray
    resampled: np.ndarray

    def columns(self, metric: str, suffix: str = "") -> dict[str, np.ndarray]:
        """Return the columns of one metric, (L + 1,) each: METRIC + suffix (the estimate), METRIC_low, METRIC_high."""
        position = METRICS.index(metric)
        low, high = interval(self.resampled[position])
        return {f"{metric}{suffix}": self.estimate[position], f"{metric}_low": low, f"{metric}_high": high}


def evaluate(runs: Runs, settings: Evaluation = DEFAULTS) -> pd.DataFrame:
    """Return AUROC and average precision of each finding and of their mean (the last row), with 95 % intervals.

    Several runs (seeds of one training) are averaged within each resample; PredictionsError unless they hold the same
    images. Columns: run, side, those of `Bootstrap.counts`, prevalence, and for each metric M: M, M_low, M_high.
    """
    result = bootstrap(runs, settings)
    frame = result.counts.copy()
    frame.insert(0, "run", _run_names(runs))
    frame.insert(1, "side", _listed(runs)[0].metadata.side)
    frame["prevalence"] = (frame["positives"] / frame["images"]).to_numpy(np.float64, na_value=np.nan)
    for metric in METRICS:
        frame = frame.assign(**result.columns(metric))
    return frame


def compare(first: Runs, second: Runs, settings: Evaluation = DEFAULTS) -> pd.DataFrame:
    """Return the paired difference `second` minus `first` of each finding and of the mean, with 95 % intervals.

    Columns: first, second (run names), finding, positives, left_out, and for each metric M: M_difference, M_low,
    M_high. Averages and errors as in `bootstrap_difference`.
    """
    result = bootstrap_difference(first, second, settings)
    frame = result.counts[["finding", "positives", "left_out"]].copy()
    frame.insert(0, "first", _run_names(first))
    frame.insert(1, "second", _run_names(second))
    for metric in METRICS:
        frame = frame.assign(**result.columns(metric, "_difference"))
    return frame


def bootstrap_difference(first: Runs, second: Runs, settings: Evaluation = DEFAULTS) -> Bootstrap:
    """Return the bootstrap of `second` minus `first`: both have the same patients in each resample.

    Each side is one run, or several seeds of it, averaged within each resample. Raises PredictionsError unless all
    hold the same images and labels.
    """
    check_same_images([*_listed(first), *_listed(second)])
    one, two = bootstrap(first, settings), bootstrap(second, settings)
    return Bootstrap(one.counts, two.estimate - one.estimate, two.resampled - one.resampled)


def bootstrap(runs: Runs, settings: Evaluation = DEFAULTS) -> Bootstrap:
    """Return both metrics of a run, or of the mean of several, for all patients and for resamples of them.

    Runs on the same patients get the same resamples from the same seed. Raises PredictionsError unless all runs hold
    the same images and labels.
    """
    runs = _listed(runs)
    check_same_images(runs)
    numbers, drawn = resample_patients(runs[0].patients, settings)
    weights = np.concatenate([np.ones((drawn.shape[1], 1)), drawn.T], axis=1)  # first column: every patient once
    counts = _count(runs[0], settings.minimum_positives)
    scored = np.flatnonzero(counts["left_out"] == "")
    values = [_metrics(run, scored, numbers, weights) for run in runs]
    estimate = np.mean([_with_mean(value[:, :, 0]) for value in values], axis=0)
    resampled = np.mean([_with_mean(value[:, :, 1:]) for value in values], axis=0)
    return Bootstrap(_add_mean_row(counts), estimate, resampled)


def check_same_images(runs: Sequence[Predictions]) -> None:
    """Raise PredictionsError unless all runs hold the same images, patients, sources, findings and labels by row."""
    reference = runs[0]
    for run in runs[1:]:
        where = f"{run.source} (run {run.metadata.run}) and {reference.source} (run {reference.metadata.run})"
        if run.metadata.split_sha256 != reference.metadata.split_sha256 or run.metadata.side != reference.metadata.side:
            raise PredictionsError(f"{where}: scored on different splits or sides; compare runs of one only")
        if run.findings != reference.findings:
            raise PredictionsError(f"{where}: the findings or their order differ")
        for column in ("image_id", "patient_id"):
            if not np.array_equal(run.frame[column].to_numpy(), reference.frame[column].to_numpy()):
                raise PredictionsError(f"{where}: {column} differs; runs must hold the same images in the same order")
        one, other = (list(each.frame["source"]) if "source" in each.frame else [] for each in (run, reference))
        if one != other:
            raise PredictionsError(f"{where}: the images' sources differ; train the run with the older file again")
        if not np.array_equal(run.labels, reference.labels, equal_nan=True):
            raise PredictionsError(f"{where}: the labels differ; train the run with the older file again")


def _metrics(run: Predictions, scored: np.ndarray, numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Both metrics (2, L, W) of the findings at the positions `scored`, for each column of patient weights (P, W)."""
    labels, logits = run.labels, run.logits
    values = np.full((len(METRICS), len(run.findings), weights.shape[1]), np.nan)
    for position in scored:
        ranked = rank(labels[:, position], logits[:, position], numbers, len(weights))
        values[:, position] = ranked.both(weights)
    return values


def _with_mean(values: np.ndarray) -> np.ndarray:
    """Values (2, L, ...) with their mean over the findings as the last entry, (2, L + 1, ...).

    A resample that drew no positive of a rare finding has the mean over its other findings.
    """
    defined = np.isfinite(values)
    total = np.where(defined, values, 0).sum(axis=1)
    mean = np.divide(total, defined.sum(axis=1), out=np.full(total.shape, np.nan), where=defined.any(axis=1))
    return np.concatenate([values, mean[:, None]], axis=1)


def _count(run: Predictions, minimum_positives: int) -> pd.DataFrame:
    """`Bootstrap.counts` without the row of the mean."""
    rows, labels, patients = [], run.labels, run.patients
    for position, finding in enumerate(run.findings):
        positive, negative = labels[:, position] == 1, labels[:, position] == 0
        row = {
            "finding": finding,
            "images": int(positive.sum() + negative.sum()),
            "positives": int(positive.sum()),
            "negatives": int(negative.sum()),
            "positive_patients": len(set(patients[positive])),
        }
        reason = _why_left_out(row, len(set(patients[negative])), minimum_positives)
        rows.append(row | {"left_out": reason})
    return pd.DataFrame(rows)


def _why_left_out(row: dict, negative_patients: int, minimum: int) -> str:
    """Why a finding is not scored, or an empty text."""
    for side, patients in (("positives", row["positive_patients"]), ("negatives", negative_patients)):
        if row[side] < minimum:
            return f"{row[side]} {side.removesuffix('s') if row[side] == 1 else side}, fewer than {minimum}"
        if patients < 2:  # resamples of one patient do not show how far other patients would move the value
            return f"{row[side]} {side}, all of one patient"
    return ""


def _add_mean_row(counts: pd.DataFrame) -> pd.DataFrame:
    """The counts and a last row for the mean, whose counts are empty."""
    scored = (counts["left_out"] == "").any()
    row = {"finding": MEAN, "left_out": "" if scored else "no finding has enough positives and negatives"}
    frame = pd.concat([counts, pd.DataFrame([row])], ignore_index=True)
    whole = ["images", "positives", "negatives", "positive_patients"]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def _listed(runs: Runs) -> list[Predictions]:
    return [runs] if isinstance(runs, Predictions) else list(runs)


def _run_names(runs: Runs) -> str:
    return " + ".join(run.metadata.run for run in _listed(runs))

"""95 % intervals from a bootstrap over patients, and paired differences between runs on the same images.

Images of one patient resemble each other, so whole patients are drawn with replacement (a cluster bootstrap; Davison
and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). The interval is the 2.5th to 97.5th
percentile. It says how far the figure would move with other patients, and nothing about training again with
another seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.metrics import rank
from cxr_kd.evaluation.predictions import Predictions

METRICS = ("auroc", "average_precision")
MEAN = "mean"  # what stands in the column `finding` of the row that holds the mean over findings
LEVEL = (2.5, 97.5)  # percentiles


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Both metrics of one run over its findings: the estimate, and R resamples of the patients.

    counts: one row a finding: finding, images, positives, negatives, positive_patients, left_out ("" or the reason).
    estimate: (2, L) in the order of METRICS; resampled: (2, L, R). Both are NaN for a finding that is left out.
    """

    counts: pd.DataFrame
    estimate: np.ndarray
    resampled: np.ndarray

    def with_mean(self) -> tuple[np.ndarray, np.ndarray]:
        """Estimate (2, L + 1) and resamples (2, L + 1, R), the last entry the mean over the findings not left out.

        A resample that drew no positive of a rare finding takes its mean over the others.
        """
        return (
            np.concatenate([self.estimate, _mean(self.estimate)[:, None]], axis=1),
            np.concatenate([self.resampled, _mean(self.resampled)[:, None]], axis=1),
        )


def bootstrap(
    predictions: Predictions, *, resamples: int = 1000, seed: int = 0, minimum_positives: int = 10
) -> Bootstrap:
    """Resample the patients; two files of the same patients get the same resamples from the same seed."""
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; at least 1 is needed, 1,000 for an interval worth printing")
    labels, logits = predictions.labels, predictions.logits
    patients, groups = np.unique(predictions.patients, return_inverse=True)
    counts = _count(labels, predictions, minimum_positives)
    drawn = np.random.default_rng(seed).multinomial(len(patients), np.full(len(patients), 1 / len(patients)), resamples)
    weights = np.concatenate([np.ones((len(patients), 1)), drawn.T], axis=1)  # the first column: everyone once
    values = np.full((len(METRICS), len(predictions.findings), 1 + resamples), np.nan)
    for i in np.flatnonzero(counts["left_out"] == ""):
        values[:, i] = rank(labels[:, i], logits[:, i], groups, len(patients)).both(weights)
    return Bootstrap(counts, values[:, :, 0], values[:, :, 1:])


def evaluate(
    runs: Predictions | Sequence[Predictions], *, resamples: int = 1000, seed: int = 0, minimum_positives: int = 10
) -> pd.DataFrame:
    """AUROC and average precision of each finding and of their mean (the last row, finding = "mean"), with intervals.

    Several runs (seeds of one training) are averaged within each resample; they must hold the same images.
    Columns: run, side, finding, images, positives, negatives, positive_patients, prevalence, left_out ("" or the
    reason why the finding is not scored and not in the mean), and for each metric M: M, M_low, M_high.
    """
    frame, estimate, resampled = _side(_listed(runs), resamples, seed, minimum_positives)
    frame.insert(0, "run", _joined(runs))
    frame.insert(1, "side", _listed(runs)[0].metadata.side)
    frame["prevalence"] = (frame["positives"] / frame["images"]).to_numpy(np.float64, na_value=np.nan)
    for m, metric in enumerate(METRICS):
        low, high = interval(resampled[m])
        frame[metric], frame[f"{metric}_low"], frame[f"{metric}_high"] = estimate[m], low, high
    return frame


def compare(
    first: Predictions | Sequence[Predictions],
    second: Predictions | Sequence[Predictions],
    *,
    resamples: int = 1000,
    seed: int = 0,
    minimum_positives: int = 10,
) -> pd.DataFrame:
    """The paired difference `second` minus `first` for each finding and the mean: the same resamples on both sides.

    Each side is one run, or several seeds of it, averaged within each resample. All must hold the same images and
    labels; PredictionsError otherwise. Columns: first, second (run names), finding, positives, left_out, and for each
    metric M: M_difference, M_low, M_high.
    """
    pair = paired(first, second, resamples=resamples, seed=seed, minimum_positives=minimum_positives)
    frame = pair.counts[["finding", "positives", "left_out"]].copy()
    frame.insert(0, "first", _joined(first))
    frame.insert(1, "second", _joined(second))
    for m, metric in enumerate(METRICS):
        low, high = interval(pair.resampled[m])
        frame[f"{metric}_difference"], frame[f"{metric}_low"], frame[f"{metric}_high"] = pair.estimate[m], low, high
    return frame


def paired(
    first: Predictions | Sequence[Predictions],
    second: Predictions | Sequence[Predictions],
    *,
    resamples: int = 1000,
    seed: int = 0,
    minimum_positives: int = 10,
) -> Bootstrap:
    """What `compare` is made of: `second` minus `first` (2, L + 1), and resampled (2, L + 1, R), the mean last."""
    check_same_images([*_listed(first), *_listed(second)])
    counts, first_estimate, first_resampled = _side(_listed(first), resamples, seed, minimum_positives)
    _, second_estimate, second_resampled = _side(_listed(second), resamples, seed, minimum_positives)
    return Bootstrap(counts, second_estimate - first_estimate, second_resampled - first_resampled)


def p_value(resampled: np.ndarray) -> np.ndarray:
    """Two-sided p for a difference of 0, from its resamples (..., R); NaN where none is defined.

    The smallest level at which the percentile interval leaves 0 out (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, section 15.4), with one resample added on the side of 0 (Davison and Hinkley, equation 4.11): it is
    never below 2 / (R + 1).
    """
    defined = np.isfinite(resampled)
    below, above = ((resampled <= 0) & defined).sum(axis=-1), ((resampled >= 0) & defined).sum(axis=-1)
    p = np.minimum(1.0, 2 * (1 + np.minimum(below, above)) / (1 + defined.sum(axis=-1)))
    return np.where(defined.any(axis=-1), p, np.nan)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values (K,) corrected for being K: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.

    Those that are NaN stay it and do not count.
    """
    corrected = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return corrected


def interval(resampled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % percentile interval over the last axis, resamples where the metric is undefined left out."""
    defined = np.isfinite(resampled).any(axis=-1)
    bounds = np.full((2, *resampled.shape[:-1]), np.nan)
    if defined.any():
        bounds[:, defined] = np.nanpercentile(resampled[defined], LEVEL, axis=-1)
    return bounds[0], bounds[1]


def check_same_images(runs: Sequence[Predictions]) -> None:
    """Raise PredictionsError unless all runs hold the same images, patients, findings and labels, row by row."""
    reference = runs[0]
    for run in runs[1:]:
        where = f"{run.source} (run {run.metadata.run}) against {reference.source} (run {reference.metadata.run})"
        if run.metadata.split_sha256 != reference.metadata.split_sha256 or run.metadata.side != reference.metadata.side:
            raise PredictionsError(f"{where}: scored on another split or side; compare runs of one split only")
        if run.findings != reference.findings:
            raise PredictionsError(f"{where}: other findings, or in another order")
        for column in ("image_id", "patient_id"):
            if not np.array_equal(run.frame[column].to_numpy(), reference.frame[column].to_numpy()):
                raise PredictionsError(f"{where}: {column} differs; a paired difference needs the same images in order")
        if not np.array_equal(run.labels, reference.labels, equal_nan=True):
            raise PredictionsError(f"{where}: the labels differ; one of the files is older than the data")


def _count(labels: np.ndarray, predictions: Predictions, minimum_positives: int) -> pd.DataFrame:
    """What `Bootstrap.counts` holds, from labels (N, L)."""
    rows = []
    for i, finding in enumerate(predictions.findings):
        positive, negative = labels[:, i] == 1, labels[:, i] == 0
        row = {
            "finding": finding,
            "images": int(positive.sum() + negative.sum()),
            "positives": int(positive.sum()),
            "negatives": int(negative.sum()),
            "positive_patients": len(set(predictions.patients[positive])),
        }
        rows.append(row | {"left_out": _reason(row, len(set(predictions.patients[negative])), minimum_positives)})
    return pd.DataFrame(rows)


def _reason(row: dict, negative_patients: int, minimum: int) -> str:
    """Why a finding is not scored, or an empty text."""
    for side, patients in (("positives", row["positive_patients"]), ("negatives", negative_patients)):
        if row[side] < minimum:
            return f"{row[side]} {side.removesuffix('s') if row[side] == 1 else side}, fewer than {minimum}"
        if patients < 2:  # drawn or not drawn: a single patient says nothing about how far other patients would move it
            return f"{row[side]} {side}, all of one patient"
    return ""


def _add_mean_row(counts: pd.DataFrame) -> pd.DataFrame:
    """The counts and, below, the row of the mean, whose counts stay empty."""
    scored = (counts["left_out"] == "").any()
    row = {"finding": MEAN, "left_out": "" if scored else "no finding has enough positives and negatives"}
    frame = pd.concat([counts, pd.DataFrame([row])], ignore_index=True)
    whole = ["images", "positives", "negatives", "positive_patients"]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over findings (axis 1) of what is defined; NaN where nothing is."""
    defined = np.isfinite(values)
    total = np.where(defined, values, 0).sum(axis=1)
    return np.divide(total, defined.sum(axis=1), out=np.full(total.shape, np.nan), where=defined.any(axis=1))


def _listed(runs: Predictions | Sequence[Predictions]) -> list[Predictions]:
    """One or several runs as a list."""
    return [runs] if isinstance(runs, Predictions) else list(runs)


def _joined(runs: Predictions | Sequence[Predictions]) -> str:
    """The names of one or several runs."""
    return " + ".join(run.metadata.run for run in _listed(runs))


def _side(
    runs: Sequence[Predictions], resamples: int, seed: int, minimum_positives: int
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Counts with the row of the mean, and estimates and resamples averaged over runs, as `Bootstrap.with_mean`."""
    check_same_images(runs)
    results = [bootstrap(run, resamples=resamples, seed=seed, minimum_positives=minimum_positives) for run in runs]
    pairs = [result.with_mean() for result in results]
    estimate, resampled = (np.mean([pair[i] for pair in pairs], axis=0) for i in (0, 1))
    return _add_mean_row(results[0].counts), estimate, resampled

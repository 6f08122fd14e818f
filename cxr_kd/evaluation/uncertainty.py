"""Estimates of AUROC and average precision with 95 % intervals, and paired differences on the same images.

Of one training, an interval is from a bootstrap over patients (`resampling`): it says how far a value would move with
other patients, and nothing about another training. Of several trainings (seeds), it covers both (`mrmc`). Only then is
a difference tested: a claim about a method must hold for its next training too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.metrics import rank
from cxr_kd.evaluation.mrmc import Inference, infer
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.resampling import ALPHA, holm, resample_patients
from cxr_kd.study.settings import Evaluation

METRICS = ("auroc", "average_precision")
MEAN = "mean"  # the value of the column `finding` in the row that holds the mean over findings
OVER_PATIENTS, OVER_BOTH = "patients", "patients and trainings"  # what an interval covers: the column `interval`
DEFAULTS = Evaluation()

Runs = Predictions | Sequence[Predictions]  # one run, or the seeds of one training


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Both metrics of the L findings and of their mean (last), for S trainings and R resamples of the patients.

    counts: one row per finding and one for the mean, with the columns finding, images, positives, negatives,
    positive_patients (empty for the mean) and left_out ("" or the reason why there is no value).
    estimates: (S, 2, L + 1), metrics in the order of METRICS. resampled: (S, 2, L + 1, R). NaN for a finding that is
    left out. is_difference: whether the values are differences, else they are from 0 to 1.
    """

    counts: pd.DataFrame
    estimates: np.ndarray
    resampled: np.ndarray
    is_difference: bool = False

    @property
    def covers(self) -> str:
        """What the intervals cover: OVER_PATIENTS for one training, OVER_BOTH for several."""
        return OVER_PATIENTS if len(self.estimates) == 1 else OVER_BOTH

    def inference(self, metric: str) -> Inference:
        """Return the estimate of one metric with its interval, standard errors and p-value, (L + 1,) each.

        The interval of a single training is the percentile interval over patients; it has no p.
        """
        position = METRICS.index(metric)
        return infer(self.estimates[:, position], self.resampled[:, position], bounded=not self.is_difference)


def evaluate(runs: Runs, settings: Evaluation = DEFAULTS) -> pd.DataFrame:
    """Return AUROC and average precision of each finding and of their mean (the last row), with 95 % intervals.

    Several runs (seeds of one training) are averaged; PredictionsError unless they hold the same images. Columns: run,
    side, those of `Bootstrap.counts`, prevalence, interval (OVER_PATIENTS or OVER_BOTH), and for each metric M: M,
    M_low, M_high.
    """
    result = bootstrap(runs, settings)
    frame = result.counts.copy()
    frame.insert(0, "run", _run_names(runs))
    frame.insert(1, "side", _listed(runs)[0].metadata.side)
    frame["prevalence"] = (frame["positives"] / frame["images"]).to_numpy(np.float64, na_value=np.nan)
    frame["interval"] = result.covers
    for metric in METRICS:
        value = result.inference(metric)
        columns = {"": value.estimate, "_low": value.low, "_high": value.high}
        frame = frame.assign(**{f"{metric}{end}": column for end, column in columns.items()})
    return frame


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
    frame["interval"] = result.covers
    names = range(len(result.estimates)) if seeds is None else seeds
    for metric in METRICS:
        frame = frame.assign(**_difference_columns(metric, result, list(names)))
    return frame.assign(shown=is_shown(frame))


def _difference_columns(metric: str, result: Bootstrap, seeds: Sequence[int]) -> dict[str, np.ndarray]:
    """The columns of one metric in `compare`."""
    value = result.inference(metric)
    corrected = value.p.copy()
    corrected[:-1] = holm(value.p[:-1])
    columns = {
        "difference": value.estimate,
        "low": value.low,
        "high": value.high,
        "se_patients": value.se_patients,
        "se_trainings": value.se_trainings,
        "p": value.p,
        "p_holm": corrected,
    }
    own = result.estimates[:, METRICS.index(metric)]
    columns |= {f"seed{seed}": of_seed for seed, of_seed in zip(seeds, own, strict=True)}
    return {f"{metric}_{name}": column for name, column in columns.items()}


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


def bootstrap_difference(first: Runs, second: Runs, settings: Evaluation = DEFAULTS) -> Bootstrap:
    """Return the bootstrap of `second` minus `first`: both have the same patients in each resample.

    Each side is one run, or its seeds; the difference is taken seed by seed. Raises PredictionsError unless all hold
    the same images and labels, and both sides have as many seeds.
    """
    first, second = _listed(first), _listed(second)
    check_same_images([*first, *second])
    if len(first) != len(second):
        raise PredictionsError(
            f"{_run_names(first)} against {_run_names(second)}: {len(first)} and {len(second)} trainings; a comparison "
            "needs as many of each, with the same seeds"
        )
    one, two = bootstrap(first, settings), bootstrap(second, settings)
    return Bootstrap(one.counts, two.estimates - one.estimates, two.resampled - one.resampled, is_difference=True)


def bootstrap(runs: Runs, settings: Evaluation = DEFAULTS) -> Bootstrap:
    """Return both metrics of a run, or of several trainings of it, for all patients and for resamples of them.

    Runs on the same patients get the same resamples from the same seed. Raises PredictionsError unless all runs hold
    the same images and labels.
    """
    runs = _listed(runs)
    check_same_images(runs)
    numbers, drawn = resample_patients(runs[0].patients, settings)
    weights = np.concatenate([np.ones((drawn.shape[1], 1)), drawn.T], axis=1)  # first column: every patient once
    counts = _count(runs[0], settings.minimum_positives)
    scored = np.flatnonzero(counts["left_out"] == "")
    values = np.stack([_with_mean(_metrics(run, scored, numbers, weights)) for run in runs])
    return Bootstrap(_add_mean_row(counts), values[..., 0], values[..., 1:])


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

"""Both metrics of each finding for all patients and for resamples of them, for one training or several.

Images of one patient resemble each other, so whole patients are drawn (`resampling`). Runs on the same images get the
same resamples, so that their differences are paired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.metrics import rank
from cxr_kd.evaluation.mrmc import Inference, degrees_of_mean, infer, variance
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.resampling import resample_patients
from cxr_kd.study.settings import Evaluation

METRICS = ("auroc", "average_precision")
MEAN = "mean"  # the value of the column `finding` in the row that holds the mean over findings
DEFAULTS = Evaluation()

Runs = Predictions | Sequence[Predictions]  # one run, or the seeds of one training

# What `_values` gave for each run and setting. An arm is compared with several others, always with the same resamples.
_KEPT: WeakKeyDictionary[Predictions, dict[tuple[int, int, int], np.ndarray]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """Both metrics of the L findings and of their mean (last), for S trainings and R resamples of the patients.

    counts: one row per finding and one for the mean, with the columns finding, images, positives, negatives,
    positive_patients (empty for the mean) and left_out ("" or the reason why there is no value).
    estimates: (S, 2, L + 1), metrics in the order of METRICS. resampled: (S, 2, L + 1, R). NaN for a finding that is
    left out. degrees: (L,), degrees of freedom of the patients' variance, one less than the patients with a positive
    image or, if these are fewer, with a negative one. is_difference: whether the values are differences, else they are
    from 0 to 1.
    """

    counts: pd.DataFrame
    estimates: np.ndarray
    resampled: np.ndarray
    degrees: np.ndarray
    is_difference: bool = False

    def inference(self, metric: str) -> Inference:
        """Return the estimate of one metric with its interval, standard errors and p-value, (L + 1,) each.

        The interval of a single training covers patients only; it has no p.
        """
        position = METRICS.index(metric)
        estimates, resampled = self.estimates[:, position], self.resampled[:, position]
        degrees = np.append(self.degrees, degrees_of_mean(variance(resampled[:, :-1].mean(axis=0)), self.degrees))
        return infer(estimates, resampled, patient_degrees=degrees, bounded=not self.is_difference)


def bootstrap_difference(first: Runs, second: Runs, settings: Evaluation = DEFAULTS) -> Bootstrap:
    """Return the bootstrap of `second` minus `first`: both have the same patients in each resample.

    Each side is one run, or its seeds; the difference is taken seed by seed. Raises PredictionsError unless all hold
    the same images and labels, and both sides have as many seeds.
    """
    first, second = listed(first), listed(second)
    check_same_images([*first, *second])
    if len(first) != len(second):
        raise PredictionsError(
            f"{first[0].metadata.run} and its seeds against {second[0].metadata.run}: {len(first)} and {len(second)} "
            "trainings; a comparison needs as many of each, with the same seeds"
        )
    return difference(bootstrap(first, settings), bootstrap(second, settings))


def difference(first: Bootstrap, second: Bootstrap) -> Bootstrap:
    """Return `second` minus `first`, two bootstraps of the same images with the same settings."""
    estimates, resampled = second.estimates - first.estimates, second.resampled - first.resampled
    return Bootstrap(first.counts, estimates, resampled, first.degrees, is_difference=True)


def bootstrap(runs: Runs, settings: Evaluation = DEFAULTS) -> Bootstrap:
    """Return both metrics of a run, or of several trainings of it, for all patients and for resamples of them.

    Runs on the same patients get the same resamples from the same seed. A run is resampled once: its values are kept as
    long as its predictions are in memory. Raises PredictionsError unless all runs hold the same images and labels.
    """
    runs = listed(runs)
    check_same_images(runs)
    values = np.stack([_values(run, settings) for run in runs])
    counts = _add_mean_row(_count(runs[0], settings.minimum_positives))
    return Bootstrap(counts, values[..., 0], values[..., 1:], _degrees(runs[0]))


def _values(run: Predictions, settings: Evaluation) -> np.ndarray:
    """Both metrics of a run's findings and of their mean (2, L + 1, 1 + R): for all patients, then for resamples."""
    kept = _KEPT.setdefault(run, {})
    asked = (settings.resamples, settings.seed, settings.minimum_positives)
    if asked not in kept:
        numbers, drawn = resample_patients(run.patients, settings)
        weights = np.concatenate([np.ones((drawn.shape[1], 1)), drawn.T], axis=1)  # first column: every patient once
        scored = np.flatnonzero(_count(run, settings.minimum_positives)["left_out"] == "")
        kept[asked] = _with_mean(_metrics(run, scored, numbers, weights))
    return kept[asked]


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


def _degrees(run: Predictions) -> np.ndarray:
    """`Bootstrap.degrees`, at least 1."""
    fewest = [min(patients_with(run, labels).values()) for labels in run.labels.T]
    return np.maximum(np.array(fewest, dtype=np.float64) - 1, 1)


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
    rows = []
    for finding, labels in zip(run.findings, run.labels.T, strict=True):
        images = {"positives": int((labels == 1).sum()), "negatives": int((labels == 0).sum())}
        patients = patients_with(run, labels)
        rows.append({
            "finding": finding, "images": sum(images.values()), **images, "positive_patients": patients["positives"],
            "left_out": why_left_out(images, patients, minimum_positives),
        })  # fmt: skip
    return pd.DataFrame(rows)


def patients_with(run: Predictions, labels: np.ndarray) -> dict[str, int]:
    """Return the number of patients with a positive and with a negative image; `labels` (N,) of one finding."""
    return {name: len(set(run.patients[labels == value])) for name, value in (("positives", 1), ("negatives", 0))}


def why_left_out(images: Mapping[str, int], patients: Mapping[str, int], minimum: int) -> str:
    """Return why a finding with so many `positives` and `negatives`, of so many patients, is not scored, or ""."""
    for name, count in images.items():
        if count < minimum:
            return f"{count} {name.removesuffix('s') if count == 1 else name}, fewer than {minimum}"
        if patients[name] < 2:  # resamples of one patient do not show how far other patients would move the value
            return f"{count} {name}, all of one patient"
    return ""


def _add_mean_row(counts: pd.DataFrame) -> pd.DataFrame:
    """The counts and a last row for the mean, whose counts are empty."""
    scored = (counts["left_out"] == "").any()
    row = {"finding": MEAN, "left_out": "" if scored else "no finding has enough positives and negatives"}
    frame = pd.concat([counts, pd.DataFrame([row])], ignore_index=True)
    whole = ["images", "positives", "negatives", "positive_patients"]
    return frame.astype(dict.fromkeys(whole, "Int64"))


def listed(runs: Runs) -> list[Predictions]:
    """Return the runs as a list."""
    return [runs] if isinstance(runs, Predictions) else list(runs)

"""Agreement of a student with its teacher: order of the images, and decisions that flip, in which direction, on whom.

Two networks with the same AUROC can decide differently about the same patients. `decision_agreement` says how often,
from predictions alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.bootstrap import DEFAULTS, MEAN, check_same_images
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.rank_correlation import spearman
from cxr_kd.evaluation.resampling import resample_patients
from cxr_kd.evaluation.seed_intervals import WithInterval, mean_of_defined, with_interval
from cxr_kd.evaluation.subgroup.group_bootstrap import ArmThresholds, threshold_arrays
from cxr_kd.evaluation.subgroup.group_comparison import NO_THRESHOLD, shared_findings, too_few
from cxr_kd.evaluation.subgroup.groups import ALL, UNKNOWN, Grouping, groupings, why_unknown
from cxr_kd.study.settings import Evaluation

SPEARMAN, FLIPS = "spearman", ("flip", "flip_to_positive", "flip_to_negative")
AMONG = ("all", "positives", "negatives")
COLUMNS = ("teacher", "student", "seeds", "by", "group", "finding", "measure", "among", "images", "patients", "in_mean",
           "left_out", "value", "low", "high", "interval")  # fmt: skip
Pairs = Sequence[tuple[Predictions, Predictions]]  # (teacher, student) of each seed
Cuts = Sequence[tuple[np.ndarray, np.ndarray]]  # their thresholds, (L,) each


def decision_agreement(
    predictions: Mapping[str, Sequence[Predictions]],
    taught: Sequence[tuple[str, str]],
    settings: Evaluation = DEFAULTS,
    thresholds: ArmThresholds | None = None,
) -> pd.DataFrame:
    """Return how each student agrees with its teacher; one row per pair, group, finding (or MEAN), measure and `among`.

    `predictions`: arm -> one per seed, all on the same images. `taught`: pairs of arms (teacher, student); the teacher
    has as many seeds, or one that all seeds of the student share. `thresholds`: as in `subgroup_results`, each network
    its own; None: no decisions, so only the rank correlation.

    Columns: teacher, student, seeds, by, group (of `groups`), finding; measure: "spearman", the rank correlation of the
    logits (over all images only), or the share of images whose decision is another than the teacher's: "flip", of which
    "flip_to_positive" (the student alone is positive) and "flip_to_negative"; among: "all" images, or those with a
    positive or negative label ("positives": a flip to negative is a detection that the student loses); images,
    patients: those that the share is of; in_mean: the finding is part of the mean, which is over the findings scored in
    every compared group (`group_comparison`); left_out: why there is no value (images in no group have rows with the
    group UNKNOWN and a count); value, low, high, interval
    (`seed_intervals`). A share of 0 or 1 has no width in a bootstrap: with n images, up to 3/n is then possible (Hanley
    and Lippman-Hand, JAMA 249, 1983).

    Raises PredictionsError unless all predictions hold the same images and labels, or if a teacher or a threshold is
    missing.
    """
    frames = []
    for teacher, student in taught:
        runs = [*predictions.get(teacher, ()), *predictions.get(student, ())]
        pairs = _pairs(predictions, teacher, student)
        check_same_images(runs)
        cuts = _cuts(predictions, teacher, student, thresholds) if thresholds else None
        rows = _rows(pairs, cuts, groupings(runs), settings)
        frames.append(pd.DataFrame(rows).assign(teacher=teacher, student=student, seeds=len(pairs)))
    frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return frame.reindex(columns=list(COLUMNS))


def _pairs(predictions: Mapping[str, Sequence[Predictions]], teacher: str, student: str) -> Pairs:
    """The runs of teacher and student by seed; PredictionsError if they cannot be paired."""
    first, second = (list(predictions.get(arm, ())) for arm in (teacher, student))
    if not first or not second or len(first) not in (1, len(second)):
        raise PredictionsError(
            f"{student} has {len(second)} and its teacher {teacher} {len(first)} predictions; the same seeds are "
            "needed, or one teacher"
        )
    return list(zip(_each(first, len(second)), second, strict=True))


def _cuts(
    predictions: Mapping[str, Sequence[Predictions]], teacher: str, student: str, thresholds: ArmThresholds
) -> Cuts:
    first, second = (list(threshold_arrays(arm, predictions[arm], thresholds)) for arm in (teacher, student))
    return list(zip(_each(first, len(second)), second, strict=True))


def _each(values: list[Any], count: int) -> list[Any]:
    """One value per seed: a single one is that of every seed."""
    return values * count if len(values) == 1 else values


def _rows(pairs: Pairs, cuts: Cuts | None, divided: Sequence[Grouping], settings: Evaluation) -> list[dict[str, Any]]:
    """The rows of one teacher and one student, without the columns about them."""
    reference = pairs[0][0]
    numbers, drawn = resample_patients(reference.patients, settings)
    weights = np.concatenate([np.ones((drawn.shape[1], 1)), drawn.T], axis=1)
    rows = _correlations(pairs, numbers, weights)
    if cuts is None:
        return rows
    with_threshold = np.all(np.isfinite(np.array(cuts)), axis=(0, 1)).reshape(-1)
    everywhere = np.zeros(len(AMONG), dtype=int)
    for grouping in divided:
        left_out, images, patients = _counts(reference, grouping, numbers, with_threshold, settings)
        no_mean, in_mean = shared_findings(left_out, images[0, -1], patients[0, -1], everywhere)
        if grouping.by == ALL:
            everywhere = (left_out == "").sum(axis=(1, 2))
        shares = [_flips(*pair, *cut, grouping, numbers, weights) for pair, cut in zip(pairs, cuts, strict=True)]
        summary = with_interval(_with_means(np.stack(shares), left_out, no_mean, in_mean))
        reasons = np.concatenate([left_out, no_mean[:, None]], axis=1)
        names = [*reference.findings, MEAN]
        for among, finding, group in np.ndindex(reasons.shape):
            if names[finding] != MEAN and not images[0, -1, group]:
                continue  # an empty group is said once
            about = {
                "by": grouping.by, "group": grouping.names[group], "finding": names[finding], "among": AMONG[among],
                "images": images[among, finding, group], "patients": patients[among, finding, group],
                "in_mean": names[finding] != MEAN and bool(in_mean[among, finding]),
                "left_out": reasons[among, finding, group],
            }  # fmt: skip
            for number, measure in enumerate(FLIPS):
                rows.append(about | {"measure": measure} | _interval(summary, (number, among, finding, group), 0, 1))
        rows += _unknown_rows(grouping, numbers, summary.covers)
    return rows


def _unknown_rows(grouping: Grouping, numbers: np.ndarray, covers: str) -> list[dict[str, Any]]:
    """One row per measure for the images that are in no group, if there are any."""
    outside, reason = grouping.member < 0, why_unknown(grouping)
    about = {"by": grouping.by, "group": UNKNOWN, "finding": MEAN, "among": AMONG[0], "images": int(outside.sum()),
             "patients": len(np.unique(numbers[outside])), "in_mean": False, "left_out": reason,
             "interval": covers}  # fmt: skip
    return [about | {"measure": measure} for measure in FLIPS] if reason else []


def _counts(
    run: Predictions, grouping: Grouping, numbers: np.ndarray, with_threshold: np.ndarray, settings: Evaluation
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Why no share is given, text (3, L, K), and the images and patients (3, L + 1, K) of each share; AMONG is first.

    The counts of the mean (last) are those of all images of the group.
    """
    labels = run.labels
    members = [grouping.member == group for group in range(len(grouping.names))]
    chosen = np.stack([np.ones(labels.shape, bool), labels == 1, labels == 0])
    few = [too_few(rows, numbers, members, settings.minimum_positives, name)
           for rows, name in zip(chosen, ("image", "positive", "negative"), strict=True)]  # fmt: skip
    left_out = np.where(with_threshold[:, None], np.stack(few), NO_THRESHOLD)
    kept = np.concatenate([chosen, np.ones((len(AMONG), len(labels), 1), bool)], axis=2)
    counts = np.zeros((2, len(AMONG), kept.shape[2], len(members)), dtype=int)
    for among, finding, group in np.ndindex(counts.shape[1:]):
        rows = kept[among, :, finding] & members[group]
        counts[:, among, finding, group] = rows.sum(), len(np.unique(numbers[rows]))
    return left_out.astype(object), counts[0], counts[1]


def _flips(
    teacher: Predictions,
    student: Predictions,
    teacher_cut: np.ndarray,
    student_cut: np.ndarray,
    grouping: Grouping,
    numbers: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """The shares of FLIPS among AMONG (3, 3, L, K, 1 + R), for the weights (P, 1 + R) of the patients."""
    labels, count = teacher.labels, len(grouping.names)
    before, after = (
        run.logits.astype(np.float64) >= cut for run, cut in ((teacher, teacher_cut), (student, student_cut))
    )
    chosen = (np.ones(labels.shape, bool), labels == 1, labels == 0)
    flips = (np.ones(labels.shape, bool), before != after, after & ~before, before & ~after)
    used = grouping.member >= 0
    cell = grouping.member[used] * len(weights) + numbers[used]
    shares = np.full((len(FLIPS), len(AMONG), labels.shape[1], count, weights.shape[1]), np.nan)
    for among, finding in np.ndindex(len(AMONG), labels.shape[1]):
        totals = [np.bincount(cell, (chosen[among] & flip)[used, finding], count * len(weights)) for flip in flips]
        of, *flipped = np.reshape(totals, (len(flips), count, len(weights))) @ weights
        for number, weight in enumerate(flipped):
            np.divide(weight, of, out=shares[number, among, finding], where=of > 0)
    return shares


def _with_means(values: np.ndarray, left_out: np.ndarray, no_mean: np.ndarray, in_mean: np.ndarray) -> np.ndarray:
    """Shares (S, 3, 3, L, K, 1 + R) without those left out, with the mean over findings as the last finding."""
    values = np.where((left_out == "")[None, None, ..., None], values, np.nan)
    means = [mean_of_defined(values[:, :, among][:, :, kept], axis=2) for among, kept in enumerate(in_mean)]
    mean = np.where((no_mean == "")[None, None, ..., None], np.stack(means, axis=2), np.nan)
    return np.concatenate([values, mean[:, :, :, None]], axis=3)


def _correlations(pairs: Pairs, numbers: np.ndarray, weights: np.ndarray) -> list[dict[str, Any]]:
    """The rows of SPEARMAN."""
    findings = pairs[0][0].findings
    logits = [(teacher.logits, student.logits) for teacher, student in pairs]
    values = np.stack([[spearman(one[:, finding], other[:, finding], numbers, weights)
                        for finding in range(len(findings))] for one, other in logits])  # fmt: skip
    summary = with_interval(np.concatenate([values, mean_of_defined(values, axis=1)[:, None]], axis=1))
    shared = {"by": ALL, "group": ALL, "measure": SPEARMAN, "among": "all",
              "images": len(numbers), "patients": len(weights)}  # fmt: skip
    rows = []
    for number, name in enumerate([*findings, MEAN]):
        defined = bool(np.isfinite(summary.value[number]))
        reason = "" if defined else "all logits of a network are equal"
        about = {"finding": name, "in_mean": defined and name != MEAN, "left_out": reason}
        rows.append(shared | about | _interval(summary, (number,), -1, 1))
    return rows


def _interval(summary: WithInterval, place: tuple[int, ...], lowest: float, highest: float) -> dict[str, Any]:
    """The columns of a value; its interval over trainings is a t interval, which can leave the possible range."""
    low, high = (float(np.clip(bound[place], lowest, highest)) for bound in (summary.low, summary.high))
    return {"value": float(summary.value[place]), "low": low, "high": high, "interval": summary.covers}

"""AUROC, calibration, sensitivity and specificity of each group of images and of the images it is compared with.

The metrics of many groups, of their complements and of all resamples of the patients come from the same few sums: the
weight of the (positive, negative) pairs that are ranked correctly, for each pair of groups, and the weight of the
positives, of the correct decisions and of the probabilities in each group. So no group is ranked twice.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array
from scipy.special import expit

from cxr_kd.evaluation.metrics import CHUNK
from cxr_kd.evaluation.subgroup.groups import FINDING_COUNT, Grouping

METRICS = ("auroc", "log_calibration", "sensitivity", "specificity")
_SUMS = ("known", "positive", "probability", "true_positive", "true_negative")


def measure(
    labels: np.ndarray,
    logits: np.ndarray,
    threshold: float,
    grouping: Grouping,
    others: np.ndarray,
    patients: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return the METRICS of one finding (M, 2, K, W) in each of K groups, and in its others, for W weightings.

    labels: (N,) 1, 0 or NaN (left out); logits: (N,); threshold: the decision is positive if logit >= threshold (NaN:
    no decision, no sensitivity and specificity). others: bool (M, K, K), others[m, g, h] if metric m of group g is
    compared with group h. patients: (N,) in 0..P-1; weights: (P, W) of the patients. NaN where a metric is undefined.

    auroc: over the pairs of a positive and a negative image of the group. Groups by number of findings differ: see
    `subgroups`. log_calibration: ln(mean predicted probability / share of positives); 0 is right on average, ln 2 twice
    too high. sensitivity, specificity: the share of positive (negative) images with a positive (negative) decision.
    """
    sums = dict(zip(_SUMS, _group_sums(labels, logits, threshold, grouping, patients, weights), strict=True))
    wins = pair_wins(labels, logits, grouping, patients, weights)
    own = np.broadcast_to(np.eye(len(grouping.names), dtype=bool), others.shape)
    parts = [_metrics(sums, wins, groups, grouping.by == FINDING_COUNT) for groups in (own, others)]
    values = np.stack(parts, axis=1)
    if np.isnan(threshold):
        values[METRICS.index("sensitivity") :] = np.nan
    return values


def pair_wins(
    labels: np.ndarray, scores: np.ndarray, grouping: Grouping, patients: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Return, (K, K, W), the weight of the pairs in which a positive of group g has a larger score than a negative of
    group h; a tie counts half. Arguments as in `measure`.

    Divided by the weight of all pairs, it is the AUROC (Hanley and McNeil, Radiology 143, 1982).
    """
    member, count = grouping.member, len(grouping.names)
    positive, negative = (np.flatnonzero((labels == value) & (member >= 0)) for value in (1, 0))
    positive = positive[np.argsort(scores[positive], kind="stable")]
    of_group = csr_array(
        (np.ones(len(positive)), (member[positive], np.arange(len(positive)))), shape=(count, len(positive))
    )
    beaten = [_steps(scores[positive], scores, negative[member[negative] == h], patients, len(weights))
              for h in range(count)]  # fmt: skip
    wins = np.zeros((count, count, weights.shape[1]))
    for start in range(0, weights.shape[1], CHUNK):
        chunk = np.ascontiguousarray(weights[:, start : start + CHUNK])
        of_positive = chunk[patients[positive]]  # (T, CHUNK)
        for h, steps in enumerate(beaten):
            if steps.nnz:
                wins[:, h, start : start + CHUNK] = of_group @ (of_positive * np.cumsum(steps @ chunk, axis=0))
    return wins


def _steps(
    thresholds: np.ndarray, scores: np.ndarray, negative: np.ndarray, patients: np.ndarray, patient_count: int
) -> csr_array:
    """Return, (T, P), at which of the ascending thresholds each negative image begins to be beaten.

    A negative counts one half from the first threshold that is not below its score, and one half from the first above.
    """
    rows = np.concatenate([np.searchsorted(thresholds, scores[negative], side) for side in ("left", "right")])
    columns = np.tile(patients[negative], 2)
    inside = rows < len(thresholds)
    entries = (np.full(inside.sum(), 0.5), (rows[inside], columns[inside]))
    return csr_array(entries, shape=(len(thresholds), patient_count))  # entries of one cell are added


def _group_sums(
    labels: np.ndarray,
    logits: np.ndarray,
    threshold: float,
    grouping: Grouping,
    patients: np.ndarray,
    weights: np.ndarray,
) -> np.ndarray:
    """Return the weighted sums of _SUMS over the images of each group, (5, K, W)."""
    used = np.flatnonzero((grouping.member >= 0) & ~np.isnan(labels))
    label, logit = labels[used] == 1, logits[used].astype(np.float64)
    decided = logit >= threshold
    values = (np.ones(len(used)), label, expit(logit), label & decided, ~label & ~decided)
    count, patient_count = len(grouping.names), len(weights)
    cell = grouping.member[used] * patient_count + patients[used]
    totals = [np.bincount(cell, value, count * patient_count).reshape(count, patient_count) for value in values]
    return np.concatenate(totals).dot(weights).reshape(len(_SUMS), count, weights.shape[1])


def _metrics(sums: dict[str, np.ndarray], wins: np.ndarray, groups: np.ndarray, by_count: bool) -> np.ndarray:
    """Return the METRICS (M, K, W) over the union of the groups h with groups[m, g, h], for each g."""
    ranked, calibrated, positives, negatives = groups.astype(float)
    against = np.ones_like(ranked) if by_count else ranked  # by number of findings: against the negatives of all groups
    negative = sums["known"] - sums["positive"]
    pairs = (ranked @ sums["positive"]) * (against @ negative)
    auroc = _ratio(np.einsum("gp,gn,pnw->gw", ranked, against, wins, optimize=True), pairs)
    with np.errstate(divide="ignore", invalid="ignore"):
        calibration = np.log(_ratio(calibrated @ sums["probability"], calibrated @ sums["positive"]))
    sensitivity = _ratio(positives @ sums["true_positive"], positives @ sums["positive"])
    specificity = _ratio(negatives @ sums["true_negative"], negatives @ negative)
    return np.stack([auroc, calibration, sensitivity, specificity])


def _ratio(value: np.ndarray, total: np.ndarray) -> np.ndarray:
    return np.divide(value, total, out=np.full(value.shape, np.nan), where=total > 0)

"""Which findings are scored in which group of images, which groups are compared, and why others are not.

It depends on labels and patients only, never on a network, so it is the same for every network of a study.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.subgroup.group_metrics import METRICS
from cxr_kd.evaluation.subgroup.groups import FINDING_COUNT, Grouping

LEAST_SHARE = 0.5  # of the findings scored over all images that a group must score to be compared
NO_THRESHOLD = "no threshold for every network"
FIXED_SHARE = "the number of findings fixes the share of positives"


@dataclass(frozen=True, eq=False)
class Comparison:
    """How the K groups of one grouping are scored and compared, for M metrics and L findings.

    images, patients: (K,) of each group. positives, negatives: (L, K) images of each group. degrees: (L, K), one less
    than its patients with a positive image or, if these are fewer, with a negative one; at least 1.
    left_out: text (M, L, K), why a finding is not scored in a group; "" if it is.
    no_mean: text (M, K), why a group is not compared and has no mean over findings; "" if it has.
    in_mean: bool (M, L), the findings that are scored in every compared group: every mean is over these.
    others: bool (M, K, K), the groups that each group is compared with: all other compared groups together.
    """

    grouping: Grouping
    images: np.ndarray
    patients: np.ndarray
    positives: np.ndarray
    negatives: np.ndarray
    degrees: np.ndarray
    left_out: np.ndarray
    no_mean: np.ndarray
    in_mean: np.ndarray
    others: np.ndarray

    def has_gap(self, metric: int) -> np.ndarray:
        """Return, bool (K,), whether a group's mean is compared with that of its others.

        If only two groups are compared, the gap of one is minus that of the other, so only the smaller has one.
        """
        compared = self.no_mean[metric] == ""
        if compared.sum() == 2:
            first, second = np.flatnonzero(compared)
            compared[second if self.images[second] > self.images[first] else first] = False
        return compared & (self.others[metric].any(axis=1))


def comparison(
    run: Predictions, grouping: Grouping, with_threshold: np.ndarray, minimum_positives: int, everywhere: np.ndarray
) -> Comparison:
    """Return how the groups of `grouping` are scored and compared, from the labels and patients of `run`.

    A finding is scored in a group with at least `minimum_positives` positives and as many negatives, each of two
    patients or more; sensitivity needs the positives only, specificity the negatives only, both a threshold
    (`with_threshold`, bool (L,)). A group is compared if it scores at least LEAST_SHARE of the findings that are scored
    over all images; `everywhere` (M,) is their number, 0 if this is not known yet.
    """
    labels, members = run.labels, [grouping.member == group for group in range(len(grouping.names))]
    patients = np.unique(run.patients, return_inverse=True)[1]
    one_hot = np.array(members, dtype=int).reshape(len(members), len(labels))
    positives, negatives = ((one_hot @ (labels == value)).T for value in (1, 0))
    few = [too_few(labels == value, patients, members, minimum_positives, name)
           for value, name in ((1, "positive"), (0, "negative"))]  # fmt: skip
    if grouping.by == FINDING_COUNT:
        anywhere = too_few(labels == 0, patients, [grouping.member >= 0], minimum_positives, "negative")
        left_out = _left_out(few[0], few[1], with_threshold, anywhere)
    else:
        left_out = _left_out(few[0], few[1], with_threshold)
    images = np.array([member.sum() for member in members], dtype=int)
    counts = np.array([len(set(patients[member])) for member in members], dtype=int)
    no_mean, in_mean = shared_findings(left_out, images, counts, everywhere)
    others = (no_mean == "")[:, None, :] & ~np.eye(len(members), dtype=bool)
    fewest = np.minimum(*(_patients_with(labels == value, patients, members) for value in (1, 0)))
    degrees = np.maximum(fewest - 1, 1)
    return Comparison(grouping, images, counts, positives, negatives, degrees, left_out, no_mean, in_mean, others)


def _patients_with(is_one: np.ndarray, patients: np.ndarray, members: list[np.ndarray]) -> np.ndarray:
    """The number of patients with an image of is_one (N, L) in each group, (L, K)."""
    counts = [[len(set(patients[member & column])) for member in members] for column in is_one.T]
    return np.array(counts, dtype=int).reshape(is_one.shape[1], len(members))


def too_few(is_one: np.ndarray, patients: np.ndarray, members: list[np.ndarray], minimum: int, name: str) -> np.ndarray:
    """Why the images of is_one (N, L) are too few in each group, (L, K); "" if they are not."""
    reasons = np.full((is_one.shape[1], len(members)), "", dtype=object)
    for group, member in enumerate(members):
        for finding in range(is_one.shape[1]):
            rows = member & is_one[:, finding]
            count = int(rows.sum())
            if count < minimum:
                reasons[finding, group] = f"{count} {name}{'' if count == 1 else 's'}, fewer than {minimum}"
            elif (patients[rows] == patients[rows][0]).all():
                reasons[finding, group] = f"{count} {name}s, all of one patient"
    return reasons


def _left_out(
    positive: np.ndarray, negative: np.ndarray, with_threshold: np.ndarray, anywhere: np.ndarray | None = None
) -> np.ndarray:
    """`Comparison.left_out` from the reasons of too few positives and negatives, (L, K) each.

    By number of findings, the negatives of all groups serve each group: `anywhere` (L, 1) is why they are too few.
    """
    auroc = np.where(positive == "", negative if anywhere is None else anywhere, positive)
    calibration = auroc if anywhere is None else np.full(auroc.shape, FIXED_SHARE, dtype=object)
    decided = [np.where(with_threshold[:, None], reason, NO_THRESHOLD) for reason in (positive, negative)]
    return np.stack([auroc, calibration, *decided])


def shared_findings(
    left_out: np.ndarray, images: np.ndarray, patients: np.ndarray, everywhere: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return why a group has no mean, text (M, K), and the findings of the means, bool (M, L): see `Comparison`.

    `left_out` (M, L, K), `images` and `patients` (K,) as there; `everywhere` (M,): findings scored over all images.
    """
    no_mean = _no_mean(left_out, images, patients, everywhere)
    compared = no_mean == ""
    in_mean = ((left_out == "") | ~compared[:, None]).all(axis=2) & compared.any(axis=1)[:, None]
    no_mean[compared & ~in_mean.any(axis=1)[:, None]] = "no finding is scored in every compared group"
    return no_mean, in_mean


def _no_mean(left_out: np.ndarray, images: np.ndarray, patients: np.ndarray, everywhere: np.ndarray) -> np.ndarray:
    """The reasons of single groups, before it is known which findings all compared groups share."""
    reasons = np.full((left_out.shape[0], left_out.shape[2]), "", dtype=object)
    for metric, group in np.ndindex(reasons.shape):
        why, total = set(left_out[metric, :, group]), int(everywhere[metric])
        count = int((left_out[metric, :, group] == "").sum())
        if not images[group]:
            reasons[metric, group] = "no image"
        elif patients[group] == 1:
            reasons[metric, group] = f"{images[group]:,} image{'' if images[group] == 1 else 's'}, all of one patient"
        elif not count:
            reasons[metric, group] = why.pop() if len(why) == 1 else "no finding can be scored"
        elif count < LEAST_SHARE * total:
            reasons[metric, group] = f"{count} of {total} findings can be scored, fewer than half"
    return reasons


def scored_everywhere(comparison_of_all: Comparison) -> np.ndarray:
    """Return the number of findings that are scored over all images, (M,)."""
    return (comparison_of_all.left_out == "").reshape(len(METRICS), -1).sum(axis=1)

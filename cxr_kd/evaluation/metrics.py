"""Area under the ROC curve and average precision of each finding, for many weightings of the images at once.

A bootstrap over patients computes each metric a thousand times, with another weight for each patient: the number of
times the patient was drawn. Only the weights change, so the scores are ranked once. `rank` turns one finding into
sparse counts of (threshold, patient), where a threshold is a distinct score of a positive image. The metrics of all
resamples are then a sparse-dense product and a cumulative sum over the thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

CHUNK = 32  # resamples computed together: (patients, 32) float64 of a large test set fits into a processor's cache


@dataclass(frozen=True, eq=False)
class Ranked:
    """One finding's images, counted by threshold and group.

    The T thresholds are the distinct scores of positive images, ascending. The G groups are the patients.

    positives[t, g]: positive images of group g whose score is threshold t.
    below[t, g]: negative images of group g whose score is below threshold t, but not below threshold t - 1.
    tied[t, g]: negative images of group g whose score is threshold t.
    """

    positives: csr_array
    below: csr_array
    tied: csr_array
    negatives: np.ndarray  # (G,) negative images of each group

    def both(self, weights: np.ndarray) -> np.ndarray:
        """Return AUROC and average precision for each column of the group weights (G, R): (2, R).

        NaN if the positive or the negative images have no weight.
        """
        chunks = [weights[:, start : start + CHUNK] for start in range(0, weights.shape[1], CHUNK)]
        return np.concatenate([self._metrics(chunk) for chunk in chunks], axis=1)

    def _metrics(self, weights: np.ndarray) -> np.ndarray:
        """Both metrics for one chunk of weights (G, R): (2, R). Definitions, also of ties, as in scikit-learn."""
        weights = np.ascontiguousarray(weights, dtype=np.float64)
        positive = self.positives @ weights  # (T, R): weight of the positive images at each threshold
        under = np.cumsum(self.below @ weights, axis=0)  # weight of the negative images with a smaller score
        all_positive, all_negative = positive.sum(axis=0), self.negatives @ weights
        beaten = under + 0.5 * (self.tied @ weights) if self.tied.nnz else under
        found = np.cumsum(positive[::-1], axis=0)[::-1]  # positive weight with this score or a larger one
        called = found + (all_negative - under)  # all weight with this score or a larger one
        with np.errstate(invalid="ignore", divide="ignore"):
            # A threshold that no resampled image reaches has no precision. It has no positive weight either.
            precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
            auroc = np.einsum("tr,tr->r", positive, beaten) / (all_positive * all_negative)
            average_precision = np.einsum("tr,tr->r", positive, precision) / all_positive
        undefined = (all_positive == 0) | (all_negative == 0)
        return np.where(undefined, np.nan, np.stack([auroc, average_precision]))


def rank(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, group_count: int) -> Ranked:
    """Return one finding ranked: labels (N,) 1, 0 or NaN (left out); scores (N,); groups (N,) in 0..group_count-1."""
    is_positive, is_negative = labels == 1, labels == 0
    thresholds, position = np.unique(scores[is_positive], return_inverse=True)
    negative_scores, negative_groups = scores[is_negative], groups[is_negative]
    first_over = np.searchsorted(thresholds, negative_scores, side="right")
    first_not_under = np.searchsorted(thresholds, negative_scores, side="left")
    under_some, tied = first_over < len(thresholds), first_not_under < first_over

    def count(rows: np.ndarray, columns: np.ndarray) -> csr_array:
        entries = (np.ones(len(rows)), (rows, columns))
        return csr_array(
            entries, shape=(len(thresholds), group_count)
        )  # the counts of equal (row, column) pairs are added

    return Ranked(
        positives=count(position, groups[is_positive]),
        below=count(first_over[under_some], negative_groups[under_some]),
        tied=count(first_not_under[tied], negative_groups[tied]),
        negatives=np.bincount(negative_groups, minlength=group_count).astype(np.float64),
    )


def auroc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the area under the ROC curve of each finding (L,): labels and scores (N, L), image weights (N,).

    Labels are 1, 0 or NaN (left out). NaN for a finding without a positive or without a negative image. It is the
    probability that a positive image scores above a negative one, a tie counting half. Source: Hanley and McNeil,
    Radiology 143 (1982).
    """
    return _per_finding(labels, scores, weights)[0]


def auroc_within(labels: np.ndarray, scores: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return the area under the ROC curve of each finding (L,), comparing only images of one stratum with each other.

    `strata` (N,), e.g. the source of each image: telling the strata apart is then worth nothing. Each stratum counts by
    its pairs of a positive and a negative image. Shapes and NaN as in `auroc`, which it equals for one stratum. Source:
    Janes and Pepe, American Journal of Epidemiology 168 (2008), the covariate-adjusted ROC curve, weighted by pairs.
    """
    pairs = pairs_within(labels, strata)
    each = np.stack([auroc(labels[strata == stratum], scores[strata == stratum]) for stratum in np.unique(strata)])
    with np.errstate(invalid="ignore"):
        return np.where(pairs > 0, np.nan_to_num(each) * pairs, 0.0).sum(axis=0) / pairs.sum(axis=0)


def pairs_within(labels: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Return the pairs of a positive and a negative image in each stratum, sorted, for each finding: (strata, L)."""
    inside = [labels[strata == stratum] for stratum in np.unique(strata)]
    return np.stack([(part == 1).sum(axis=0) * (part == 0).sum(axis=0) for part in inside])


def average_precision(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Return the average precision of each finding, the mean precision at its positive images (L,).

    Shapes and NaN as in `auroc`. The chance level is the prevalence. Source: scikit-learn, `average_precision_score`
    (no interpolation).
    """
    return _per_finding(labels, scores, weights)[1]


def _per_finding(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Both metrics of each finding (2, L); each image is a group of its own."""
    images = np.arange(len(labels))
    column = np.ones((len(labels), 1)) if weights is None else np.asarray(weights, dtype=np.float64)[:, None]
    ranked = (rank(labels[:, i], scores[:, i], images, len(images)) for i in range(labels.shape[1]))
    return np.concatenate([finding.both(column) for finding in ranked], axis=1)

"""DeLong's variance of AUROC, for networks that scored the same images and for several images per patient.

AUROC is a mean over pairs of a positive and a negative image. DeLong's method estimates how far it would move with
other patients from how much each patient moves it. It needs no resampling, and takes O(N log N) steps.

What a caller does:

- one AUROC: `delong(...)`, then `logit_interval(result.auroc, result.standard_error, result.degrees)`;
- a paired difference: `delong(...).combined([-1, 1])`, then `wald_interval` and `p_value` in the same way;
- a mean over seeds: `combined` with equal weights; a difference of such means: weights -1/2, -1/2, 1/2, 1/2;
- a mean over findings: `mean_over_findings` of one result per finding, after `combined`.

`simulations/coverage.py` measures how often the intervals cover, `simulations/false_calls.py` how often the test errs.

Sources: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988); Obuchowski, Biometrics 53 (1997), for several images
per patient; Sun and Xu, IEEE Signal Processing Letters 21 (2014), for the number of steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cxr_kd.errors import PredictionsError

LEVEL = 0.95  # of the intervals
NO_VARIANCE = 1e-9  # a smaller standard error is 0 with rounding errors


@dataclass(frozen=True, eq=False)
class DeLong:
    """K values of AUROC (or differences or means of them) on the same P patients, with what their covariance needs.

    auroc: (K,). influence: (P, K), how far each patient moves each value, in the order in which the patients first
    appear; 0 for a patient without a known label. correction: (K, K), what few positive or negative patients add to
    the covariance. degrees: (K,), degrees of freedom of the standard errors: one less than the patients with a positive
    or, if these are fewer, with a negative image.

    All are NaN without a positive or a negative image. With all positive, or all negative, images in one patient only
    `auroc` is known.
    """

    auroc: np.ndarray
    influence: np.ndarray
    correction: np.ndarray
    degrees: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """Return the covariance matrix (K, K): that of Obuchowski (1997), or of DeLong with one image per patient."""
        return self.influence.T @ self.influence + self.correction

    @property
    def standard_error(self) -> np.ndarray:
        """Return the standard error of each value (K,). 0 for a network that separates the labels perfectly."""
        error = np.sqrt(np.diag(self.covariance).clip(min=0))
        return np.where(error < NO_VARIANCE, 0.0, error)

    def combined(self, weights: ArrayLike) -> DeLong:
        """Return sums of the K values, weighted by `weights` (K,) for one sum or (K, J) for J sums.

        Networks are combined before findings (`mean_over_findings`), because then the degrees of freedom are exact.
        """
        columns = np.asarray(weights, dtype=np.float64)
        columns = columns[:, None] if columns.ndim == 1 else columns
        degrees = np.where(columns != 0, self.degrees[:, None], np.inf).min(axis=0)
        correction = columns.T @ self.correction @ columns
        return DeLong(self.auroc @ columns, self.influence @ columns, correction, degrees)


def delong(labels: ArrayLike, scores: ArrayLike, patients: ArrayLike) -> DeLong:
    """Return the AUROC of K networks for one finding, with their covariance over patients.

    labels: (N,), 1, 0 or NaN (left out). scores: (N, K), or (N,) for one network. patients: (N,), each image's patient
    id. Ties count half. Raises PredictionsError for other shapes or labels and for scores that are NaN.
    """
    label, score, number, patient_count = _checked(labels, scores, patients)
    positive, negative = label == 1, label == 0
    if not positive.any() or not negative.any():
        return _undefined(np.full(score.shape[1], np.nan), patient_count)
    over, under = zip(*(_placements(column[positive], column[negative]) for column in score.T), strict=True)
    auroc = np.mean(over, axis=1)
    by_patient = [_sums(np.stack(part) - auroc[:, None], number[side], patient_count)
                  for part, side in ((over, positive), (under, negative))]  # fmt: skip
    of_positives, of_negatives = by_patient[0] / positive.sum(), by_patient[1] / negative.sum()
    counts = [len(np.unique(number[side])) for side in (positive, negative, positive | negative)]
    if min(counts) < 2:
        return _undefined(auroc, patient_count)
    factor_positive, factor_negative, factor = (count / (count - 1) for count in counts)
    return DeLong(
        auroc,
        np.sqrt(factor) * (of_positives + of_negatives),
        (factor_positive - factor) * of_positives.T @ of_positives
        + (factor_negative - factor) * of_negatives.T @ of_negatives,
        np.full(len(auroc), float(min(counts) - 1)),
    )


def mean_over_findings(findings: Sequence[DeLong]) -> DeLong:
    """Return the mean over findings of each of the K values; each finding counts equally.

    The findings must have been computed with the same `patients`. NaN if a finding is NaN, so leave these out. The
    degrees of freedom are those of a sum (Satterthwaite, Biometrics Bulletin 2, 1946).
    """
    count = len(findings)
    if not count or len({each.influence.shape for each in findings}) > 1:
        raise PredictionsError("a mean over findings needs results for the same patients and networks, at least one")
    variances = np.stack([each.standard_error**2 for each in findings])
    squares = (variances**2 / np.stack([each.degrees for each in findings])).sum(axis=0)
    total = variances.sum(axis=0) ** 2
    return DeLong(
        np.mean([each.auroc for each in findings], axis=0),
        np.mean([each.influence for each in findings], axis=0),
        np.sum([each.correction for each in findings], axis=0) / count**2,
        np.divide(total, squares, out=np.full(total.shape, np.inf), where=squares != 0),
    )


def wald_interval(
    value: ArrayLike, standard_error: ArrayLike, degrees: ArrayLike = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the 95 % interval, value -/+ quantile * standard error: recommended for differences.

    The quantile is that of Student's t with `degrees`, or of the normal distribution by default. NaN where the standard
    error is 0: then all patients agree, and the data do not show how far other patients would move the value.
    """
    centre, error = np.asarray(value, dtype=np.float64), np.asarray(standard_error, dtype=np.float64)
    half = _quantile(degrees) * np.where(error > 0, error, np.nan)
    return centre - half, centre + half


def logit_interval(
    auroc: ArrayLike, standard_error: ArrayLike, degrees: ArrayLike = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of the 95 % interval of an AUROC, computed on the logit scale: recommended for one AUROC.

    The bounds are in (0, 1). NaN where the standard error is 0, as in `wald_interval`; this includes perfect separation
    (AUROC 1). Source: Pepe, The Statistical Evaluation of Medical Tests (2003), section 5.2.
    """
    value, error = np.asarray(auroc, dtype=np.float64), np.asarray(standard_error, dtype=np.float64)
    inside = (value > 0) & (value < 1)
    value = np.where(inside, value, np.nan)
    low, high = wald_interval(np.log(value / (1 - value)), error / (value * (1 - value)), degrees)
    return 1 / (1 + np.exp(-low)), 1 / (1 + np.exp(-high))


def p_value(difference: ArrayLike, standard_error: ArrayLike, degrees: ArrayLike = np.inf) -> np.ndarray:
    """Return the two-sided p-value of "the difference is 0"; `degrees` as in `wald_interval`.

    Where the standard error is 0, it is 1 if the difference is 0 too, and NaN otherwise.
    """
    from scipy.special import stdtr

    value, error = np.asarray(difference, dtype=np.float64), np.asarray(standard_error, dtype=np.float64)
    ratio = np.divide(np.abs(value), error, out=np.full(np.broadcast(value, error).shape, np.nan), where=error > 0)
    same = (error == 0) & (np.abs(value) < NO_VARIANCE)
    return np.where(same, 1.0, 2 * stdtr(degrees, -ratio))


def _quantile(degrees: ArrayLike) -> np.ndarray:
    """The upper bound of the central 95 % of Student's t."""
    from scipy.special import ndtri, stdtrit

    freedom, share = np.asarray(degrees, dtype=np.float64), (1 + LEVEL) / 2
    finite = np.where(np.isinf(freedom), 1, freedom)
    return np.where(np.isinf(freedom), ndtri(share), stdtrit(finite, share))


def _placements(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each positive's share of negatives with a smaller score, and each negative's share of positives with a larger."""
    return _below(negative, positive), 1 - _below(positive, negative)


def _below(reference: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The share of `reference` below each of `scores`, half of the ties included: a difference of two midranks."""
    ordered = np.sort(reference)
    both = np.searchsorted(ordered, scores, side="left") + np.searchsorted(ordered, scores, side="right")
    return both / (2 * len(ordered))


def _sums(values: np.ndarray, number: np.ndarray, patient_count: int) -> np.ndarray:
    """The sums over the images of each patient: values (K, n), patient numbers (n,) -> (P, K)."""
    return np.stack([np.bincount(number, weights=row, minlength=patient_count) for row in values], axis=1)


def _undefined(auroc: np.ndarray, patient_count: int) -> DeLong:
    """The result without a variance."""
    networks = len(auroc)
    nothing = np.full((patient_count, networks), np.nan)
    return DeLong(auroc, nothing, np.full((networks, networks), np.nan), np.full(networks, np.nan))


def _checked(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Labels (N,), scores (N, K), patient numbers (N,) and their number, or PredictionsError."""
    label, score, patient = (
        np.asarray(labels, dtype=np.float64),
        np.asarray(scores, dtype=np.float64),
        np.asarray(patients),
    )
    score = score[:, None] if score.ndim == 1 else score
    if label.ndim != 1 or score.ndim != 2 or patient.ndim != 1 or not len(label) == len(score) == len(patient):
        shapes = f"labels {label.shape}, scores {score.shape}, patients {patient.shape}"
        raise PredictionsError(f"{shapes}; needed are labels (N,), scores (N, K) and patients (N,)")
    if not np.isin(label[~np.isnan(label)], (0, 1)).all():
        raise PredictionsError("a label is neither 1 nor 0 nor NaN (left out)")
    if np.isnan(score[~np.isnan(label)]).any():
        raise PredictionsError("the score of an image with a label is NaN; score it again or leave it out")
    numbers: dict[object, int] = {}
    number = np.array([numbers.setdefault(each, len(numbers)) for each in patient.tolist()], dtype=np.intp)
    return label, score, number, len(numbers)

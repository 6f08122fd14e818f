"""Simulated test sets whose true AUROC is known, and the intervals and tests that the simulations compare.

Each patient has one or several images. A hidden trait of the patient goes into the labels of all its images, and
another one into the scores. Given the label, a score is normal with variance 1, and its mean for positive images is
larger by a distance d. So the true AUROC, a positive image of one patient against a negative one of another patient, is
exactly Phi(d / sqrt(2)).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, ndtr, ndtri

from cxr_kd.evaluation.delong import DeLong, delong, logit_interval, p_value, wald_interval
from cxr_kd.evaluation.metrics import rank
from cxr_kd.evaluation.mrmc import infer
from cxr_kd.evaluation.resampling import interval, resample_patients
from cxr_kd.evaluation.resampling import p_value as percentile_p_value
from cxr_kd.study.settings import Evaluation

LABELS_ALIKE = 0.5  # correlation of the hidden scale behind the labels between two images of a patient
SCORES_ALIKE = 0.4  # correlation of the scores of two images of a patient that have the same label
NETWORKS_ALIKE = 0.8  # correlation of two networks' scores of an image, given its label
TOLERANCE = 0.1  # the positives of a test set differ from the wanted number by at most this share (or by one)
SURE = 0.01  # level at which a simulated share is said to be outside its bounds

Interval = tuple[float, float]


@dataclass(frozen=True)
class Readers:
    """Two networks of known AUROC and the kind of test set that they score."""

    positives: int
    prevalence: float
    most_images: int  # per patient: 1 to this number, all equally likely
    aurocs: tuple[float, float]

    @property
    def patient_count(self) -> int:
        """The number of patients for which the wanted number of positives is expected."""
        return round(self.positives / self.prevalence / ((1 + self.most_images) / 2))

    @property
    def average_precision(self) -> float:
        """The true average precision of the first network, by integration over the scores of positive images."""
        score = np.linspace(-10, 20, 30_001)
        mean = math.sqrt(2) * ndtri(self.aurocs[0])
        found, called_wrongly = self.prevalence * ndtr(mean - score), (1 - self.prevalence) * ndtr(-score)
        density = np.exp(-((score - mean) ** 2) / 2) / math.sqrt(2 * math.pi)
        return float(np.trapezoid(density * found / (found + called_wrongly), score))

    def images(self, random: np.random.Generator) -> np.ndarray:
        """Return the patient number of each image (N,)."""
        count = random.integers(1, self.most_images + 1, self.patient_count)
        return np.repeat(np.arange(self.patient_count), count)

    def finding(self, random: np.random.Generator, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return one finding: labels (N,) with about the wanted number of positives, scores (N, 2)."""
        wanted, slack = self.positives, max(1, round(TOLERANCE * self.positives))
        while True:
            labels = self._labels(random, patients)
            if abs(labels.sum() - wanted) <= slack and len(np.unique(patients[labels == 1])) > 1:
                break
        of_patient = _alike(random, self.patient_count)[patients]
        noise = math.sqrt(SCORES_ALIKE) * of_patient + math.sqrt(1 - SCORES_ALIKE) * _alike(random, len(patients))
        return labels, labels[:, None] * math.sqrt(2) * ndtri(np.array(self.aurocs)) + noise

    def _labels(self, random: np.random.Generator, patients: np.ndarray) -> np.ndarray:
        of_patient = random.normal(size=self.patient_count)[patients]
        hidden = math.sqrt(LABELS_ALIKE) * of_patient + math.sqrt(1 - LABELS_ALIKE) * random.normal(size=len(patients))
        return (hidden > ndtri(1 - self.prevalence)).astype(np.float64)


def _alike(random: np.random.Generator, count: int) -> np.ndarray:
    """Pairs of standard normal numbers, one per network, with the correlation of the networks: (count, 2)."""
    normal = random.normal(size=(count, 2))
    normal[:, 1] = NETWORKS_ALIKE * normal[:, 0] + math.sqrt(1 - NETWORKS_ALIKE**2) * normal[:, 1]
    return normal


def draws(patients: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Return the patient weights of the package's bootstrap (P, resamples)."""
    return np.ascontiguousarray(resample_patients(patients, Evaluation(resamples=resamples, seed=seed))[1].T)


def resampled_aurocs(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the AUROC of both networks in each resample (2, R), with the package's own bootstrap."""
    return resampled_metrics(labels, scores, patients, weights)[:, 0]


def resampled_metrics(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return AUROC and average precision of both networks in each resample (2 networks, 2 metrics, R)."""
    return np.stack([rank(labels, column, patients, len(weights)).both(weights) for column in scores.T])


def delong_intervals(value: DeLong, difference: bool) -> dict[str, Interval]:
    """Return DeLong's intervals of one value: with the normal distribution, and with Student's t."""
    auroc, error, degrees = value.auroc[0], value.standard_error[0], value.degrees[0]
    found = {"DeLong": wald_interval(auroc, error), "DeLong t": wald_interval(auroc, error, degrees)}
    if not difference:
        found |= {
            "DeLong logit": logit_interval(auroc, error),
            "DeLong logit t": logit_interval(auroc, error, degrees),
        }
    return {name: (float(low), float(high)) for name, (low, high) in found.items()}


def bootstrap_intervals(value: DeLong, resampled: np.ndarray, *, bounded: bool) -> dict[str, Interval]:
    """Return the package's interval of one training, the percentile interval and BCa, from resampled values (R,)."""
    found = of_package(value.auroc[0], resampled, value.degrees[0], bounded=bounded)
    return {**found, "BCa": bca(value, resampled)}


def of_package(estimate: float, resampled: np.ndarray, degrees: float, *, bounded: bool) -> dict[str, Interval]:
    """Return the package's two intervals of one training: `mrmc.infer`, and percentiles of resampled values (R,)."""
    inferred = infer(np.array([estimate]), resampled[None], patient_degrees=degrees, bounded=bounded)
    both = {"infer": (inferred.low, inferred.high), "percentile": interval(resampled)}
    return {name: (float(low), float(high)) for name, (low, high) in both.items()}


def bca(value: DeLong, resampled: np.ndarray) -> Interval:
    """Return the BCa interval (Efron, JASA 82, 1987); the influence gives its acceleration."""
    defined = resampled[np.isfinite(resampled)]
    below = ((defined < value.auroc[0]) + 0.5 * (defined == value.auroc[0])).mean()
    influence = value.influence[:, 0]
    squares = (influence**2).sum()
    if squares == 0 or not 0 < below < 1:
        return math.nan, math.nan
    bias, acceleration = ndtri(below), (influence**3).sum() / (6 * squares**1.5)
    moved = bias + ndtri(np.array([0.025, 0.975]))
    low, high = np.quantile(defined, ndtr(bias + moved / (1 - acceleration * moved)))
    return float(low), float(high)


def delong_tests(difference: DeLong) -> dict[str, float]:
    """Return p of "the difference is 0" from DeLong's variance."""
    value, error, degrees = difference.auroc[0], difference.standard_error[0], difference.degrees[0]
    return {"DeLong": float(p_value(value, error)), "DeLong t": float(p_value(value, error, degrees))}


def bootstrap_tests(difference: DeLong, resampled: np.ndarray) -> dict[str, float]:
    """Return p of "the difference is 0" from resampled differences (R,)."""
    value, error, degrees = difference.auroc[0], np.nanstd(resampled, ddof=1), difference.degrees[0]
    return {
        "percentile": float(percentile_p_value(resampled)),
        "bootstrap SE": float(p_value(value, error)),
        "bootstrap SE t": float(p_value(value, error, degrees)),
    }


def compared(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> tuple[DeLong, DeLong]:
    """Return DeLong's result for the first network, and for the difference of the second and the first."""
    both = delong(labels, scores, patients)
    return both.combined([1, 0]), both.combined([-1, 1])


def standard_error(hits: int, count: int) -> float:
    """Return the Monte-Carlo standard error of hits / count (Agresti and Coull's, which is not 0 at 0 or at 1)."""
    found = (hits + 2) / (count + 4)
    return math.sqrt(found * (1 - found) / (count + 4))


def is_above(hits: int, count: int, bound: float) -> bool:
    """Return whether so many hits are too many for a probability of at most `bound` (exact binomial test, 1 %)."""
    return bool(bdtr(count - hits, count, 1 - bound) < SURE)


def is_below(hits: int, count: int, bound: float) -> bool:
    """Return whether so few hits are too few for a probability of at least `bound` (exact binomial test, 1 %)."""
    return bool(bdtr(hits, count, bound) < SURE)

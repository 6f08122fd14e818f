"""How often is an effect "shown" where there is none? Two networks that are equally good, each trained with S seeds.

    python simulations/false_claims.py            about 10 minutes
    python simulations/false_claims.py --quick    about 1 minute, with a wider Monte-Carlo error

Each training of a network is a little better or worse than the network is on average, and errs on images of its own.
The test sets differ in their patients. Two rules are counted:

    patients only              percentile interval over patients without 0, and all seeds agree on the sign
    patients and trainings     `cxr_kd.evaluation.mrmc.infer`, p below 0.05

The families are: the mean over the findings (one test), and the findings (Holm). Exits with 1 if the second rule shows
an effect in more than 5 % of the studies, beyond the Monte-Carlo error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cxr_kd.evaluation.metrics import rank
from cxr_kd.evaluation.resampling import resample_patients
from cxr_kd.study.settings import Evaluation

FINDINGS = 14
SEPARATION = 1.2  # of positives from negatives, in standard deviations of the scores: AUROC 0.80


@dataclass(frozen=True)
class Case:
    """One kind of study: seeds, patients, prevalence, and the standard deviation of a training's true AUROC."""

    seeds: int
    patients: int
    prevalence: float
    training_sd: float


CASES = [
    Case(seeds, patients, prevalence, sd)
    for seeds in (2, 3, 5)
    for patients, prevalence in ((300, 0.2), (750, 0.03), (3000, 0.1))
    for sd in (0.0, 0.01)
]


def simulate(case: Case, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N, L) and scores (2, S, N, L) of two networks that are equally good on average.

    The networks share most of what they see in an image (correlation 0.8). The slope from separation to AUROC is
    `pdf(d / sqrt(2)) / sqrt(2)`, by which `training_sd` becomes a deviation of the separation. Half of its variance is
    common to the findings of a training.
    """
    from scipy.stats import norm

    labels = (random.random((case.patients, FINDINGS)) < case.prevalence).astype(np.float64)
    common = random.normal(size=labels.shape)
    own = random.normal(size=(2, case.seeds, *labels.shape))
    slope = norm.pdf(SEPARATION / np.sqrt(2)) / np.sqrt(2)
    trained = random.normal(size=(2, case.seeds, 1, 1)) + random.normal(size=(2, case.seeds, 1, FINDINGS))
    separation = SEPARATION + case.training_sd / slope * trained / np.sqrt(2)
    return labels, separation * labels + np.sqrt(0.8) * common + np.sqrt(0.2) * own


def differences(labels: np.ndarray, scores: np.ndarray, resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUROC of the second network minus that of the first: (S, L + 1) and (S, L + 1, R), the mean last."""
    images = len(labels)
    _, drawn = resample_patients(np.arange(images), Evaluation(resamples=resamples))
    weights = np.concatenate([np.ones((images, 1)), drawn.T], axis=1)
    values = np.stack([[_aurocs(labels, training, weights) for training in network] for network in scores])
    change = values[1] - values[0]
    change = np.concatenate([change, np.nanmean(change, axis=1, keepdims=True)], axis=1)
    return change[..., 0], change[..., 1:]


def _aurocs(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The AUROC of each finding for each column of weights, (L, W)."""
    of = np.arange(len(labels))
    return np.stack(
        [rank(labels[:, i], scores[:, i], of, len(labels)).both(weights)[0] for i in range(labels.shape[1])]
    )

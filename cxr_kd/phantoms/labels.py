"""Draw the patients of the phantoms, their exams and their findings, with the statistics of NIH's label table.

The findings of one image are a draw from a maximum-entropy model over all 2^14 label sets. Its rates, pairs and numbers
of findings are those of the real table (112,120 radiographs). Raising the rates shifts only each finding's own weight,
so the odds ratios between findings stay the real ones. From one image of a patient to the next, each finding is either
kept or drawn again given the others (a Gibbs sweep), which does not change the model's distribution: chronic findings
stay, acute ones change. Age, sex and view position do not depend on the findings.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)

REAL_IMAGES = 112_120
REAL_COUNTS = (60361, 30963, 14306, 4856, 1247, 301, 86)  # images with 0, 1, ... 5, and 6 or more findings
# Images with both findings, in the order of FINDINGS; each finding's own count is on the diagonal (NIH's full table).
REAL_PAIRS = np.array(
    [
        [11559, 370, 3275, 3264, 739, 590, 262, 774, 1223, 221, 424, 220, 496, 40],
        [370, 2776, 1063, 587, 102, 108, 41, 49, 169, 127, 44, 52, 111, 7],
        [3275, 1063, 13317, 4000, 1254, 912, 269, 996, 1287, 593, 359, 188, 849, 21],
        [3264, 587, 4000, 19894, 1159, 1546, 605, 946, 1221, 981, 449, 345, 750, 33],
        [739, 102, 1254, 1159, 5782, 906, 71, 431, 610, 129, 215, 117, 452, 25],
        [590, 108, 912, 1546, 906, 6331, 70, 341, 428, 131, 115, 166, 411, 10],
        [262, 41, 269, 605, 71, 70, 1431, 41, 123, 340, 23, 11, 48, 3],
        [774, 49, 996, 946, 431, 341, 41, 5302, 223, 33, 747, 80, 289, 9],
        [1223, 169, 1287, 1221, 610, 428, 123, 223, 4667, 162, 103, 79, 251, 4],
        [221, 127, 593, 981, 129, 131, 340, 33, 162, 2303, 30, 9, 64, 3],
        [424, 44, 359, 449, 215, 115, 23, 747, 103, 30, 2516, 36, 151, 4],
        [220, 52, 188, 345, 117, 166, 11, 80, 79, 9, 36, 1686, 176, 8],
        [496, 111, 849, 750, 452, 411, 48, 289, 251, 64, 151, 176, 3385, 8],
        [40, 7, 21, 33, 25, 10, 3, 9, 4, 3, 4, 8, 8, 227],
    ],
    dtype=np.float64,
)
# Probability that a finding is drawn again for the patient's next image: low for findings that last for years.
RENEWAL = np.array([0.6, 0.2, 0.5, 0.7, 0.3, 0.3, 0.7, 0.4, 0.6, 0.7, 0.15, 0.15, 0.2, 0.1])

AGE_QUANTILES = ((0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0), (8.0, 18.0, 34.0, 49.0, 59.0, 72.0, 90.0))
FEMALE_SHARE = 48_780 / REAL_IMAGES
AP_SHARE = 44_810 / REAL_IMAGES
# Shares of patients, and the most images that they have, from the real table; log-linear between the knots.
IMAGES_A_PATIENT = (
    (0.568, 0.702, 0.770, 0.813, 0.870, 0.929, 0.951, 0.974, 0.99, 1.0),
    (1, 2, 3, 4, 6, 10, 14, 20, 34, 184),
)


@dataclass(frozen=True)
class Exam:
    """The patient of one image, and its true and reported findings (`truth`, `reported`: bool (14,), as FINDINGS)."""

    patient: int
    number: int  # 0 for the patient's first image
    age: float
    sex: str
    view: str
    truth: np.ndarray
    reported: np.ndarray
    drain: bool


def real_rates() -> np.ndarray:
    """Return the share of the real table's images with each finding, (14,)."""
    return np.diag(REAL_PAIRS) / REAL_IMAGES


def wanted_rates(rate_factor: float, minimum_rate: float) -> np.ndarray:
    """Return the raised rates, (14,): the real ones times `rate_factor`, at least `minimum_rate`, at most 0.5."""
    return np.clip(real_rates() * rate_factor, minimum_rate, 0.5)


@lru_cache(maxsize=1)
def label_sets() -> np.ndarray:
    """Return all sets of findings, bool (16384, 14); row k has finding j if bit j of k is set."""
    return (np.arange(2 ** len(FINDINGS))[:, None] >> np.arange(len(FINDINGS)) & 1).astype(bool)


@lru_cache(maxsize=1)
def real_log_weights() -> np.ndarray:
    """Return the log-weights of the label sets, (16384,): maximum entropy given the real rates, pairs and numbers.

    Newton's method on the convex dual, with a ridge because the statistics are nearly dependent.
    """
    statistics, target = _statistics(), _target()
    weights = np.zeros(target.size)
    weights[: len(FINDINGS)] = np.log(real_rates() / (1 - real_rates()))
    for _ in range(60):
        probability = _softmax(statistics @ weights)
        mean = probability @ statistics
        gap = target - mean
        if np.abs(gap).max() < 1e-7:
            break
        covariance = (statistics * probability[:, None]).T @ statistics - np.outer(mean, mean)
        step = np.linalg.solve(covariance + 1e-9 * np.eye(target.size), gap)
        weights = weights + step * min(1.0, 1.0 / np.abs(step).max())
    return statistics @ weights


@lru_cache(maxsize=8)
def label_model(rate_factor: float, minimum_rate: float) -> np.ndarray:
    """Return the probability of each label set, (16384,), with the raised rates and the real odds ratios."""
    sets, wanted = label_sets().astype(np.float64), wanted_rates(rate_factor, minimum_rate)
    base, tilt = real_log_weights(), np.zeros(len(FINDINGS))
    for _ in range(60):
        probability = _softmax(base + sets @ tilt)
        mean = probability @ sets
        if np.abs(wanted - mean).max() < 1e-8:
            break
        covariance = (sets * probability[:, None]).T @ sets - np.outer(mean, mean)
        step = np.linalg.solve(covariance, wanted - mean)
        tilt = tilt + step * min(1.0, 1.0 / np.abs(step).max())
    return _softmax(base + sets @ tilt)


def patient_of(index: int, seed: int, limit: int) -> tuple[int, int]:
    """Return (patient, number of the image within the patient) for an image index.

    Patients are drawn in blocks, so an index always means the same patient. `limit` is the most images per patient.
    """
    first, patients = 0, 0
    for block in range(index + 1):
        ends = first + _block_ends(block, seed, limit)
        if index < ends[-1]:
            place = int(np.searchsorted(ends, index, side="right"))
            start = ends[place - 1] if place else first
            return patients + place, int(index - start)
        first, patients = int(ends[-1]), patients + len(ends)
    raise AssertionError("every patient has an image")


def exam_of(
    index: int,
    *,
    seed: int,
    rate_factor: float,
    minimum_rate: float,
    label_noise: float,
    drain_rate: float,
    images_a_patient: int,
    ap_share: float = AP_SHARE,
) -> Exam:
    """Return the exam of image `index`, which depends on the arguments only."""
    patient, number = patient_of(index, seed, images_a_patient)
    rng = np.random.default_rng([seed, 1, patient])
    age, sex, mostly_ap = _person(rng, ap_share)
    truth = _history(rng, number, rate_factor, minimum_rate)
    rng = np.random.default_rng([seed, 2, patient, number])
    view = "AP" if rng.random() < mostly_ap else "PA"
    treated = drain_rate if truth[FINDINGS.index("Pneumothorax")] else 0.01 * drain_rate
    drain = bool(rng.random() < treated)
    reported = _reported(rng, truth, wanted_rates(rate_factor, minimum_rate), label_noise)
    return Exam(patient, number, min(age + number // 3, 95.0), sex, view, truth, reported, drain)


def _statistics() -> np.ndarray:
    """Return what the model fits, per label set: single findings, pairs, and numbers of findings from 2."""
    sets = label_sets().astype(np.float64)
    first, second = np.triu_indices(len(FINDINGS), 1)
    number = sets.sum(axis=1)
    counts = [number == n for n in range(2, len(REAL_COUNTS) - 1)] + [number >= len(REAL_COUNTS) - 1]
    return np.column_stack([sets, sets[:, first] * sets[:, second], *counts])


def _target() -> np.ndarray:
    """Return the real table's means of `_statistics`."""
    first, second = np.triu_indices(len(FINDINGS), 1)
    return np.concatenate([np.diag(REAL_PAIRS), REAL_PAIRS[first, second], REAL_COUNTS[2:]]) / REAL_IMAGES


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


@lru_cache(maxsize=256)
def _block_ends(block: int, seed: int, limit: int) -> np.ndarray:
    """Return for each patient of a block the number of images up to and including this patient's, int (1024,)."""
    share, images = IMAGES_A_PATIENT
    uniform = np.random.default_rng([seed, 0, block]).random(1024)
    number = np.ceil(np.exp(np.interp(uniform, share, np.log(images))) - 1e-9).astype(int)
    return np.cumsum(np.minimum(number, limit))


def _person(rng: np.random.Generator, ap_share: float) -> tuple[float, str, float]:
    """Return age in years at the first image, sex, and probability of AP images: bedridden patients stay so."""
    age = float(np.floor(np.interp(rng.random(), *AGE_QUANTILES)))
    sex = "F" if rng.random() < FEMALE_SHARE else "M"
    if ap_share in (0, 1):
        return age, sex, ap_share
    return age, sex, float(rng.beta(0.4, 0.4 * (1 - ap_share) / ap_share))


def _history(rng: np.random.Generator, number: int, rate_factor: float, minimum_rate: float) -> np.ndarray:
    """Return the patient's true findings on image `number`, bool (14,), by Gibbs sweeps from the first image."""
    model = label_model(rate_factor, minimum_rate)
    state = int(np.searchsorted(_cumulative(rate_factor, minimum_rate), rng.random(), side="right"))
    state = min(state, model.size - 1)
    for _ in range(number):
        renewed = np.flatnonzero(rng.random(len(FINDINGS)) < RENEWAL)
        for finding, uniform in zip(renewed, rng.random(renewed.size), strict=True):
            with_it, without = state | (1 << int(finding)), state & ~(1 << int(finding))
            present = uniform < model[with_it] / (model[with_it] + model[without])
            state = with_it if present else without
    return label_sets()[state].copy()


@lru_cache(maxsize=8)
def _cumulative(rate_factor: float, minimum_rate: float) -> np.ndarray:
    return np.cumsum(label_model(rate_factor, minimum_rate))


def _reported(rng: np.random.Generator, truth: np.ndarray, rates: np.ndarray, noise: float) -> np.ndarray:
    """Return the reported labels: a share `noise` of the positives is missed and as many are added."""
    uniform = rng.random(truth.size)
    return np.where(truth, uniform >= noise, uniform < noise * rates / (1 - rates))

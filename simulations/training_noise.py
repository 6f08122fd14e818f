"""How often an effect is "shown" where there is none: two equally good networks, each trained with several seeds.

Each training of a network is a little better or worse than the network is on average, and errs on images of its own.
Each study has other patients and other trainings. The table gives the share of studies, with its Monte-Carlo standard
error, in which an effect is shown at the level of 5 %: on the mean AUROC of 14 findings (one test), and on any of the
findings (corrected by Holm). Three rules are compared:

    patients    percentile interval over patients without 0, and the same sign in all trainings
    t           a t test of the differences of the trainings, as if the patients were all there are
    both        ours, over patients and trainings: `cxr_kd.evaluation.mrmc.infer`

`!` marks a share above 5 %, given the Monte-Carlo error. Exits with 1 if ours is.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from _simulated import is_above, standard_error
from scipy.stats import norm, ttest_1samp

from cxr_kd.evaluation.metrics import rank
from cxr_kd.evaluation.mrmc import degrees_of_mean, infer, variance
from cxr_kd.evaluation.resampling import ALPHA, holm, p_value, resample_patients
from cxr_kd.study.settings import Evaluation

FINDINGS = 14
SEPARATION = 1.2  # of positives from negatives, in standard deviations of the scores: AUROC 0.80
RULES = ("patients", "t", "both")
RESAMPLES = 200


@dataclass(frozen=True)
class Case:
    """One kind of study: seeds, patients with one image each, prevalence, deviation of a training's true AUROC."""

    seeds: int
    patients: int
    prevalence: float  # of every finding; NaN if the labels are real
    training_sd: float


CASES = [
    Case(seeds, patients, prevalence, sd)
    for seeds in (2, 3, 5)
    for patients, prevalence in ((300, 0.2), (750, 0.03))
    for sd in (0.0, 0.01, 0.03)
]


def simulate(case: Case, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N, L) and scores (2, S, N, L) of two networks that are equally good on average.

    The networks share most of what they see in an image (correlation 0.8). The slope from separation to AUROC is
    `pdf(d / sqrt(2)) / sqrt(2)`, by which `training_sd` becomes a deviation of the separation. Half of its variance is
    common to the findings of a training.
    """
    labels = (random.random((case.patients, FINDINGS)) < case.prevalence).astype(np.float64)
    common = random.normal(size=labels.shape)
    own = random.normal(size=(2, case.seeds, *labels.shape))
    slope = norm.pdf(SEPARATION / np.sqrt(2)) / np.sqrt(2)
    trained = random.normal(size=(2, case.seeds, 1, 1)) + random.normal(size=(2, case.seeds, 1, FINDINGS))
    separation = SEPARATION + case.training_sd / slope * trained / np.sqrt(2)
    return labels, separation * labels + np.sqrt(0.8) * common + np.sqrt(0.2) * own


def differences(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, resamples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUROC of the second network minus that of the first: (S, L + 1) and (S, L + 1, R), the mean last.

    `patients` (N,): the patient number of each image.
    """
    numbers, drawn = resample_patients(patients, Evaluation(resamples=resamples))
    weights = np.concatenate([np.ones((drawn.shape[1], 1)), drawn.T], axis=1)
    values = np.stack([[_aurocs(labels, training, numbers, weights) for training in network] for network in scores])
    change = values[1] - values[0]
    change = np.concatenate([change, np.nanmean(change, axis=1, keepdims=True)], axis=1)
    return change[..., 0], change[..., 1:]


def _aurocs(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The AUROC of each finding for each column of weights of the patients, (L, W)."""
    ranked = (rank(labels[:, i], scores[:, i], patients, len(weights)) for i in range(labels.shape[1]))
    return np.stack([each.both(weights)[0] for each in ranked])


def shown(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> dict[str, tuple[bool, bool]]:
    """Return for each rule whether it shows an effect on the mean, and on any finding."""
    estimates, resampled = differences(labels, scores, patients, RESAMPLES)
    same = (estimates > 0).all(axis=0) | (estimates < 0).all(axis=0)
    own = np.array([len(np.unique(patients[column == 1])) for column in labels.T]) - 1
    degrees = np.append(own, degrees_of_mean(variance(resampled[:, :-1].mean(axis=0)), own))
    p = {
        "patients": np.where(same, p_value(resampled.mean(axis=0)), 1.0),
        "t": ttest_1samp(estimates, 0, axis=0).pvalue,
        "both": infer(estimates, resampled, patient_degrees=degrees).p,
    }
    return {rule: (bool(of[-1] < ALPHA), bool((holm(of[:-1]) < ALPHA).any())) for rule, of in p.items()}


@dataclass(frozen=True)
class Claims:
    """How often one rule shows an effect in `repeats` studies of one kind: on the mean, and on any finding."""

    case: Case
    rule: str
    counts: tuple[int, int]
    repeats: int

    @property
    def holds(self) -> bool:
        """Return whether both shares can be 5 % or less, given the Monte-Carlo error."""
        return not any(is_above(count, self.repeats, ALPHA) for count in self.counts)

    def __str__(self) -> str:
        return "  ".join(
            f"{100 * count / self.repeats:5.1f}{'!' if is_above(count, self.repeats, ALPHA) else ' '}"
            f"+/-{100 * standard_error(count, self.repeats):3.1f}"
            for count in self.counts
        )


def claims(case: Case, repeats: int, seed: int = 0) -> list[Claims]:
    """Return how often each rule shows an effect in simulated studies without one."""
    random = np.random.default_rng([seed, case.seeds, case.patients, round(1e4 * case.training_sd)])
    patients = np.arange(case.patients)
    return counted(case, [shown(*simulate(case, random), patients) for _ in range(repeats)])


def counted(case: Case, found: list[dict[str, tuple[bool, bool]]]) -> list[Claims]:
    """Return how often each rule showed an effect in these studies."""
    counts = {rule: np.array([each[rule] for each in found]).sum(axis=0) for rule in RULES}
    return [Claims(case, rule, (int(mean), int(any_)), len(found)) for rule, (mean, any_) in counts.items()]


def table(found: list[Claims]) -> Iterator[str]:
    """Yield the lines of the table: a header, then one line per kind of study and rule."""
    yield "seeds  patients  prevalence  SD of a training  rule      mean, shown in %  any finding, shown in %"
    for each in found:
        case = each.case
        kind = f"{case.seeds:5}  {case.patients:8}  {case.prevalence:10.2f}  {case.training_sd:16.2f}"
        yield f"{kind}  {each.rule:8}  {each}"


def main() -> int:
    """Run the simulation that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400, help="studies of each kind")
    parser.add_argument("--quick", action="store_true", help="20 studies of each kind")
    arguments = parser.parse_args()
    found: list[Claims] = []
    for case in CASES:
        found += claims(case, 20 if arguments.quick else arguments.repeats)
        print(f"{case} simulated", file=sys.stderr, flush=True)
    return report(found)


def report(found: list[Claims]) -> int:
    """Print the table; return the exit code."""
    print(*table(found), sep="\n")
    broken = [each for each in found if each.rule == "both" and not each.holds]
    for each in broken:
        print(f"our rule shows effects too often for {each.case}: {each}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())

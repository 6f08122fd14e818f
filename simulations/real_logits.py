"""How often an effect is "shown" where there is none, on the labels, patients and logits of a real test set.

usage: python simulations/real_logits.py LOGITS.npz [--repeats N] [--quick]

LOGITS.npz holds the arrays test_logits and test_labels (N x L), and test_patient (N): one network on one test set. Two
trainings of one network are needed, and there is only one. So trainings are made from it: each training of each of two
networks has these logits, standardised, plus noise of its own (correlation of two trainings, given the label: 0.8), and
is a little better or worse than the network is on average, finding by finding. Both networks have the same average, so
every effect that is shown is false. Correlations between findings, images per patient and rare findings are real.

Each study draws patients without replacement. Findings with fewer than 10 positive images, or positives of a single
patient, are left out, as in the package. The rules and the table are those of `training_noise.py`. Exits with 1 if the
package's rule shows an effect in more than 5 % of studies.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from training_noise import Case, Claims, counted, report, shown

from cxr_kd.evaluation.metrics import auroc
from cxr_kd.study.settings import Evaluation

CASES = [Case(seeds, patients, math.nan, sd) for seeds in (2, 3) for patients in (100, 400) for sd in (0.01, 0.03)]
ALIKE = 0.8  # correlation of two trainings' scores of an image, given its label
STEP = 0.05  # of the scores of positive images, for the slope of the AUROC


@dataclass(frozen=True)
class RealTest:
    """A real test set: labels and standardised logits (N, L), patient of each image (N,)."""

    labels: np.ndarray
    scores: np.ndarray
    patients: np.ndarray

    def slopes(self) -> np.ndarray:
        """Return by how much the AUROC of each finding rises if its positives' scores rise by 1, near 0: (L,)."""
        moved = auroc(self.labels, self.scores + STEP * self.labels) - auroc(self.labels, self.scores)
        return np.asarray(moved / STEP)

    def some(self, random: np.random.Generator, patients: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of that many patients, and the findings among them that are scored, as positions."""
        drawn = random.choice(np.unique(self.patients), patients, replace=False)
        rows = np.flatnonzero(np.isin(self.patients, drawn))
        labels, of = self.labels[rows], self.patients[rows]
        enough = labels.sum(axis=0) >= Evaluation().minimum_positives
        several = np.array([len(np.unique(of[column == 1])) > 1 for column in labels.T])
        return rows, np.flatnonzero(enough & several)


def read(path: Path) -> RealTest:
    """Return the test set in a file; exits with a message if it is not one."""
    if not path.is_file():
        sys.exit(f"{path}: there is no such file; name an .npz file with test_logits, test_labels and test_patient")
    with np.load(path) as arrays:
        if missing := {"test_logits", "test_labels", "test_patient"} - set(arrays):
            sys.exit(f"{path}: no array {sorted(missing)[0]}; it has {', '.join(sorted(arrays))}")
        logits, labels, patients = (arrays[f"test_{name}"] for name in ("logits", "labels", "patient"))
    logits = logits.astype(np.float64)
    return RealTest(labels.astype(np.float64), (logits - logits.mean(axis=0)) / logits.std(axis=0), patients)


def simulate(test: RealTest, case: Case, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels (N, F), scores (2, S, N, F) and patients (N,) of a study of two networks that do not differ."""
    rows, findings = test.some(random, case.patients)
    labels, base = test.labels[np.ix_(rows, findings)], test.scores[np.ix_(rows, findings)]
    own = random.normal(size=(2, case.seeds, *labels.shape))
    trained = random.normal(size=(2, case.seeds, 1, 1)) + random.normal(size=(2, case.seeds, 1, len(findings)))
    better = case.training_sd / test.slopes()[findings] * trained / np.sqrt(2)
    scores = base + np.sqrt(1 / ALIKE - 1) * own + better * labels
    return labels, scores, test.patients[rows]


def claims(test: RealTest, repeats: int, seed: int = 0) -> Iterator[list[Claims]]:
    """Yield, for each kind of study, how often each rule shows an effect."""
    for case in CASES:
        random = np.random.default_rng([seed, case.seeds, case.patients, round(1e4 * case.training_sd)])
        yield counted(case, [shown(*simulate(test, case, random)) for _ in range(repeats)])
        print(f"{case} simulated", file=sys.stderr, flush=True)


def main() -> int:
    """Run the simulation that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logits", type=Path, metavar="LOGITS.npz")
    parser.add_argument("--repeats", type=int, default=200, help="studies of each kind")
    parser.add_argument("--quick", action="store_true", help="10 studies of each kind")
    arguments = parser.parse_args()
    test = read(arguments.logits)
    print(f"{arguments.logits.name}: {len(test.labels):,} images of {len(np.unique(test.patients)):,} patients")
    return report([each for found in claims(test, 10 if arguments.quick else arguments.repeats) for each in found])


if __name__ == "__main__":
    sys.exit(main())

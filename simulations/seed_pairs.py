"""Whether it helps to compare a student with its control seed by seed, measured on the trainings of a finished study.

usage: python simulations/seed_pairs.py studies/NAME.yaml

With the same seed, two students have the same first weights and the same order of images. If their AUROCs therefore
rise and fall together, the difference of the same seed varies less from training to training than that of different
seeds. For each distilled student and its control, of S trainings each, the table gives the deviation of the test AUROC
over the trainings of each, the deviation of the difference of two trainings with the same seed, with different seeds
(the root of the sum of both variances), the ratio of the two, and the correlation with its 95 % interval (Fisher 1915).
A ratio below 1 means that pairing by seed makes the comparison tighter. "mean AUROC" is one value per training;
"single findings" pools the variances of the findings, and has no interval because findings depend on each other.
"""

import argparse
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cxr_kd.errors import CxrKdError
from cxr_kd.evaluation.bootstrap import METRICS, bootstrap
from cxr_kd.evaluation.study_results import read_predictions
from cxr_kd.study import Study, load_study
from cxr_kd.study.arms import controls


@dataclass(frozen=True)
class Pairing:
    """How two students vary over S trainings with the same seeds; variances are summed over the values pooled."""

    control: str
    student: str
    of: str
    trainings: int
    variance_control: float
    variance_student: float
    covariance: float

    @property
    def same(self) -> float:
        """Return the deviation of the difference of two trainings with the same seed."""
        return math.sqrt(max(self.variance_control + self.variance_student - 2 * self.covariance, 0))

    @property
    def different(self) -> float:
        """Return the deviation of the difference of two trainings with different seeds."""
        return math.sqrt(self.variance_control + self.variance_student)

    @property
    def correlation(self) -> float:
        """Return the correlation of both students' values over the seeds."""
        return self.covariance / math.sqrt(self.variance_control * self.variance_student)

    def correlation_interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the correlation; -1 to 1 for three trainings or fewer."""
        if self.trainings <= 3:
            return -1.0, 1.0
        half = 1.959964 / math.sqrt(self.trainings - 3)
        middle = math.atanh(min(max(self.correlation, -0.999999), 0.999999))
        return math.tanh(middle - half), math.tanh(middle + half)

    def __str__(self) -> str:
        low, high = self.correlation_interval()
        interval = f"({low:+.2f} to {high:+.2f})" if self.of == "mean AUROC" else ""
        deviations = (math.sqrt(self.variance_control), math.sqrt(self.variance_student), self.same, self.different)
        numbers = "  ".join(f"{value:9.4f}" for value in deviations)
        ratio = f"{self.same / self.different:5.2f}"
        return f"{self.of:15}  {self.trainings:9}  {numbers}  {ratio}  {self.correlation:+.2f} {interval}"


def pairing(control: str, student: str, of: str, first: np.ndarray, second: np.ndarray) -> Pairing:
    """Return how the values (S, F) of two students vary over the seeds, pooled over the F columns."""
    one, two = (values - values.mean(axis=0) for values in (first, second))
    degrees, pooled = len(first) - 1, first.shape[1]
    variances = ((one * one).sum(), (two * two).sum(), (one * two).sum())
    return Pairing(control, student, of, len(first), *(float(each / degrees / pooled) for each in variances))


def pairings(study: Study) -> Iterator[Pairing]:
    """Yield, for each distilled student with a control, how the mean AUROC and those of single findings vary."""
    pairs = controls(study)
    predictions = read_predictions(study, dict.fromkeys(arm for pair in pairs for arm in pair))
    values = {
        arm: bootstrap(runs, study.evaluation).estimates[:, METRICS.index("auroc")] for arm, runs in predictions.items()
    }
    for control, student in pairs:
        first, second = values[control], values[student]
        scored = np.isfinite(first[0])
        scored[-1] = False
        yield pairing(control, student, "mean AUROC", first[:, -1:], second[:, -1:])
        yield pairing(control, student, "single findings", first[:, scored], second[:, scored])


def main() -> int:
    """Print the table of the study that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="the file of a finished study with several seeds")
    try:
        study = load_study(parser.parse_args().study)
        if len(study.seeds) < 2:
            sys.exit(f"{study.file}: one seed; a deviation over trainings needs at least two (`seeds: [0, 1, 2]`)")
        found = list(pairings(study))
    except CxrKdError as error:
        sys.exit(str(error))
    heads = "  ".join(f"{head:>9}" for head in ("control", "student", "same", "different"))
    for control, student in dict.fromkeys((each.control, each.student) for each in found):
        print(f"{student} minus {control}")
        print(f"{'of':15}  trainings  {heads}  ratio  correlation")
        print(*(each for each in found if (each.control, each.student) == (control, student)), sep="\n", end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

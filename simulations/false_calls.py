"""How often a study calls a difference between two equally good networks: any of 14 findings, corrected by Holm.

Test sets are simulated (`_simulated.py`): 14 findings with about the same number of positives, at a prevalence of 3 %,
on the same patients. Both networks have the same true AUROC, so each call is false. The table gives the share of test
sets in which any finding is called at the level of 5 %, with its Monte-Carlo standard error. The tests compared:
`percentile`, from the percentile bootstrap; `bootstrap SE`, the difference over its bootstrap standard error; `DeLong`,
over DeLong's standard error. `t` uses Student's t in place of the normal distribution. `mean` is the share in which the
mean over the findings is called, a single test. `!` marks a share above 5 %, given the Monte-Carlo error; `*` the
recommended tests.

Exits with 1 if the recommended test calls more than 5 % at the recommended number of positives or more.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from _simulated import (
    Readers,
    bootstrap_tests,
    compared,
    delong_tests,
    draws,
    is_above,
    resampled_aurocs,
    standard_error,
)

from cxr_kd.evaluation.delong import DeLong, mean_over_findings
from cxr_kd.evaluation.resampling import ALPHA, holm

COUNTS = (5, 10, 22, 50, 100)
MOST_IMAGES = (1, 10)  # per patient
FINDINGS, PREVALENCE, AUROC = 14, 0.03, 0.8
RESAMPLES = 1000
RECOMMENDED, RECOMMENDED_FROM = "DeLong t", 5


@dataclass(frozen=True)
class Calls:
    """How often one test calls any finding on one kind of test set."""

    readers: Readers
    positive_patients: float  # their mean number per finding
    test: str
    called: int
    repeats: int

    @property
    def holds(self) -> bool:
        """Return whether the share can be 5 % or less, given the Monte-Carlo error."""
        return not is_above(self.called, self.repeats, ALPHA)

    def __str__(self) -> str:
        error = standard_error(self.called, self.repeats)
        return f"{100 * self.called / self.repeats:5.1f}{' ' if self.holds else '!'}+/-{100 * error:3.1f}"


def kinds() -> Iterator[Readers]:
    """Yield every kind of test set."""
    for most_images in MOST_IMAGES:
        for positives in COUNTS:
            yield Readers(positives, PREVALENCE, most_images, (AUROC, AUROC))


def simulate(readers: Readers, repeats: int, bootstrapped: int, findings: int = FINDINGS, seed: int = 0) -> list[Calls]:
    """Return how often each test calls in `repeats` test sets; the first `bootstrapped` of them are resampled."""
    random = np.random.default_rng([seed, readers.positives, readers.most_images])
    called: dict[str, list[bool]] = defaultdict(list)
    positive_patients = []
    for repeat in range(repeats):
        patients = readers.images(random)
        weights = draws(patients, RESAMPLES, repeat) if repeat < bootstrapped else None
        p: dict[str, list[float]] = defaultdict(list)
        differences: list[DeLong] = []
        for _ in range(findings):
            labels, scores = readers.finding(random, patients)
            positive_patients.append(len(np.unique(patients[labels == 1])))
            differences.append(compared(labels, scores, patients)[1])
            for test, value in tests(differences[-1], labels, scores, patients, weights).items():
                p[test].append(value)
        p[f"mean {RECOMMENDED}"] = [delong_tests(mean_over_findings(differences))[RECOMMENDED]]
        for test, values in p.items():
            called[test].append(bool((holm(np.array(values)) <= ALPHA).any()))
    mean = float(np.mean(positive_patients))
    return [Calls(readers, mean, test, sum(hits), len(hits)) for test, hits in called.items()]


def tests(
    difference: DeLong, labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, weights: np.ndarray | None
) -> dict[str, float]:
    """Return p of each test of one finding; without bootstrap weights only those of DeLong."""
    p = delong_tests(difference)
    if weights is not None:
        first, second = resampled_aurocs(labels, scores, patients, weights)
        p |= bootstrap_tests(difference, second - first)
    return p


def table(found: list[Calls]) -> Iterator[str]:
    """Yield the lines of the table: a header, then one line per kind of test set."""
    names = list(dict.fromkeys(each.test for each in found))
    marked = [f"{name} *" if RECOMMENDED in name else name for name in names]
    yield "images  positives (patients)  " + "  ".join(f"{name:>15}" for name in marked)
    for readers in dict.fromkeys(each.readers for each in found):
        mine = {each.test: each for each in found if each.readers == readers}
        images = "1" if readers.most_images == 1 else f"1-{readers.most_images}"
        patients = next(iter(mine.values())).positive_patients
        yield f"{images:>6}  {readers.positives:9} ({patients:8.0f})  " + "  ".join(f"{mine[n]!s:>15}" for n in names)


def rules(found: list[Calls]) -> Iterator[str]:
    """Yield from how many positives each test calls at most 5 %, one sentence per test."""
    for test in dict.fromkeys(each.test for each in found):
        mine = [each for each in found if each.test == test]
        wrong = sorted({each.readers.positives for each in mine if not each.holds})
        good = [n for n in sorted({each.readers.positives for each in mine}) if n > max(wrong, default=0)]
        kept = f"5 % or less from {good[0]} positives on" if good else "5 % or less from no number of positives on"
        outside = f"; more at {', '.join(map(str, wrong))}" if wrong else ""
        yield f"{test}{' (recommended)' if RECOMMENDED in test else ''}: {kept}{outside}"


def broken(found: list[Calls]) -> list[Calls]:
    """Return where the recommended test calls too often although there are enough positives."""
    return [
        each
        for each in found
        if RECOMMENDED in each.test and each.readers.positives >= RECOMMENDED_FROM and not each.holds
    ]


def report(found: list[Calls]) -> int:
    """Print the table and the rules; return the exit code."""
    print(*table(found), sep="\n", end="\n\n")
    print(*rules(found), sep="\n")
    for each in broken(found):
        print(f"{each.test} does not keep its promise for {each.readers}: {each} %", file=sys.stderr)
    return 1 if broken(found) else 0


def main() -> int:
    """Run the simulation that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1000, help="test sets of each kind; some are resampled")
    parser.add_argument("--quick", action="store_true", help="60 repeats")
    arguments = parser.parse_args()
    repeats = 60 if arguments.quick else arguments.repeats
    found = []
    for readers in kinds():
        bootstrapped = max(2, repeats // (4 if readers.positives <= 22 else 10))
        found += simulate(readers, repeats, bootstrapped)
        print(f"{readers} simulated", file=sys.stderr, flush=True)
    return report(found)


if __name__ == "__main__":
    sys.exit(main())

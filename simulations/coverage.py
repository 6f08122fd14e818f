"""How often 95 % intervals of AUROC, its paired difference and average precision cover the true value.

Test sets are simulated (`_simulated.py`): about 5 to 2,000 positive images, 1 image or 1 to 10 images per patient, two
networks of moderate and of high AUROC. Each interval is computed for each test set. Those that need a bootstrap are
computed only for some of them, because it is slow. The table gives the share of intervals that hold the true value in
%, with its Monte-Carlo standard error, and in brackets their mean width. A test set without an interval (perfect
separation) counts as not covered. `!` marks a coverage that is not 93 to 97 %, given the Monte-Carlo error; `*` the
intervals that the package gives for one training (`infer`: `cxr_kd.evaluation.mrmc`).

Exits with 1 if one of these, of AUROC or of its difference, does not cover 93 to 97 % at 50 positives or more.
"""

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from _simulated import (
    Interval,
    Readers,
    bootstrap_intervals,
    compared,
    delong_intervals,
    draws,
    is_above,
    is_below,
    of_package,
    resampled_metrics,
    standard_error,
)

from cxr_kd.evaluation.delong import DeLong

COUNTS = {5: 0.03, 10: 0.03, 22: 0.03, 50: 0.05, 200: 0.05, 2000: 0.1}  # positives -> prevalence
AUROCS = ((0.8, 0.83), (0.93, 0.95))
MOST_IMAGES = (1, 10)  # per patient
RESAMPLES = 1000
SAME_DRAWS = 20  # test sets in a row that share their bootstrap draws, because drawing takes long
OURS = "infer"
MEASURES = ("AUROC", "difference", "average precision")
PROMISED = ("AUROC", "difference")
LOWEST, HIGHEST, PROMISED_FROM = 0.93, 0.97, 50


@dataclass(frozen=True)
class Coverage:
    """How often one interval covers the true value on one kind of test set."""

    readers: Readers
    positive_patients: float  # their mean number
    of: str  # one of MEASURES
    interval: str
    covered: int
    repeats: int
    width: float

    @property
    def holds(self) -> bool:
        """Return whether the coverage can be 93 to 97 %, given the Monte-Carlo error."""
        return not (is_below(self.covered, self.repeats, LOWEST) or is_above(self.covered, self.repeats, HIGHEST))

    def __str__(self) -> str:
        error = standard_error(self.covered, self.repeats)
        mark = " " if self.holds else "!"
        return f"{100 * self.covered / self.repeats:5.1f}{mark}+/-{100 * error:3.1f} ({self.width:.3f})"


def kinds(aurocs: tuple[tuple[float, float], ...] = AUROCS) -> Iterator[Readers]:
    """Yield every kind of test set."""
    for pair in aurocs:
        for most_images in MOST_IMAGES:
            for positives, prevalence in COUNTS.items():
                yield Readers(positives, prevalence, most_images, pair)


def repeats_of(positives: int, repeats: int) -> tuple[int, int]:
    """Return the numbers of test sets without and with a bootstrap."""
    slower = 1 if positives <= 50 else 2 if positives <= 200 else 4
    return max(2, repeats // slower), max(2, repeats // (4 if positives <= 200 else 10))


def simulate(readers: Readers, repeats: int, bootstrapped: int, seed: int = 0) -> list[Coverage]:
    """Return the coverage of each interval over `repeats` test sets; the first `bootstrapped` of them are resampled."""
    random = np.random.default_rng([seed, readers.positives, readers.most_images, round(100 * readers.aurocs[0])])
    aurocs = readers.aurocs
    truths = dict(zip(MEASURES, (aurocs[0], aurocs[1] - aurocs[0], readers.average_precision), strict=True))
    found: dict[tuple[str, str], list[Interval]] = defaultdict(list)
    positive_patients, weights = [], np.empty((0, 0))
    for repeat in range(repeats):
        patients = readers.images(random)
        labels, scores = readers.finding(random, patients)
        positive_patients.append(len(np.unique(patients[labels == 1])))
        values = dict(zip(PROMISED, compared(labels, scores, patients), strict=True))
        for name, value in values.items():
            for interval, bounds in delong_intervals(value, name == "difference").items():
                found[name, interval].append(bounds)
        if repeat < bootstrapped:
            if repeat % SAME_DRAWS == 0:
                weights = draws(patients, RESAMPLES, repeat)
            for name, intervals in resampled_intervals(values, labels, scores, patients, weights).items():
                for interval, bounds in intervals.items():
                    found[name, interval].append(bounds)
    patients_mean = float(np.mean(positive_patients))
    return [summary(readers, patients_mean, key, np.array(bounds), truths[key[0]]) for key, bounds in found.items()]


def resampled_intervals(
    values: dict[str, DeLong], labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, weights: np.ndarray
) -> dict[str, dict[str, Interval]]:
    """Return the intervals of each measure that need resamples."""
    (first, precision), (second, _) = resampled_metrics(labels, scores, patients, weights)
    everyone = np.ones((len(weights), 1))
    estimate = resampled_metrics(labels, scores, patients, everyone)[0, 1, 0]
    return {
        "AUROC": bootstrap_intervals(values["AUROC"], first, bounded=True),
        "difference": bootstrap_intervals(values["difference"], second - first, bounded=False),
        "average precision": of_package(estimate, precision, values["AUROC"].degrees[0], bounded=True),
    }


def summary(
    readers: Readers, positive_patients: float, key: tuple[str, str], bounds: np.ndarray, truth: float
) -> Coverage:
    """Return the coverage of one interval, from its bounds in each test set (repeats, 2)."""
    low, high = bounds.T
    defined = np.isfinite(low)
    width = float((high - low)[defined].mean()) if defined.any() else math.nan
    return Coverage(readers, positive_patients, *key, int(((low <= truth) & (truth <= high)).sum()), len(bounds), width)


def table(found: list[Coverage], of: str) -> Iterator[str]:
    """Yield the lines of the table of one measure: a header, then one line per kind of test set."""
    kinds_found = list(dict.fromkeys(each.readers for each in found if each.of == of))
    names = list(dict.fromkeys(each.interval for each in found if each.of == of))
    marked = [f"{name} *" if name == OURS else name for name in names]
    yield f"{of}: AUROCs  images  positives (patients)  " + "  ".join(f"{name:>19}" for name in marked)
    for readers in kinds_found:
        mine = {each.interval: each for each in found if (each.readers, each.of) == (readers, of)}
        images = "1" if readers.most_images == 1 else f"1-{readers.most_images}"
        patients = next(iter(mine.values())).positive_patients
        start = (
            f"{readers.aurocs[0]:.2f} {readers.aurocs[1]:.2f}  {images:>6}  {readers.positives:9,} ({patients:8.0f})"
        )
        yield f"{start:>{len(of) + 42}}  " + "  ".join(f"{mine[name]!s:>19}" for name in names)


def rules(found: list[Coverage]) -> Iterator[str]:
    """Yield from how many positives each interval covers 93 to 97 %, one sentence per interval."""
    for of, interval in dict.fromkeys((each.of, each.interval) for each in found):
        mine = [each for each in found if (each.of, each.interval) == (of, interval)]
        counts = {each.readers.positives for each in mine}
        wrong = sorted({each.readers.positives for each in mine if not each.holds})
        good = sorted(count for count in counts if count > max(wrong, default=0))
        name = f"{of}, {interval}{' (the package)' if interval == OURS else ''}"
        outside = f"; not at {', '.join(map(str, wrong))}" if wrong else ""
        if good:
            fewest = min(each.positive_patients for each in mine if each.readers.positives == good[0])
            yield f"{name}: 93 to 97 % from {good[0]} positives, of {fewest:.0f} patients or more{outside}"
        else:
            yield f"{name}: 93 to 97 % from no number of positives on{outside}"


def broken(found: list[Coverage]) -> list[Coverage]:
    """Return where an interval that is promised does not cover 93 to 97 % although there are 50 positives or more."""
    promised = [each for each in found if each.of in PROMISED and each.interval == OURS]
    return [each for each in promised if each.readers.positives >= PROMISED_FROM and not each.holds]


def report(found: list[Coverage]) -> int:
    """Print the tables and the rules; return the exit code."""
    for of in MEASURES:
        print(*table(found, of), sep="\n", end="\n\n")
    print(*rules(found), sep="\n")
    for each in broken(found):
        print(f"{each.of}, {each.interval} does not keep its promise for {each.readers}: {each}", file=sys.stderr)
    return 1 if broken(found) else 0


def main() -> int:
    """Run the simulation that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000, help="test sets of each kind; fewer of the large ones")
    parser.add_argument("--quick", action="store_true", help="the first pair of networks only, 240 repeats")
    arguments = parser.parse_args()
    repeats, aurocs = (240, AUROCS[:1]) if arguments.quick else (arguments.repeats, AUROCS)
    found = []
    for readers in kinds(aurocs):
        found += simulate(readers, *repeats_of(readers.positives, repeats))
        print(f"{readers} simulated", file=sys.stderr, flush=True)
    return report(found)


if __name__ == "__main__":
    sys.exit(main())

"""The simulated test sets have the true values that they promise; the scripts exit with 1 if a promise is broken."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scripts import load
from sklearn.metrics import average_precision_score

from cxr_kd.evaluation.delong import DeLong
from cxr_kd.evaluation.metrics import auroc

simulated = load("_simulated", "_simulated")
coverage = load("coverage", "simulated_coverage")
false_calls = load("false_calls", "simulated_false_calls")
INTERVALS = {
    "AUROC": ["DeLong", "DeLong t", "DeLong logit", "DeLong logit t", "infer", "percentile", "BCa"],
    "difference": ["DeLong", "DeLong t", "infer", "percentile", "BCa"],
    "average precision": ["infer", "percentile"],
}


@pytest.mark.parametrize("most_images", [1, 10])
def test_a_simulated_test_set_is_as_described(most_images: int) -> None:
    readers = simulated.Readers(5000, 0.1, most_images, (0.8, 0.93))
    random = np.random.default_rng(0)
    patients = readers.images(random)
    assert set(np.unique(np.unique(patients, return_counts=True)[1])) == set(range(1, most_images + 1))
    labels, scores = readers.finding(random, patients)
    assert labels.sum() == pytest.approx(5000, rel=0.1)
    assert len(labels) == pytest.approx(50_000, rel=0.05)
    # Three to four standard errors of 5,000 positives.
    np.testing.assert_allclose(auroc(np.stack([labels] * 2, axis=1), scores), readers.aurocs, atol=0.02)
    noise = scores - labels[:, None] * [scores[labels == 1, k].mean() - scores[labels == 0, k].mean() for k in (0, 1)]
    assert np.corrcoef(noise.T)[0, 1] == pytest.approx(simulated.NETWORKS_ALIKE, abs=0.02)
    if most_images > 1:
        neighbours = np.flatnonzero(patients[1:] == patients[:-1])
        alike = np.corrcoef(noise[neighbours, 0], noise[neighbours + 1, 0])[0, 1]
        assert alike == pytest.approx(simulated.SCORES_ALIKE, abs=0.03)
        assert np.corrcoef(labels[neighbours], labels[neighbours + 1])[0, 1] > 0.2


def test_the_true_average_precision_is_that_of_a_large_test_set() -> None:
    readers, random = simulated.Readers(40_000, 0.1, 1, (0.8, 0.93)), np.random.default_rng(0)
    labels, scores = readers.finding(random, readers.images(random))
    assert readers.average_precision == pytest.approx(average_precision_score(labels, scores[:, 0]), abs=0.006)


def test_few_positives_are_at_least_two_patients() -> None:
    readers, random = simulated.Readers(2, 0.1, 10, (0.8, 0.8)), np.random.default_rng(0)
    for _ in range(50):
        patients = readers.images(random)
        labels, _ = readers.finding(random, patients)
        assert 1 <= labels.sum() <= 3
        assert len(set(patients[labels == 1])) >= 2


def test_bca_agrees_with_scipy() -> None:
    from scipy.stats import bootstrap

    sample = np.random.default_rng(0).exponential(size=40)
    theirs = bootstrap((sample,), np.mean, n_resamples=999, method="BCa", rng=np.random.default_rng(1))
    deviation = (sample - sample.mean())[:, None]
    value = DeLong(np.array([sample.mean()]), deviation, np.zeros((1, 1)), np.array([39.0]))
    ours = simulated.bca(value, theirs.bootstrap_distribution)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=1e-10)
    assert all(math.isnan(bound) for bound in simulated.bca(value, np.full(9, sample.mean() + 1)))


def test_a_share_is_outside_its_bounds_if_an_exact_test_says_so() -> None:
    from scipy.stats import binomtest

    for hits in range(900, 1001):
        assert simulated.is_above(hits, 1000, 0.97) == (binomtest(hits, 1000, 0.97, "greater").pvalue < 0.01)
        assert simulated.is_below(hits, 1000, 0.93) == (binomtest(hits, 1000, 0.93, "less").pvalue < 0.01)
    assert simulated.standard_error(950, 1000) == pytest.approx(0.007, abs=2e-4)


def test_coverage_of_every_interval_is_counted() -> None:
    readers = simulated.Readers(10, 0.05, 10, (0.8, 0.83))
    found = coverage.simulate(readers, repeats=30, bootstrapped=3)
    assert {of: [each.interval for each in found if each.of == of] for of in INTERVALS} == INTERVALS
    for each in found:
        assert each.repeats == (30 if each.interval.startswith("DeLong") else 3)
        assert each.repeats // 3 <= each.covered <= each.repeats
        assert 0 < each.width < 1
        assert 2 <= each.positive_patients <= 11
    lines = [*coverage.table(found, "AUROC")]
    assert len(lines) == 2
    assert "infer *" in lines[0]
    assert "1-10" in lines[1]
    assert len([*coverage.rules(found)]) == 14


def test_an_undefined_interval_does_not_cover() -> None:
    readers = simulated.Readers(10, 0.05, 10, (0.8, 0.83))
    bounds = np.array([[np.nan, np.nan], [0.7, 0.9], [0.7, 0.75]])
    each = coverage.summary(readers, 8.0, ("AUROC", "BCa"), bounds, 0.8)
    assert (each.covered, each.repeats, each.width) == (1, 3, pytest.approx(0.125))


def test_coverage_exits_with_1_if_an_interval_of_the_package_fails_where_it_is_promised(
    capsys: pytest.CaptureFixture[str],
) -> None:
    readers = simulated.Readers(50, 0.05, 1, (0.8, 0.83))
    good = [coverage.Coverage(readers, 50.0, of, coverage.OURS, 950, 1000, 0.1) for of in coverage.PROMISED]
    assert coverage.report(good) == 0
    assert "from 50 positives, of 50 patients or more" in capsys.readouterr().out
    for covered in (880, 995):
        assert coverage.report([good[0], replace(good[1], covered=covered)]) == 1
        assert "does not keep its promise" in capsys.readouterr().err
    assert coverage.report([*good, replace(good[0], interval="percentile", covered=880)]) == 0
    few = replace(good[0], covered=880, readers=replace(readers, positives=22))
    assert coverage.report([*good, few]) == 0
    assert "from 50 positives, of 50 patients or more; not at 22" in capsys.readouterr().out


def test_false_calls_of_every_test_are_counted() -> None:
    readers = simulated.Readers(10, 0.05, 10, (0.8, 0.8))
    found = false_calls.simulate(readers, repeats=6, bootstrapped=2, findings=3)
    names = ["DeLong", "DeLong t", "percentile", "bootstrap SE", "bootstrap SE t", "mean DeLong t"]
    assert sorted(each.test for each in found) == sorted(names)
    assert {each.repeats for each in found} == {2, 6}
    assert len([*false_calls.table(found)]) == 2
    certain = simulated.Readers(50, 0.1, 1, (0.7, 0.95))  # not equally good: every test calls it
    found = false_calls.simulate(certain, repeats=4, bootstrapped=2, findings=3)
    assert all(each.called == each.repeats for each in found)


def test_false_calls_exits_with_1_if_the_recommended_test_errs_too_often(capsys: pytest.CaptureFixture[str]) -> None:
    readers = simulated.Readers(false_calls.RECOMMENDED_FROM, 0.03, 1, (0.8, 0.8))
    good = false_calls.Calls(readers, 9.0, false_calls.RECOMMENDED, 55, 1000)
    assert false_calls.report([good]) == 0
    assert false_calls.report([good, replace(good, test="percentile", called=130)]) == 0
    assert "more at 5" in capsys.readouterr().out
    assert false_calls.report([replace(good, called=130)]) == 1
    assert "does not keep its promise" in capsys.readouterr().err

"""Intervals over patients and trainings: the model of Obuchowski and Rockette, and what it does to claims."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_kd.evaluation.mrmc import OVER_PATIENTS, infer


def two_networks(seed: int, trainings: int, sd: float = 0.02, resamples: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """AUROC of two networks (2, S), and resampled (2, S, R): all share some of the patients' chance."""
    random = np.random.default_rng(seed)
    estimates = 0.8 + random.normal(0, sd, (2, trainings))
    chance = random.normal(0, 0.01, (1, 1, resamples)) + random.normal(0, 0.01, (2, 1, resamples))
    return estimates, estimates[..., None] + chance + random.normal(0, 0.004, (2, trainings, resamples))


def obuchowski_rockette(estimates: np.ndarray, resampled: np.ndarray) -> float:
    """The variance of the difference of two tests with random readers and cases: 2/r (MS(T:R) + r max(Cov2 - Cov3, 0)).

    From the analysis of variance over tests and readers. Hillis, Statistics in Medicine 26 (2007).
    """
    tests, readers = estimates.shape
    by_test, by_reader, all_ = estimates.mean(1, keepdims=True), estimates.mean(0, keepdims=True), estimates.mean()
    ms_both = ((estimates - by_test - by_reader + all_) ** 2).sum() / ((tests - 1) * (readers - 1))
    covariance = np.cov(resampled.reshape(tests * readers, -1)).reshape(tests, readers, tests, readers)
    other = ~np.eye(readers, dtype=bool)
    cov2 = np.mean([covariance[i, :, i, :][other].mean() for i in range(tests)])
    cov3 = np.mean([covariance[i, :, j, :][other].mean() for i in range(tests) for j in range(tests) if i != j])
    return 2 / readers * (ms_both + readers * max(cov2 - cov3, 0))


@pytest.mark.parametrize("trainings", [2, 3, 5])
def test_the_standard_error_of_a_comparison_is_that_of_obuchowski_and_rockette(trainings: int) -> None:
    estimates, resampled = two_networks(seed=trainings, trainings=trainings)
    ours = infer(estimates[1] - estimates[0], resampled[1] - resampled[0])
    assert ours.se_trainings > 0
    variance = ours.se_patients**2 + ours.se_trainings**2
    assert variance == pytest.approx(obuchowski_rockette(estimates, resampled))


@pytest.mark.parametrize("trainings", [2, 3, 5])
def test_p_is_the_level_at_which_the_interval_just_holds_zero(trainings: int) -> None:
    estimates, resampled = two_networks(seed=7, trainings=trainings)
    values, drawn = estimates[1] - estimates[0], resampled[1] - resampled[0]
    half = infer(values, drawn).high - infer(values, drawn).estimate
    for shift, p in ((half, 0.05), (1.01 * half, 0.049), (0.99 * half, 0.051)):
        moved = infer(values - values.mean() + shift, drawn).p
        assert (moved < 0.05) == (p < 0.05) or p == 0.05
        assert moved == pytest.approx(p, abs=0.002)


@pytest.mark.parametrize("trainings", [2, 3])
@pytest.mark.parametrize("level", [0.05, 0.05 / 14])  # the second is the first step of Holm's correction
def test_a_test_at_any_level_claims_at_most_that_where_nothing_differs(trainings: int, level: float) -> None:
    """The trainings' variance is 0, 1, 10 and 100 times that of the patients. 4,000 studies of each."""
    random, studies, patients_sd = np.random.default_rng(0), 4000, 0.01
    drawn = random.normal(0, patients_sd, (1, 1, 500)).repeat(trainings, axis=0)  # all err on the same patients
    for ratio in (0, 1, 10, 100):
        other_patients = random.normal(0, patients_sd, (1, studies))
        values = other_patients + random.normal(0, patients_sd * ratio**0.5, (trainings, studies))
        p = infer(values, values[..., None] + drawn).p
        assert (p < level).mean() < level + 3 * np.sqrt(level * (1 - level) / studies), ratio


def test_trainings_that_do_not_differ_leave_the_error_of_the_patients() -> None:
    resampled = np.random.default_rng(0).normal(0.03, 0.01, (1, 500)).repeat(3, axis=0)
    ours = infer(np.full(3, 0.03), resampled)
    assert ours.se_patients == pytest.approx(resampled[0].std(ddof=1))
    assert ours.se_trainings == 0
    assert ours.high - ours.estimate == pytest.approx(1.959964 * ours.se_patients, rel=1e-6)


def test_patients_without_chance_leave_a_t_test_of_the_trainings() -> None:
    values = np.array([0.01, 0.02, 0.04])
    ours = infer(values, values[:, None].repeat(50, axis=1))
    se = values.std(ddof=1) / np.sqrt(3)
    assert ours.se_patients == pytest.approx(0, abs=1e-12)
    assert ours.high - ours.estimate == pytest.approx(4.302653 * se, rel=1e-6)


def test_one_training_has_an_interval_over_patients_and_no_p() -> None:
    resampled = np.random.default_rng(1).normal(0.1, 0.02, (1, 3, 200))
    ours = infer(np.full((1, 3), 0.1), resampled, patient_degrees=[np.inf, 21, 4])
    se = resampled[0].std(axis=-1, ddof=1)
    np.testing.assert_allclose(ours.high - 0.1, se * [1.959964, 2.079614, 2.776445], rtol=1e-6)
    np.testing.assert_allclose(ours.low + ours.high, 0.2)
    assert ours.covers == OVER_PATIENTS
    assert np.isnan(ours.p).all()
    assert np.isnan(ours.se_trainings).all()


def test_undefined_values_stay_undefined_and_undefined_resamples_are_left_out() -> None:
    estimates, resampled = two_networks(seed=1, trainings=3)
    values, drawn = np.stack([estimates[0], np.full(3, np.nan)], axis=1), np.full((3, 2, 410), np.nan)
    drawn[:, 0, :400] = resampled[0]
    ours, alone = infer(values, drawn), infer(estimates[0], resampled[0])
    assert (ours.low[0], ours.p[0]) == (pytest.approx(alone.low), pytest.approx(alone.p))
    assert np.isnan([ours.estimate[1], ours.low[1], ours.high[1], ours.p[1]]).all()


def test_a_difference_that_is_always_zero_has_p_one() -> None:
    ours = infer(np.zeros(2), np.zeros((2, 30)))
    assert (ours.low, ours.high, ours.p) == (0, 0, 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5), st.floats(0.001, 0.999), st.floats(1e-4, 0.2), st.integers(0, 1000))
def test_a_bounded_interval_stays_between_0_and_1_and_holds_the_estimate(
    trainings: int, mean: float, sd: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    values = np.clip(mean + random.normal(0, sd, trainings), 0, 1)
    drawn = np.clip(values[:, None] + random.normal(0, sd, (trainings, 100)), 0, 1)
    ours = infer(values, drawn, bounded=True)
    assert 0 <= ours.low <= ours.estimate <= ours.high <= 1

"""Draws, percentile intervals, p-values and their correction follow their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_kd.evaluation.resampling import ALPHA, holm, interval, p_value, resample_patients
from cxr_kd.study.settings import Evaluation

p_values = st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.01, 0.5, 1.0])), min_size=1, max_size=15)


def holm_by_hand(p: np.ndarray) -> np.ndarray:
    """Holm's step-down rule as this project computed it before it used statsmodels."""
    corrected = np.full(p.shape, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return corrected


def test_every_resample_draws_as_many_patients_as_there_are() -> None:
    patients = np.array(["b", "a", "b", "c"])
    numbers, drawn = resample_patients(patients, Evaluation(resamples=50, seed=3))
    np.testing.assert_array_equal(numbers, [1, 0, 1, 2])
    assert drawn.shape == (50, 3)
    assert (drawn.sum(axis=1) == 3).all()
    expected = np.random.default_rng(3).multinomial(3, np.full(3, 1 / 3), 50)
    np.testing.assert_array_equal(drawn, expected)
    # Text and object arrays of the same patients give the same draws.
    again = resample_patients(patients.astype(object), Evaluation(resamples=50, seed=3))
    np.testing.assert_array_equal(again[1], drawn)


def test_an_interval_ignores_resamples_without_a_value() -> None:
    values = np.array([[0.0, 1.0, np.nan, 0.5], [np.nan] * 4])
    low, high = interval(values)
    assert (low[0], high[0]) == (pytest.approx(0.025), pytest.approx(0.975))
    assert np.isnan([low[1], high[1]]).all()


@settings(max_examples=30)  # statsmodels takes a twentieth of a second each time
@given(p_values)
def test_holm_is_the_step_down_rule(values):
    p = np.array(values)
    corrected = holm(p)
    np.testing.assert_array_equal(corrected, holm_by_hand(p))
    order = np.argsort(p, kind="stable")
    for position, index in enumerate(order):  # Holm 1979: rejected at a level iff it and all smaller ones are below
        steps = [(len(p) - earlier) * p[order[earlier]] for earlier in range(position + 1)]
        assert corrected[index] == pytest.approx(min(1.0, max(steps)))
    assert (corrected >= p).all()
    np.testing.assert_allclose(holm(np.append(p, np.nan))[:-1], corrected)
    np.testing.assert_allclose(holm(p[::-1])[::-1], corrected)


def test_holm_of_a_worked_example():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_holm_keeps_undefined_values_and_does_not_count_them():
    np.testing.assert_allclose(holm(np.array([np.nan, 0.01, np.nan, 0.02])), [np.nan, 0.02, np.nan, 0.02])
    assert np.isnan(holm(np.full(3, np.nan))).all()
    assert holm(np.array([])).shape == (0,)


def test_p_is_below_alpha_where_the_interval_excludes_zero_and_is_never_zero():
    resampled = np.random.default_rng(0).normal(0.0, 1.0, 999) + np.array([[0.0], [2.5], [10.0]])
    p = p_value(resampled)
    assert p[2] == pytest.approx(2 / 1000)
    low, high = interval(resampled)
    np.testing.assert_array_equal(p < ALPHA, (low > 0) | (high < 0))
    assert p[0] > 0.5
    assert p_value(-resampled) == pytest.approx(p)
    assert np.isnan(p_value(np.full(5, np.nan)))
    assert p_value(np.zeros(99)) == 1


def test_p_is_uniform_if_nothing_differs():
    """About one in twenty pairs of equally good runs has a p below 0.05."""
    random, rejected = np.random.default_rng(1), 0
    for _ in range(300):
        sample = random.normal(size=60)
        resampled = random.choice(sample, (400, 60)).mean(axis=1)
        rejected += p_value(resampled) < ALPHA
    assert 4 <= rejected <= 30  # 15 are expected; the percentile interval of 60 is a little narrow

"""Means of single images' values, with intervals over patients and trainings."""

import numpy as np
import pytest

from cxr_kd.evaluation.patient_means import patient_mean
from cxr_kd.study.settings import Evaluation

SETTINGS = Evaluation(resamples=2000)


def test_the_interval_is_that_of_the_mean_over_independent_patients():
    values = np.random.default_rng(0).normal(1, 2, (1, 400))
    found = patient_mean(values, np.arange(400).astype(str), SETTINGS)
    standard_error = values.std(ddof=1) / 20
    assert found.estimate == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * standard_error, rel=0.08)


def test_copies_of_an_image_do_not_make_the_interval_narrower():
    values = np.random.default_rng(0).normal(1, 2, (1, 50))
    once = patient_mean(values, np.arange(50).astype(str), SETTINGS)
    often = patient_mean(np.repeat(values, 8, axis=1), np.repeat(np.arange(50), 8).astype(str), SETTINGS)
    assert often.high - often.low == pytest.approx(once.high - once.low, rel=1e-6)


def test_several_trainings_widen_it_and_give_a_p_value():
    random = np.random.default_rng(0)
    shared = random.normal(0, 1, 300)
    trainings = np.stack([shared + shift for shift in (0.0, 0.5, 1.0)])
    patients = np.arange(300).astype(str)
    one, three = patient_mean(trainings[1:2], patients, SETTINGS), patient_mean(trainings, patients, SETTINGS)
    assert three.high - three.low > 2 * (one.high - one.low)
    assert np.isnan(one.p)
    assert 0 < three.p < 1


def test_undefined_values_are_left_out_and_nothing_has_no_mean():
    values = np.array([[1.0, np.nan, 3.0, np.nan]])
    assert patient_mean(values, np.array(list("abcd")), SETTINGS).estimate == pytest.approx(2)
    assert np.isnan(patient_mean(np.full((1, 2), np.nan), np.array(["a", "b"]), SETTINGS).estimate)
    assert np.isnan(patient_mean(np.empty((1, 0)), np.empty(0, str), SETTINGS).estimate)

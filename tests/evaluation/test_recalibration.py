"""Recalibration is fitted on validation alone, solves its equations, and is kept in a file beside the run."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit
from sklearn.linear_model import LogisticRegression
from two_sides import known_of, predictions, relabelled

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.probability.recalibration import (
    METHODS,
    LogitMap,
    Recalibration,
    fit_recalibration,
    shift_prevalence,
)


def test_platt_scaling_is_logistic_regression() -> None:
    run = predictions("validation")
    fitted = fit_recalibration(run)
    for finding in run.findings:
        labels, logits = known_of(run, finding)
        found = fitted.of(finding, "platt")
        oracle = LogisticRegression(C=np.inf, tol=1e-12, max_iter=1000).fit(logits[:, None], labels)
        assert found.intercept == pytest.approx(oracle.intercept_[0], abs=1e-4)
        assert found.slope == pytest.approx(oracle.coef_[0, 0], abs=1e-4)
        residuals = labels - expit(found.apply(logits))
        assert residuals.sum() == pytest.approx(0, abs=1e-8)  # the two equations of the maximum likelihood
        assert residuals @ logits == pytest.approx(0, abs=1e-8)


def test_one_temperature_minimises_the_log_loss_over_all_findings() -> None:
    run = predictions("validation")
    parts = [known_of(run, finding) for finding in run.findings]
    labels, logits = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    oracle = minimize_scalar(
        lambda t: -log_expit(np.where(labels == 1, logits, -logits) / t).mean(), bounds=(0.1, 10), method="bounded",
        options={"xatol": 1e-9},
    )  # fmt: skip
    for finding in run.findings:
        found = fit_recalibration(run).of(finding, "temperature")
        assert (found.intercept, 1 / found.slope) == (0, pytest.approx(oracle.x, rel=1e-5))


def test_prevalence_correction_gives_the_mean_probability_of_the_positives() -> None:
    run = predictions("validation")
    for finding in run.findings:
        labels, logits = known_of(run, finding)
        found = fit_recalibration(run).of(finding, "prevalence")
        assert found.slope == 1
        assert expit(found.apply(logits)).mean() == pytest.approx(labels.mean(), abs=1e-10)


@pytest.mark.parametrize(
    ("value", "reason"), [(0.0, "validation: no positive"), (1.0, "validation: no negative"), (np.nan, "no positive")]
)
def test_a_finding_without_both_labels_is_a_stated_omission(value: float, reason: str) -> None:
    fitted = fit_recalibration(relabelled(predictions("validation"), "Mass", value))
    for method in ("platt", "prevalence"):
        assert reason in fitted.of("Mass", method).left_out
        with pytest.raises(PredictionsError, match=f"Mass: no {method} recalibration"):
            fitted.of("Mass", method).apply(np.zeros(2))
    assert fitted.of("Effusion", "platt").left_out == ""
    assert fitted.of("Mass", "temperature").left_out == ""


@pytest.mark.parametrize(("logits", "reason"), [(lambda y: 4 * y, "separate"), (lambda y: 0 * y, "all logits are eq")])
def test_logits_without_a_fit_are_a_stated_omission(logits, reason: str) -> None:
    run = predictions("validation")
    frame = run.frame.assign(**{"logit:Effusion": logits(run.frame["label:Effusion"])})
    assert reason in fit_recalibration(type(run)(frame, run.metadata)).of("Effusion", "platt").left_out


def test_a_network_that_is_always_right_or_always_wrong_has_no_temperature() -> None:
    run = predictions("validation")
    for sign, reason in ((1, "has the right sign"), (-1, "is not positive")):
        columns = {f"logit:{f}": sign * (2 * run.frame[f"label:{f}"].fillna(0) - 1) for f in run.findings}
        if sign < 0:
            columns["logit:Mass"] = run.frame["logit:Mass"] * 0.01
        found = fit_recalibration(type(run)(run.frame.assign(**columns), run.metadata)).of("Mass", "temperature")
        assert reason in found.left_out


@settings(max_examples=20)
@given(st.floats(-8, 8), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_shift_of_prevalence_is_bayes_rule(logit: float, at: float, wanted: float) -> None:
    p = expit(logit)
    found = expit(shift_prevalence(np.array(logit), at, wanted))
    positive, negative = p / at * wanted, (1 - p) / (1 - at) * (1 - wanted)
    assert found == pytest.approx(positive / (positive + negative), abs=1e-12)


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.2])
def test_a_prevalence_outside_0_and_1_is_refused(wrong: float) -> None:
    with pytest.raises(PredictionsError, match=r"the wanted prevalence is .*between 0 and 1"):
        shift_prevalence(np.zeros(1), 0.5, wrong)


def test_the_file_gives_back_what_was_fitted_and_refuses_other_runs(tmp_path) -> None:
    run = predictions("validation")
    fitted = fit_recalibration(run)
    fitted.write(tmp_path / "recalibration.json")
    assert Recalibration.read(tmp_path / "recalibration.json") == fitted
    assert {each.method for each in fitted.maps} == set(METHODS)
    fitted.check_belongs(predictions("test"))
    with pytest.raises(PredictionsError, match="of the run net-seed1"):
        fitted.check_belongs(predictions("test", 1))
    with pytest.raises(PredictionsError, match="those of validation are needed"):
        fit_recalibration(predictions("test"))
    with pytest.raises(PredictionsError, match="'Nodule': not fitted; there is Effusion, Hernia, Mass"):
        fitted.of("Nodule", "platt")


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"study": 3}), '{"maps": [{"slope": NaN}]}'])
def test_a_damaged_file_is_named(tmp_path, text: str) -> None:
    path = tmp_path / "recalibration.json"
    path.write_text(text)
    with pytest.raises(PredictionsError, match=r"recalibration.json: cannot be read"):
        Recalibration.read(path)
    with pytest.raises(PredictionsError, match=r"missing.json: cannot be read"):
        Recalibration.read(tmp_path / "missing.json")


def test_a_map_is_affine_on_logits() -> None:
    found = LogitMap(method="platt", finding="Mass", intercept=-1, slope=0.5).apply(np.array([0.0, 4.0]))
    np.testing.assert_array_equal(found, [-1, 1])

"""Operating points are chosen on validation, kept in a file, and evaluated on test as scikit-learn does."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score, roc_curve
from two_sides import both_sides, known_of, predictions, relabelled

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.probability.cases import gather
from cxr_kd.evaluation.probability.confusion import (
    MEASURES,
    RAW_HALF,
    bayes,
    confusion,
    evaluate_operating_points,
    measures,
    predictive_values,
)
from cxr_kd.evaluation.probability.operating_points import RULES, OperatingPoints, choose_operating_points, thresholds
from cxr_kd.study.settings import Evaluation

FAST = Evaluation(resamples=40)


def test_thresholds_are_those_of_scikit_learn() -> None:
    labels, logits = known_of(predictions("validation"), "Mass")
    false, true, values = roc_curve(labels, logits, drop_intermediate=False)
    found, sensitivity, specificity = thresholds(labels, logits)
    np.testing.assert_array_equal(found[1:], values[1:])  # the first is above all: infinite there
    np.testing.assert_allclose(sensitivity, true, atol=1e-12)
    np.testing.assert_allclose(specificity, 1 - false, atol=1e-12)


@pytest.mark.parametrize("target", [0.5, 0.8, 0.95, 1.0])
def test_each_rule_chooses_what_it_says(target: float) -> None:
    run = predictions("validation")
    chosen = choose_operating_points(run, sensitivity=target, specificity=target)
    for finding in run.findings:
        labels, logits = known_of(run, finding)
        false, true, values = roc_curve(labels, logits, drop_intermediate=False)
        assert chosen.of(finding, "youden").logit == values[np.argmax(true - false)]
        assert chosen.of(finding, "sensitivity").logit == values[true >= target].max()
        found = chosen.of(finding, "specificity")
        possible = values[1 - false >= target - 1e-12]
        assert found.logit == possible.min() or (len(possible) == 1 and found.logit > logits.max())
        assert found.specificity == pytest.approx(np.mean(logits[labels == 0] < found.logit))
        assert found.raw_probability == expit(found.logit)


@pytest.mark.parametrize(
    ("value", "reason"), [(0.0, "validation: no positive"), (1.0, "validation: no negative"), (np.nan, "no positive")]
)
def test_a_finding_without_both_labels_has_no_point_and_says_so(value: float, reason: str) -> None:
    test, (validation,) = both_sides()
    empty = relabelled(validation, "Mass", value)
    point = choose_operating_points(empty).of("Mass", "youden")
    assert (point.logit, point.raw_probability) == (None, None)
    assert reason in point.left_out
    table = evaluate_operating_points(test, empty, FAST).set_index(["finding", "rule"])
    assert reason in table.loc[("Mass", "youden"), "left_out"]
    assert math.isnan(table.loc[("Mass", "youden"), "sensitivity"])
    assert table.loc[("Effusion", "youden"), "left_out"] == ""


def test_a_score_worse_than_chance_has_no_point_of_youden() -> None:
    run = predictions("validation")
    frame = run.frame.assign(**{"logit:Effusion": -run.frame["label:Effusion"]})
    point = choose_operating_points(type(run)(frame, run.metadata)).of("Effusion", "youden")
    assert point.left_out == "validation: no threshold is better than chance"


def test_measures_equal_those_of_scikit_learn_with_weights() -> None:
    (scored,) = gather(*both_sides(), FAST).scored("Mass")
    called = scored.logits >= 0.1
    found = measures(confusion(scored, 0.1))
    for resample in (0, 1, 5, 40):
        weights = {"sample_weight": scored.weights[scored.patients, resample]}
        y = scored.labels
        expected = (
            recall_score(y, called, **weights), recall_score(1 - y, ~called, **weights),
            precision_score(y, called, **weights), precision_score(1 - y, ~called, **weights),
            accuracy_score(y, called, **weights), f1_score(y, called, **weights),
        )  # fmt: skip
        np.testing.assert_allclose(found[:, resample], expected, atol=1e-12)


def test_each_seed_uses_its_own_threshold_and_the_mean_is_reported() -> None:
    test, validation = both_sides((0, 1))
    table = evaluate_operating_points(test, validation, FAST, sensitivity=0.8).set_index(["finding", "rule"])
    each = []
    for run, own in zip(test, validation, strict=True):
        labels, logits = known_of(run, "Mass")
        called = logits >= choose_operating_points(own, sensitivity=0.8).of("Mass", "sensitivity").logit
        each.append((recall_score(labels, called), precision_score(labels, called), called.sum()))
    row = table.loc["Mass", "sensitivity"]
    np.testing.assert_allclose(row[["sensitivity", "ppv", "called"]].astype(float), np.mean(each, axis=0), atol=1e-12)
    assert (row["target"], row["interval"]) == (0.8, "patients and trainings")
    assert len(table) == 3 * (len(RULES) + 1)
    for measure in MEASURES:
        assert 0 <= row[f"{measure}_low"] <= row[measure] <= row[f"{measure}_high"] <= 1


def test_what_no_finding_for_everyone_scores_and_what_half_a_score_calls_is_in_the_table() -> None:
    (test,), validation = both_sides()
    shifted = type(test)(test.frame.assign(**{"logit:Mass": test.frame["logit:Mass"] + 2}), test.metadata)
    table = evaluate_operating_points(shifted, validation, FAST).set_index(["finding", "rule"])
    labels, logits = known_of(shifted, "Mass")
    row = table.loc["Mass", RAW_HALF]
    assert row["called"] == (expit(logits) >= 0.5).sum() > 2 * row["positives"]
    assert row["accuracy_no_finding"] == pytest.approx(accuracy_score(labels, np.zeros_like(labels)), abs=1e-12)
    assert row["f1_no_finding"] == f1_score(labels, np.zeros_like(labels)) == 0
    assert (table.loc["Hernia", "left_out"] == "4 positives, fewer than 10").all()


@settings(max_examples=20)
@given(st.floats(0.05, 1), st.floats(0.05, 1), st.floats(0.01, 0.99))
def test_predictive_values_at_a_prevalence_are_those_of_a_made_up_population(se: float, sp: float, at: float) -> None:
    ppv, npv = bayes(np.array(se), np.array(sp), np.array(at))
    true, false, clear, missed = se * at, (1 - sp) * (1 - at), sp * (1 - at), (1 - se) * at
    assert ppv == pytest.approx(true / (true + false), abs=1e-12)
    assert npv == pytest.approx(clear / (clear + missed), abs=1e-12)


def test_at_the_prevalence_of_the_test_side_the_predictive_values_are_those_measured() -> None:
    test, validation = both_sides()
    measured = evaluate_operating_points(test, validation, FAST).set_index(["finding", "rule"])
    at = float(measured.loc[("Mass", "youden"), "prevalence"])
    moved = predictive_values(test, validation, FAST, prevalences=[at / 10, at]).set_index(["finding", "rule"])
    rows = moved.loc[("Mass", "youden")]
    assert rows["ppv"].iloc[1] == pytest.approx(measured.loc[("Mass", "youden"), "ppv"], abs=1e-12)
    assert rows["npv"].iloc[1] == pytest.approx(measured.loc[("Mass", "youden"), "npv"], abs=1e-12)
    assert rows["ppv"].iloc[0] < rows["ppv"].iloc[1]
    assert rows["npv"].iloc[0] > rows["npv"].iloc[1]


def test_bad_targets_and_prevalences_are_refused() -> None:
    test, validation = both_sides()
    with pytest.raises(PredictionsError, match="the wanted specificity is 0"):
        choose_operating_points(validation[0], specificity=0)
    with pytest.raises(PredictionsError, match="those of validation are needed"):
        choose_operating_points(test[0])
    with pytest.raises(PredictionsError, match=r"the prevalence 1\.0 is not between"):
        predictive_values(test, validation, FAST, prevalences=[0.1, 1.0])


def test_the_file_gives_back_the_points(tmp_path) -> None:
    run = relabelled(predictions("validation"), "Mass", 0.0)
    chosen = choose_operating_points(run)
    chosen.write(tmp_path / "operating-points.json")
    assert OperatingPoints.read(tmp_path / "operating-points.json") == chosen
    chosen.check_belongs(predictions("test"))
    with pytest.raises(PredictionsError, match="of the run net-seed3"):
        chosen.check_belongs(predictions("test", 3))
    with pytest.raises(PredictionsError, match="'Nodule': not chosen"):
        chosen.of("Nodule", "youden")

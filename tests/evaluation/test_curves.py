"""Curves go through the points of scikit-learn's, their bands through those of the resamples."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve, roc_curve
from two_sides import both_sides, known_of, relabelled

from cxr_kd.evaluation.probability import curves
from cxr_kd.evaluation.probability.cases import gather
from cxr_kd.evaluation.probability.curves import GRID, precision_recall_curves, roc_curves
from cxr_kd.evaluation.probability.probability_curves import (
    CURVE_BINS,
    HISTOGRAM,
    probability_distributions,
    reliability_curves,
    smooth_curve,
)
from cxr_kd.evaluation.resampling import interval
from cxr_kd.study.settings import Evaluation

FAST = Evaluation(resamples=40)


def roc_oracle(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    false, true, _ = roc_curve(labels, logits, sample_weight=weights)
    return np.array([np.interp(x, false, true) if x > 0 else true[false == 0].max() for x in GRID])


def precision_oracle(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    precision, recall, _ = precision_recall_curve(labels, logits, sample_weight=weights)
    precision, recall = precision[:-1][::-1], recall[:-1][::-1]  # without the end that has no threshold
    precision, recall = precision[recall > 0], recall[recall > 0]
    return np.array([precision[np.flatnonzero(recall >= x - 1e-12)[0]] for x in GRID])


@pytest.mark.parametrize(
    ("table", "column", "oracle"),
    [(roc_curves, "sensitivity", roc_oracle), (precision_recall_curves, "precision", precision_oracle)],
)
def test_curves_and_bands_equal_those_of_scikit_learn(table, column: str, oracle) -> None:
    test, _ = both_sides()
    rows = table(test, FAST).set_index("finding").loc["Mass"]
    labels, logits = known_of(test[0], "Mass")
    np.testing.assert_allclose(rows[column], oracle(labels, logits), atol=1e-12)
    (scored,) = gather(test, None, FAST).scored("Mass")
    weights = scored.weights[scored.patients][:, 1:].T
    resampled = np.stack([oracle(labels[w > 0], logits[w > 0], w[w > 0]) for w in weights], axis=1)
    np.testing.assert_allclose(rows[[f"{column}_low", f"{column}_high"]].T, interval(resampled), atol=1e-12)


def test_fewer_thresholds_move_the_bands_only_a_little(monkeypatch) -> None:
    test, _ = both_sides((0, 1), images=600)
    exact = roc_curves(test, FAST)
    monkeypatch.setattr(curves, "THRESHOLDS", 25)
    coarse = roc_curves(test, FAST)
    np.testing.assert_array_equal(exact["sensitivity"], coarse["sensitivity"])
    difference = (exact["sensitivity_low"] - coarse["sensitivity_low"]).abs()
    assert 0 < difference.max() < 0.1
    assert difference.mean() < 0.01


def test_a_left_out_finding_has_one_row_with_its_reason() -> None:
    test, validation = both_sides()
    tables = [roc_curves(test, FAST), precision_recall_curves(test, FAST)]
    tables += [table(test, validation, FAST, ["raw"]) for table in (reliability_curves, probability_distributions)]
    for table in tables:
        rows = table[table["finding"] == "Hernia"]
        assert rows["left_out"].tolist() == ["4 positives, fewer than 10"]
        assert len(table[table["finding"] == "Mass"]) > 10


def test_bins_of_the_reliability_curve_are_those_of_scikit_learn() -> None:
    test, validation = both_sides()
    table = reliability_curves(test, validation, FAST, ["raw"])
    rows = table[(table["finding"] == "Mass") & (table["curve"] == "bins")]
    labels, logits = known_of(test[0], "Mass")
    observed, predicted = calibration_curve(labels, expit(logits), n_bins=CURVE_BINS, strategy="quantile")
    np.testing.assert_allclose(rows["observed"], observed, atol=1e-12)
    np.testing.assert_allclose(rows["predicted"], predicted, atol=1e-12)
    assert rows["share"].sum() == pytest.approx(1)
    assert (rows["observed_low"] <= rows["observed_high"]).all()


def test_the_smooth_curve_is_a_kernel_average_in_every_resample() -> None:
    (scored,) = gather(both_sides()[0], None, FAST).scored("Mass")
    points = np.array([-2.0, 0.0, 1.5])
    found = smooth_curve(scored, scored.logits, points)
    rarer = min(scored.labels.sum(), len(scored.labels) - scored.labels.sum())
    width = scored.logits.std() * rarer**-0.2
    for resample in (0, 3):
        times = scored.weights[scored.patients, resample].astype(int)
        labels, logits = np.repeat(scored.labels, times), np.repeat(scored.logits, times)
        for k, point in enumerate(points):
            kernel = np.exp(-((point - logits) ** 2) / (2 * width**2))
            assert found[k, resample] == pytest.approx(np.average(labels, weights=kernel), abs=1e-12)


def test_distributions_are_histograms_that_sum_to_one() -> None:
    test, validation = both_sides((0, 1))
    table = probability_distributions(test, validation, FAST)
    labels, _ = known_of(test[0], "Mass")
    for value, label in enumerate(("negative", "positive")):
        raw = table["probabilities"] == "raw"
        rows = table[(table["finding"] == "Mass") & (table["label"] == label) & raw]
        counts = [np.histogram(known_of(run, "Mass")[1][labels == value].clip(-9.9, 5.9), HISTOGRAM)[0] for run in test]
        np.testing.assert_allclose(rows["share"], np.mean(counts, axis=0) / (labels == value).sum(), atol=1e-12)
        assert rows["share"].sum() == pytest.approx(1)
        assert (rows["share_low"] >= 0).all()


def test_a_validation_side_without_a_positive_leaves_only_the_raw_curves() -> None:
    test, (validation,) = both_sides()
    empty = relabelled(validation, "Mass", 0.0)
    for table in (reliability_curves(test, empty, FAST), probability_distributions(test, empty, FAST)):
        rows = table[table["finding"] == "Mass"].set_index("probabilities")
        assert rows.loc[["platt"], "left_out"].tolist() == ["validation: no positive"]
        assert (rows.loc[["raw"], "left_out"] == "").all()

"""Calibration measures equal those of independent libraries, in the estimate and in every resample."""

import numpy as np
import pytest
import relplot
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from two_sides import both_sides, known_of, relabelled

from cxr_kd.evaluation.probability.calibration import (
    MEASURES,
    Binned,
    brier,
    ece_if_calibrated,
    equal_count_bins,
    equal_width_bins,
    evaluate_calibration,
)
from cxr_kd.evaluation.probability.cases import Scored, gather
from cxr_kd.evaluation.probability.logistic import ResampledLogistic, fit_line
from cxr_kd.evaluation.probability.recalibration import METHODS, fit_recalibration
from cxr_kd.evaluation.probability.smooth_ece import resampled_smooth_ece, smooth_ece
from cxr_kd.study.settings import Evaluation

FAST = Evaluation(resamples=40)
TIED = np.round(np.random.default_rng(3).beta(1, 4, 400), 2)  # with 0 and ties
DRAWN = (np.random.default_rng(4).random(400) < TIED**1.3).astype(float)
TIMES = np.random.default_rng(5).integers(0, 4, 400)


def weighted(labels: np.ndarray, logits: np.ndarray, times: np.ndarray) -> Scored:
    """Each image is a patient of its own: once, then `times`."""
    return Scored(labels, logits, np.arange(len(labels)), np.stack([np.ones(len(labels)), times], axis=1).astype(float))


def test_ece_equals_that_of_scikit_learn_and_relplot_with_ties_and_weights() -> None:
    scored = weighted(DRAWN, TIED, TIMES)
    counts = Binned.of(scored, TIED, equal_count_bins(TIED, 15)).ece()
    observed, predicted = calibration_curve(DRAWN, TIED, n_bins=15, strategy="quantile")
    sizes = np.bincount(equal_count_bins(TIED, 15))
    assert counts[0] == pytest.approx(np.abs(observed - predicted) @ sizes[sizes > 0] / 400, abs=1e-12)
    widths = Binned.of(scored, TIED, equal_width_bins(TIED, 8)).ece()  # 1/8 is exact in floating point
    assert widths[0] == pytest.approx(relplot.metrics.binnedECE(TIED, DRAWN, nbins=8), abs=1e-12)
    repeated = relplot.metrics.binnedECE(np.repeat(TIED, TIMES), np.repeat(DRAWN, TIMES), nbins=8)
    assert widths[1] == pytest.approx(repeated, abs=1e-12)


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.02])
def test_smooth_ece_equals_that_of_its_authors_with_ties_and_weights(scale: float) -> None:
    found, width = smooth_ece(DRAWN, scale * TIED)
    expected, expected_width = relplot.smECE(scale * TIED, DRAWN, return_width=True)
    assert (found, width) == (pytest.approx(expected, abs=1e-12), expected_width)
    repeated = relplot.smECE(np.repeat(scale * TIED, TIMES), np.repeat(DRAWN, TIMES))
    assert smooth_ece(DRAWN, scale * TIED, TIMES)[0] == pytest.approx(repeated, abs=1e-12)


def test_resampled_smooth_ece_is_that_of_the_repeated_images_at_the_same_width() -> None:
    found, (exact, width) = resampled_smooth_ece(weighted(DRAWN, TIED, TIMES), TIED), smooth_ece(DRAWN, TIED)
    assert found[0] == pytest.approx(exact, abs=1e-15)
    oracle = relplot.metrics.smECE_sigma(np.repeat(TIED, TIMES), np.repeat(DRAWN, TIMES), width)
    assert found[1] == pytest.approx(oracle, abs=2e-3)
    assert abs(oracle - exact) > 4e-3  # so that the agreement means something


def test_the_brier_score_equals_that_of_scikit_learn_and_its_parts_add_up() -> None:
    bins = equal_count_bins(TIED)
    scored = weighted(DRAWN, TIED, TIMES)
    parts = brier(scored, TIED, Binned.of(scored, TIED, bins))
    assert parts[0, 0] == pytest.approx(brier_score_loss(DRAWN, TIED), abs=1e-12)
    assert parts[0, 1] == pytest.approx(brier_score_loss(DRAWN, TIED, sample_weight=TIMES), abs=1e-12)
    score, reliability, resolution, uncertainty, within = parts
    np.testing.assert_allclose(score, reliability - resolution + uncertainty + within, atol=1e-14)
    labels, p, groups = (np.repeat(each, TIMES) for each in (DRAWN, TIED, bins))
    each = [(labels[groups == k], p[groups == k]) for k in set(groups)]
    expected = sum(len(y) * (y.mean() - labels.mean()) ** 2 for y, _ in each) / len(labels)
    assert resolution[1] == pytest.approx(expected, abs=1e-12)
    expected = sum(len(y) * (y.mean() - q.mean()) ** 2 for y, q in each) / len(labels)
    assert reliability[1] == pytest.approx(expected, abs=1e-12)
    assert uncertainty[1] == pytest.approx(labels.mean() * (1 - labels.mean()), abs=1e-12)


def test_nothing_lies_within_bins_of_equal_probabilities() -> None:
    p = np.repeat([0.1, 0.3, 0.8], 50)
    labels = (np.random.default_rng(0).random(150) < p).astype(float)
    scored = weighted(labels, p, np.ones(150))
    assert brier(scored, p, Binned.of(scored, p, np.repeat([0, 1, 2], 50)))[4] == pytest.approx(0, abs=1e-15)


def test_intercept_and_slope_of_every_resample_are_those_of_a_glm() -> None:
    (scored,) = gather(*both_sides(), FAST).scored("Effusion")
    fit = ResampledLogistic(scored)
    line, intercept = fit.line(), fit.intercept(0.3, 0.8)
    columns = sm.add_constant(scored.logits)
    for resample in (0, 1, 2, 17):
        times = scored.weights[scored.patients, resample]
        family = {"family": sm.families.Binomial(), "freq_weights": times}
        tolerance = 1e-9 if resample == 0 else 2e-3  # a hundredth of the standard error
        np.testing.assert_allclose(line[:, resample], sm.GLM(scored.labels, columns, **family).fit().params,
                                   atol=tolerance)  # fmt: skip
        oracle = sm.GLM(scored.labels, columns[:, :1], offset=0.3 + 0.8 * scored.logits, **family).fit().params[0]
        assert intercept[resample] == pytest.approx(oracle, abs=tolerance)
    assert line.std(axis=1).min() > 0.05


@settings(max_examples=3)
@given(st.integers(0, 10_000))
def test_recalibration_on_the_same_images_is_calibrated(seed: int) -> None:
    """Platt's equations are those of intercept 0, slope 1 and observed = expected."""
    (test,), (validation,) = both_sides((seed,))
    same = type(test)(
        validation.frame.assign(patient_id=[f"other {p}" for p in validation.patients]),
        validation.metadata.model_copy(update={"side": "test"}),
    )
    table = evaluate_calibration(same, validation, Evaluation(resamples=20), ["platt"]).set_index("finding")
    found = table.loc[["Effusion", "Mass"], ["intercept", "slope", "observed_expected"]]
    np.testing.assert_allclose(found, [[0, 1, 1]] * 2, atol=1e-7)


def test_the_table_has_each_finding_and_method_and_its_line_is_that_of_the_recalibrated_logits() -> None:
    test, validation = both_sides((0, 1))
    table = evaluate_calibration(test, validation, FAST).set_index(["finding", "probabilities"])
    assert len(table) == 3 * len(METHODS)
    labels, _ = known_of(test[0], "Mass")
    slopes = []
    for run, own in zip(test, validation, strict=True):
        mapped = fit_recalibration(own).of("Mass", "platt")
        slopes.append(fit_line(labels, mapped.apply(known_of(run, "Mass")[1]))[1])
    row = table.loc["Mass", "platt"]
    assert row["slope"] == pytest.approx(np.mean(slopes), abs=1e-9)
    assert (row["interval"], row["unknown"]) == ("patients and trainings", 20)
    for measure in MEASURES:
        assert row[f"{measure}_low"] <= row[f"{measure}_high"]
        assert row[f"{measure}_se_trainings"] >= 0
    hernia = table.loc["Hernia"]
    assert (hernia["left_out"] == "4 positives, fewer than 10").all()
    assert hernia[list(MEASURES)].isna().all(axis=None)


def test_a_validation_side_without_a_positive_leaves_out_what_it_cannot_fit() -> None:
    test, (validation,) = both_sides()
    table = evaluate_calibration(test, relabelled(validation, "Mass", 0.0), FAST).set_index(
        ["finding", "probabilities"]
    )
    assert table.loc[("Mass", "platt"), "left_out"] == "validation: no positive"
    assert np.isnan(table.loc[("Mass", "platt"), "ece"])
    assert table.loc[("Mass", "raw"), "left_out"] == ""
    assert np.isfinite(table.loc[("Mass", "temperature"), "ece"])


def test_equal_logits_have_no_slope_and_say_so() -> None:
    (test,), validation = both_sides()
    flat = type(test)(test.frame.assign(**{"logit:Mass": -1.0}), test.metadata)
    row = evaluate_calibration(flat, validation, FAST, ["raw"]).set_index("finding").loc["Mass"]
    assert row["left_out"] == "all logits are equal"
    assert np.isnan(row["slope"])


def test_the_ece_that_chance_gives_is_the_mean_over_drawn_labels() -> None:
    p = expit(np.random.default_rng(1).normal(-2, 1, 2000))
    bins, random = equal_count_bins(p), np.random.default_rng(2)
    drawn = [np.abs(np.bincount(bins, p - (random.random(2000) < p))).sum() / 2000 for _ in range(300)]
    assert ece_if_calibrated(p, bins) == pytest.approx(np.mean(drawn), rel=0.05)

"""Net benefit equals that of dcurves, with ties and weights, and says which probabilities it uses."""

import dcurves
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from two_sides import both_sides, known_of, relabelled

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.probability.cases import Scored, gather
from cxr_kd.evaluation.probability.net_benefit import THRESHOLDS, decision_curves, net_benefit
from cxr_kd.evaluation.probability.recalibration import fit_recalibration
from cxr_kd.study.settings import Evaluation

FAST = Evaluation(resamples=40)
SOME = np.array([0.01, 0.1, 0.25, 0.5, 0.8, 0.99])  # probabilities are multiples of 0.05: some are thresholds


def oracle(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    data = pd.DataFrame({"finding": labels, "net": probabilities})
    table = dcurves.dca(data=data, outcome="finding", modelnames=["net"], thresholds=SOME).set_index("model")
    return table.loc["net", "net_benefit"].to_numpy(), table.loc["all", "net_benefit"].to_numpy()


def test_net_benefit_equals_that_of_dcurves_with_ties_and_weights() -> None:
    random = np.random.default_rng(0)
    p = random.integers(0, 21, 300) / 20
    labels, times = (random.random(300) < p).astype(float), random.integers(0, 4, 300)
    scored = Scored(labels, p, np.arange(300), np.stack([np.ones(300), times], axis=1).astype(float))
    found, everyone = net_benefit(scored, p, SOME)
    for weighting, repeats in ((0, np.ones(300, int)), (1, times)):
        expected, expected_all = oracle(np.repeat(labels, repeats), np.repeat(p, repeats))
        np.testing.assert_allclose(found[:, weighting], expected, atol=1e-12)
        np.testing.assert_allclose(everyone[:, weighting], expected_all, atol=1e-12)


def test_the_curve_of_several_seeds_is_the_mean_of_their_recalibrated_curves() -> None:
    test, validation = both_sides((0, 1))
    table = decision_curves(test, validation, FAST, thresholds=SOME[::-1])
    for method in ("raw", "platt"):
        rows = table[(table["finding"] == "Mass") & (table["probabilities"] == method)]
        each = []
        for run, own in zip(test, validation, strict=True):
            labels, logits = known_of(run, "Mass")
            mapped = fit_recalibration(own).of("Mass", method)
            each.append(oracle(labels, expit(mapped.apply(logits)))[0])
        np.testing.assert_array_equal(rows["threshold"], SOME)
        np.testing.assert_allclose(rows["net_benefit"], np.mean(each, axis=0), atol=1e-12)
        better = np.maximum(rows["net_benefit_all"], 0)
        np.testing.assert_allclose(rows["advantage"], rows["net_benefit"] - better, atol=1e-12)
        assert (rows["net_benefit_low"] <= rows["net_benefit_high"]).all()
    assert table[table["finding"] == "Mass"].groupby("probabilities")["net_benefit"].sum().nunique() == 2


def test_net_benefit_is_at_most_the_prevalence_and_close_to_it_at_low_thresholds() -> None:
    table = decision_curves(*both_sides(), FAST, methods=["raw"])
    for _, rows in table[table["left_out"] == ""].groupby("finding"):
        assert len(rows) == len(THRESHOLDS)
        assert (rows["net_benefit"] <= rows["prevalence"]).all()
        assert rows["net_benefit"].iloc[0] == pytest.approx(rows["net_benefit_all"].iloc[0])


def test_what_cannot_be_drawn_is_one_row_with_the_reason() -> None:
    test, (validation,) = both_sides()
    table = decision_curves(test, relabelled(validation, "Mass", 0.0), FAST).set_index(["finding", "probabilities"])
    assert table.loc[[("Mass", "platt")], "left_out"].tolist() == ["validation: no positive"]
    assert table.loc[[("Hernia", "raw")], "left_out"].tolist() == ["4 positives, fewer than 10"]
    assert len(table.loc[[("Mass", "raw")]]) == len(THRESHOLDS)


@pytest.mark.parametrize("wrong", [0.0, 1.0, 1.5])
def test_a_threshold_outside_0_and_1_is_refused(wrong: float) -> None:
    with pytest.raises(PredictionsError, match="not between 0 and 1"):
        decision_curves(*both_sides(), FAST, thresholds=[0.5, wrong])


def test_a_resample_without_positives_counts() -> None:
    cases = gather(*both_sides(), FAST)
    (scored,) = cases.scored("Hernia")
    empty = np.flatnonzero(scored.sums(scored.labels[None])[0] == 0)
    assert len(empty)
    assert (net_benefit(scored, expit(scored.logits), SOME)[0][:, empty] <= 0).all()

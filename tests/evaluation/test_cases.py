"""Cases hold the known labels of both sides of the same runs, and refuse anything else."""

import numpy as np
import pytest
from two_sides import both_sides, predictions, relabelled

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.mrmc import OVER_BOTH, OVER_PATIENTS, infer
from cxr_kd.evaluation.probability.cases import gather
from cxr_kd.evaluation.resampling import interval
from cxr_kd.evaluation.seed_intervals import SHARE, interval_kind, summarise
from cxr_kd.evaluation.uncertainty import evaluate
from cxr_kd.study.settings import Evaluation

FAST = Evaluation(resamples=30)


def test_unknown_labels_are_masked_and_counted_and_rare_findings_are_named() -> None:
    test, validation = both_sides()
    cases = gather(test, validation, FAST)
    counts = cases.counts.set_index("finding")
    assert counts.loc["Mass", ["images", "unknown"]].tolist() == [220, 20]
    assert counts.loc["Hernia", "left_out"] == "4 positives, fewer than 10"
    reasons = evaluate(test, FAST).set_index("finding")["left_out"]
    assert cases.left_out == {finding: reasons[finding] for finding in cases.left_out}
    (scored,) = cases.scored("Mass")
    assert len(scored.labels) == len(scored.logits) == 220


@pytest.mark.parametrize(
    ("value", "reason"),
    [(0.0, "0 positives, fewer than 10"), (1.0, "0 negatives, fewer than 10"), (np.nan, "0 positives, fewer than 10")],
)
def test_a_finding_of_one_label_or_none_is_left_out(value: float, reason: str) -> None:
    test, validation = both_sides()
    cases = gather(relabelled(test[0], "Mass", value), validation, FAST)
    assert cases.left_out["Mass"] == reason
    assert cases.rows("Mass", {"value": np.nan}).iloc[0]["left_out"] == reason


def test_sums_are_those_of_repeated_images() -> None:
    cases = gather(*both_sides(), FAST)
    (scored,) = cases.scored("Mass")
    bins = (scored.logits > 0).astype(int)
    for resample in (0, 1, 7):
        times = scored.weights[scored.patients, resample].astype(int)
        labels = np.repeat(scored.labels, times)
        assert scored.sums(scored.labels[None])[0, resample] == labels.sum()
        expected = np.bincount(np.repeat(bins, times), labels, 2)
        np.testing.assert_array_equal(scored.binned(bins, 2, scored.labels)[:, resample], expected)


@pytest.mark.parametrize(
    ("test", "validation", "message"),
    [
        ([], [], "no predictions of the test side"),
        ([predictions("test")], [], "validation side of no run"),
        ([predictions("test")], [predictions("validation", 1)], "both sides of the same runs"),
        ([predictions("test")], [predictions("test")], "of the test side; those of validation are needed"),
        ([predictions("test")], [predictions("validation", split_sha256="cd" * 32)], "the split or the findings"),
        ([predictions("test"), predictions("test", 1, images=220)], None, "image_id differs"),
    ],
)
def test_other_runs_sides_and_splits_are_refused(test, validation, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        gather(test, validation, FAST)


def test_patients_on_both_sides_are_refused() -> None:
    test, validation = both_sides()
    frame = validation[0].frame.assign(patient_id=["test-p0", *validation[0].frame["patient_id"][1:]])
    with pytest.raises(PredictionsError, match=r"1 patients are on both sides \(first: test-p0\)"):
        gather(test, type(validation[0])(frame, validation[0].metadata), FAST)


def test_one_seed_has_percentiles_and_several_have_the_interval_over_trainings() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, (3, 4, 101))
    one = summarise("x", values[:1], SHARE)
    np.testing.assert_array_equal([one["x_low"], one["x_high"]], interval(values[0, :, 1:]))
    several, expected = summarise("x", values, errors=True), infer(values[..., 0], values[..., 1:])
    np.testing.assert_array_equal(several["x"], values[..., 0].mean(axis=0))
    np.testing.assert_array_equal(several["x_low"], expected.low)
    np.testing.assert_array_equal(several["x_se_trainings"], expected.se_trainings)
    assert (interval_kind(1), interval_kind(3)) == (OVER_PATIENTS, OVER_BOTH)


def test_the_interval_of_a_distance_is_freed_of_what_chance_adds() -> None:
    """The mean of |normal| with a true distance of 1: an upward shift of the resamples moves the interval down."""
    values = np.full((2, 201), 1.0)
    values[:, 1:] += 0.3 + np.linspace(-0.1, 0.1, 200)
    one, two = summarise("x", values[:1], distance=True), summarise("x", values, distance=True)
    assert (one["x_low"], one["x_high"]) == (pytest.approx(0.605, abs=1e-3), pytest.approx(0.795, abs=1e-3))
    assert (two["x_low"] + two["x_high"]) / 2 == pytest.approx(0.7)

"""DeLong's variance agrees with another package, with Obuchowski's formulas by brute force, and with the bootstrap."""

from itertools import product

import numpy as np
import pauc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.bootstrap import bootstrap, bootstrap_difference
from cxr_kd.evaluation.delong import DeLong, delong, logit_interval, mean_over_findings, p_value, wald_interval
from cxr_kd.evaluation.metrics import auroc
from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata
from cxr_kd.study.settings import Evaluation

SIZES = st.tuples(st.integers(8, 60), st.integers(2, 12), st.integers(0, 1), st.integers(0, 2**32 - 1))


def images(count: int = 400, patients: int = 90, seed: int = 0, digits: int = 1) -> tuple[np.ndarray, ...]:
    """Labels (N,) with NaN, scores (N, 2) with ties, patients (N,); images of a patient are alike."""
    random = np.random.default_rng(seed)
    patient = random.integers(0, patients, count)
    trait = random.normal(size=(patients, 3))[patient]
    labels = (trait[:, 0] + random.normal(size=count) > 1.2).astype(float)
    scores = labels[:, None] * [1.0, 1.3] + 0.7 * trait[:, 1:] + random.normal(size=(count, 2))
    labels[random.random(count) < 0.1] = np.nan
    return labels, np.round(scores, digits), patient


def obuchowski(labels: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> np.ndarray:
    """The covariance matrix (K, K) as section 2 of Obuchowski (1997) writes it, with a loop over all pairs."""
    one, zero = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    names, networks = sorted(set(patients[~np.isnan(labels)])), range(scores.shape[1])
    wins = np.array([[[(a > b) + 0.5 * (a == b) for b in scores[zero, k]] for a in scores[one, k]] for k in networks])
    theta = wins.mean(axis=(1, 2))
    of_one, of_zero = wins.mean(axis=2), wins.mean(axis=1)  # structural components V10 and V01
    sums = {name: ([of_one[:, patients[one] == name].sum(axis=1), of_zero[:, patients[zero] == name].sum(axis=1)],
                   [(patients[one] == name).sum(), (patients[zero] == name).sum()]) for name in names}  # fmt: skip
    sizes = [len(set(patients[one])), len(set(patients[zero])), len(names)]
    m, n, covariance = len(one), len(zero), np.zeros((len(theta), len(theta)))
    for k, l in product(networks, networks):  # noqa: E741
        s10 = s01 = s11 = 0.0
        for (v10, v01), (count10, count01) in sums.values():
            s10 += (v10[k] - count10 * theta[k]) * (v10[l] - count10 * theta[l])
            s01 += (v01[k] - count01 * theta[k]) * (v01[l] - count01 * theta[l])
            s11 += (v10[k] - count10 * theta[k]) * (v01[l] - count01 * theta[l])
            s11 += (v10[l] - count10 * theta[l]) * (v01[k] - count01 * theta[k])
        s10 *= sizes[0] / ((sizes[0] - 1) * m)
        s01 *= sizes[1] / ((sizes[1] - 1) * n)
        s11 *= sizes[2] / (sizes[2] - 1)
        covariance[k, l] = s10 / m + s01 / n + s11 / (m * n)
    return covariance


def predictions(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, run: str, findings: tuple[str, ...]
) -> Predictions:
    known = {"study": "tiny", "dataset": "phantom", "kind": "phantom", "network": "densenet121", "run": run}
    split = {"split": "official", "split_sha256": "ab" * 32, "side": "test", "split_sides": {}, "findings": findings}
    metadata = PredictionsMetadata.model_validate({**known, **split})
    names = [f"p{each}" for each in patients]
    return Predictions.from_arrays([f"i{i}" for i in range(len(labels))], names, labels, scores, metadata)


@pytest.mark.parametrize("digits", [0, 1, 9])
def test_agrees_with_pauc_where_each_patient_has_one_image(digits: int) -> None:
    labels, scores, _ = images(digits=digits)
    known = ~np.isnan(labels)
    result = delong(labels, scores, np.arange(len(labels)))
    curves = [pauc.ROC(labels[known], scores[known, k], direction="<") for k in (0, 1)]
    variances = [pauc.var(curve) for curve in curves]
    expected = np.array([[variances[0], pauc.cov(*curves)], [pauc.cov(*curves), variances[1]]])
    np.testing.assert_allclose(result.auroc, [curve.auc for curve in curves], atol=1e-12)
    np.testing.assert_allclose(result.covariance, expected, rtol=1e-10)
    low, high = wald_interval(result.auroc, result.standard_error)
    np.testing.assert_allclose([low, high], np.transpose([pauc.ci_auc(curve) for curve in curves]), atol=1e-10)
    difference, theirs = result.combined([-1, 1]), pauc.compare(curves[1], curves[0])
    assert difference.auroc[0] == pytest.approx(theirs.estimate, abs=1e-10)
    assert difference.auroc[0] / difference.standard_error[0] == pytest.approx(theirs.stat, rel=1e-10)
    assert p_value(difference.auroc, difference.standard_error) == pytest.approx(theirs.p_value, abs=1e-10)


@settings(max_examples=40, deadline=None)
@given(SIZES)
def test_agrees_with_the_formulas_of_obuchowski_by_brute_force(sizes: tuple[int, int, int, int]) -> None:
    labels, scores, patients = images(*sizes[:2], seed=sizes[3], digits=sizes[2])
    result = delong(labels, scores, patients)
    np.testing.assert_allclose(result.auroc, auroc(np.stack([labels] * 2, axis=1), scores), atol=1e-12)
    fewest = min(len(set(patients[labels == side])) for side in (0, 1))
    if fewest < 2:
        assert np.isnan(result.covariance).all()
        return
    np.testing.assert_allclose(result.covariance, obuchowski(labels, scores, patients), rtol=1e-9, atol=1e-12)
    assert np.linalg.eigvalsh(result.covariance).min() > -1e-12
    np.testing.assert_array_equal(result.degrees, fewest - 1)
    np.testing.assert_allclose(result.influence.sum(axis=0), 0, atol=1e-12)


def test_the_standard_error_is_about_that_of_the_bootstrap_over_patients() -> None:
    first, second, patients = images(1500, 400, seed=1)
    third, fourth, _ = images(1500, 400, seed=2)
    labels, findings = np.stack([first, third], axis=1), ("Effusion", "Mass")
    scores = [np.stack([second[:, k], fourth[:, k]], axis=1) for k in (0, 1)]
    runs = [predictions(labels, scores[k], patients, f"densenet121-seed{k}", findings) for k in (0, 1)]
    how = Evaluation(resamples=1000)
    ours = [delong(first, second, patients), delong(third, fourth, patients)]
    ours.append(mean_over_findings(ours))
    for weights, theirs in (([1, 0], bootstrap(runs[0], how)), ([-1, 1], bootstrap_difference(*runs, how))):
        combined = [each.combined(weights) for each in ours[:2]]
        combined.append(mean_over_findings(combined))
        np.testing.assert_allclose([each.auroc[0] for each in combined], theirs.estimates[0, 0], atol=1e-12)
        np.testing.assert_allclose(ours[2].combined(weights).covariance, combined[2].covariance, rtol=1e-10)
        # 1,000 resamples give a standard error to 2.2 %; the two methods differ by about 1 / (positive patients).
        error = theirs.resampled[0, 0].std(axis=1, ddof=1)
        np.testing.assert_allclose([each.standard_error[0] for each in combined], error, rtol=0.08)


def test_a_mean_of_a_finding_with_itself_is_the_finding_and_seeds_are_averaged() -> None:
    result = delong(*images())
    twice = mean_over_findings([result, result])
    np.testing.assert_allclose(twice.influence, result.influence)
    np.testing.assert_allclose(mean_over_findings([result]).covariance, result.covariance)
    np.testing.assert_allclose(mean_over_findings([result]).degrees, result.degrees)
    mean = result.combined([0.5, 0.5])
    assert mean.auroc[0] == pytest.approx(result.auroc.mean())
    assert mean.covariance[0, 0] == pytest.approx(result.covariance.mean())
    both = result.combined([[1, 0.5], [0, 0.5]])
    np.testing.assert_allclose(both.auroc, [result.auroc[0], mean.auroc[0]])
    with pytest.raises(PredictionsError, match="same patients and networks"):
        mean_over_findings([result, delong(*images(300))])
    with pytest.raises(PredictionsError, match="at least one"):
        mean_over_findings([])


def test_the_result_depends_neither_on_the_order_of_images_nor_on_ids_nor_on_the_scale_of_scores() -> None:
    labels, scores, patients = images()
    order = np.random.default_rng(3).permutation(len(labels))
    names = np.array([f"p{each}" if each % 2 else each for each in patients], dtype=object)  # cannot be sorted
    expected = delong(labels, scores, patients)
    for other in (delong(labels[order], scores[order], patients[order]), delong(labels, np.exp(scores), names)):
        np.testing.assert_allclose(other.auroc, expected.auroc)
        np.testing.assert_allclose(other.covariance, expected.covariance)
    swapped = delong(1 - labels, scores, patients)
    np.testing.assert_allclose(swapped.auroc, 1 - expected.auroc)
    np.testing.assert_allclose(swapped.covariance, expected.covariance)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_no_positive_or_no_negative_image_gives_nan(value: float) -> None:
    result = delong(np.array([value, value, np.nan]), np.zeros((3, 2)), np.arange(3))
    for array in (result.auroc, result.standard_error, result.degrees):
        np.testing.assert_array_equal(array, [np.nan, np.nan])
    assert result.influence.shape == (3, 2)
    assert np.isnan(interval_and_p(result)).all()


def test_positives_of_one_patient_give_an_auroc_without_an_interval() -> None:
    result = delong([1, 1, 0, 0, 0], [3, 1, 0, 2, 1], ["a", "a", "b", "c", "d"])
    assert result.auroc == pytest.approx((3 + 1.5) / 6)
    assert np.isnan(result.standard_error)
    assert np.isnan(interval_and_p(result)).all()


def interval_and_p(result: DeLong) -> np.ndarray:
    value = (result.auroc, result.standard_error, result.degrees)
    return np.array([*wald_interval(*value), *logit_interval(*value), p_value(*value)])


def test_perfect_separation_has_no_interval() -> None:
    result = delong([1, 1, 0, 0], [[3, 1], [2, 3], [1, 2], [0, 0]], np.arange(4))
    assert (result.auroc[0], result.standard_error[0]) == (1.0, 0.0)
    for interval in (wald_interval, logit_interval):
        low, high = interval(result.auroc, result.standard_error, result.degrees)
        assert np.isnan([low[0], high[0]]).all()
        assert low[1] < result.auroc[1] < high[1]


def test_equal_networks_do_not_differ_and_certain_differences_have_no_p_value() -> None:
    labels, scores, patients = images()
    same = delong(labels, scores[:, [1, 1]], patients).combined([-1, 1])
    assert p_value(same.auroc, same.standard_error, same.degrees) == 1.0
    assert np.isnan(wald_interval(same.auroc, same.standard_error)).all()
    perfect = delong(labels, np.stack([np.zeros_like(labels), np.nan_to_num(labels)], axis=1), patients)
    np.testing.assert_array_equal(perfect.auroc, [0.5, 1.0])
    certain = perfect.combined([-1, 1])
    assert np.isnan(p_value(certain.auroc, certain.standard_error))


def test_intervals_and_p_follow_their_definitions() -> None:
    from scipy.stats import norm, t

    assert wald_interval(0.1, 0.05)[1] == pytest.approx(0.1 + norm.ppf(0.975) * 0.05)
    assert wald_interval(0.1, 0.05, 9)[0] == pytest.approx(0.1 - t.ppf(0.975, 9) * 0.05)
    low, high = logit_interval([0.9, 0.1], [0.04, 0.04], 9)
    np.testing.assert_allclose(1 - low[::-1], high)
    assert np.log(low[0] / (1 - low[0])) == pytest.approx(np.log(9) - t.ppf(0.975, 9) * 0.04 / 0.09)
    assert p_value(-0.1, 0.05) == pytest.approx(2 * norm.sf(2))
    assert p_value(0.1, 0.05, 9) == pytest.approx(2 * t.sf(2, 9))
    low, high = wald_interval(0.1, 0.05, 9)  # p is 5 % where a bound is 0
    assert p_value(0.1, 0.1 / t.ppf(0.975, 9), 9) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("labels", "scores", "patients", "message"),
    [
        ([1, 0, 2], [0, 1, 2], [0, 1, 2], "neither 1 nor 0 nor NaN"),
        ([1, 0, 0], [0, np.nan, 2], [0, 1, 2], "score of an image with a label is NaN"),
        ([1, 0], [0, 1, 2], [0, 1, 2], r"labels \(2,\), scores \(3, 1\), patients \(3,\); needed are"),
        ([1, 0], [0, 1], [[0], [1]], "needed are labels"),
    ],
)
def test_unusable_input_is_named(labels: list, scores: list, patients: list, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        delong(labels, scores, patients)

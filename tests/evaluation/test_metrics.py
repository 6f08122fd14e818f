"""AUROC and average precision agree with scikit-learn for ties, weights and unknown labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from cxr_kd.evaluation.metrics import CHUNK, auroc, auroc_within, average_precision, rank

SIZES = st.tuples(st.integers(2, 60), st.integers(1, 12), st.integers(1, 40), st.integers(0, 2**32 - 1))


def reference(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """scikit-learn's AUROC and average precision over known labels with weight; NaN if one side has no weight."""
    used = ~np.isnan(labels) & (weights > 0)
    labels, scores, weights = labels[used], scores[used], weights[used]
    if len(np.unique(labels)) < 2:
        return np.nan, np.nan
    return (
        roc_auc_score(labels, scores, sample_weight=weights),
        average_precision_score(labels, scores, sample_weight=weights),
    )


@settings(max_examples=150, deadline=None)
@given(SIZES)
def test_agrees_with_scikit_learn_for_each_image_weight(sizes: tuple[int, int, int, int]) -> None:
    images, levels, _, seed = sizes  # few levels give many ties, also between positives and negatives
    random = np.random.default_rng(seed)
    labels = random.choice([0.0, 1.0, np.nan], size=(images, 2), p=[0.5, 0.35, 0.15])
    scores = random.integers(0, levels, size=(images, 2)).astype(np.float32)
    weights = random.choice([0.0, 1.0, 2.0, 0.7], size=images)
    expected = np.array([reference(labels[:, i], scores[:, i], weights) for i in range(2)])
    np.testing.assert_allclose(auroc(labels, scores, weights), expected[:, 0], atol=1e-12)
    np.testing.assert_allclose(average_precision(labels, scores, weights), expected[:, 1], atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(SIZES)
def test_patient_multiplicities_agree_with_scikit_learn(sizes: tuple[int, int, int, int]) -> None:
    images, levels, patients, seed = sizes
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, size=images).astype(float)
    scores, groups = random.integers(0, levels, size=images).astype(float), random.integers(0, patients, size=images)
    weights = random.integers(0, 4, size=(patients, CHUNK + 2)).astype(float)  # more than one chunk
    ours = rank(labels, scores, groups, patients).both(weights)
    for column in (0, CHUNK - 1, CHUNK, CHUNK + 1):
        expected = reference(labels, scores, weights[groups, column])
        np.testing.assert_allclose(ours[:, column], expected, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_auroc_depends_on_ranks_only_and_is_mirrored_by_negated_scores(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.tile([0.0, 1.0], 15)[:, None]
    scores = random.integers(-3, 4, size=(30, 1)).astype(float)
    np.testing.assert_allclose(auroc(labels, np.exp(scores)), auroc(labels, scores))
    np.testing.assert_allclose(auroc(labels, -scores), 1 - auroc(labels, scores))


def test_known_values() -> None:
    labels = np.array([[0.0], [0.0], [1.0], [1.0]])
    assert auroc(labels, np.array([[0.1], [0.4], [0.35], [0.8]])) == pytest.approx([0.75])
    assert average_precision(labels, np.array([[0.1], [0.4], [0.35], [0.8]])) == pytest.approx([(2 / 3 + 1) / 2])
    assert auroc(labels, np.zeros((4, 1))) == pytest.approx([0.5])
    assert average_precision(labels, np.zeros((4, 1))) == pytest.approx([0.5])


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_a_finding_without_positives_or_without_negatives_is_undefined(value: float) -> None:
    labels = np.full((5, 1), value)
    assert np.isnan(auroc(labels, np.arange(5.0)[:, None])).all()
    assert np.isnan(average_precision(labels, np.arange(5.0)[:, None])).all()


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 5))
def test_auroc_within_strata_counts_the_pairs_of_one_stratum_only(
    sizes: tuple[int, int, int, int], strata: int
) -> None:
    images, levels, _, seed = sizes
    random = np.random.default_rng(seed)
    labels = random.choice([0.0, 1.0, np.nan], size=(images, 1), p=[0.5, 0.35, 0.15])
    scores = random.integers(0, levels, size=(images, 1)).astype(np.float32)
    of = random.integers(0, strata, size=images)
    positive, negative = np.flatnonzero(labels[:, 0] == 1), np.flatnonzero(labels[:, 0] == 0)
    wins = [
        float(scores[i, 0] > scores[j, 0]) + 0.5 * float(scores[i, 0] == scores[j, 0])
        for i in positive
        for j in negative
        if of[i] == of[j]
    ]
    expected = np.mean(wins) if wins else np.nan
    np.testing.assert_allclose(auroc_within(labels, scores, of), [expected], atol=1e-12)
    one = np.zeros(images)
    np.testing.assert_allclose(auroc_within(labels, scores, one), auroc(labels, scores), atol=1e-12)


def test_scores_that_know_only_the_stratum_are_worth_nothing_within_strata() -> None:
    of = np.repeat([0, 1], 100)
    labels = (np.random.default_rng(0).random(200) < np.where(of == 0, 0.1, 0.8)).astype(float)[:, None]
    scores = of.astype(float)[:, None]
    assert auroc(labels, scores)[0] > 0.8
    assert auroc_within(labels, scores, of)[0] == 0.5

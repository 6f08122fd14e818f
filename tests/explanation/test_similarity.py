"""How alike two maps are: the same maps, opposite maps, and agreement with scipy."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from cxr_kd.explanation.similarity import likeness

MAPS = np.random.default_rng(0).normal(size=(3, 6, 6))


def test_a_map_is_like_itself_and_unlike_its_opposite():
    same, opposite = likeness(MAPS, MAPS), likeness(MAPS, -MAPS)
    np.testing.assert_allclose(same.rank, 1)
    np.testing.assert_allclose(same.top, 1)
    np.testing.assert_allclose(same.distance, 0)
    np.testing.assert_allclose(opposite.rank, -1)
    assert not opposite.top.any()
    assert (opposite.distance > 0).all()


def test_rank_is_scipys_and_needs_no_common_scale():
    other = np.random.default_rng(1).normal(size=(3, 6, 6)).round(1)  # with ties
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(MAPS, other, strict=True)]
    np.testing.assert_allclose(likeness(MAPS, other).rank, expected, rtol=1e-4)
    np.testing.assert_allclose(likeness(7 * MAPS + 3, other).rank, expected, rtol=1e-4)


def test_maps_of_two_grids_meet_on_the_coarser_one():
    fine = np.repeat(np.repeat(MAPS, 2, axis=1), 2, axis=2)
    np.testing.assert_allclose(likeness(fine, MAPS).rank, 1)


def test_the_distance_is_between_centres_of_mass():
    left, right = np.zeros((1, 4, 4)), np.zeros((1, 4, 4))
    left[0, 1, 0], right[0, 1, 3] = 1, 1
    assert likeness(left, right).distance == pytest.approx(0.75)


def test_a_constant_map_has_no_rank_and_no_centre():
    found = likeness(np.zeros((1, 4, 4)), MAPS[:1])
    assert np.isnan(found.rank)
    assert np.isnan(found.distance)


def test_no_pairs_give_no_values():
    assert len(likeness(np.empty((0, 4, 4)), np.empty((0, 4, 4))).rank) == 0

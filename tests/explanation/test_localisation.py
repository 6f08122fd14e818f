"""Measures of where a map looks, against what can be computed by hand and against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from cxr_kd.explanation.localisation import (
    THRESHOLDS,
    best_threshold,
    ceiling,
    enlarged,
    overlaps,
    read,
    where,
)


def place(size: int = 32, top: int = 0, left: int = 0, side: int = 8) -> np.ndarray:
    found = np.zeros((1, size, size), dtype=bool)
    found[0, top : top + side, left : left + side] = True
    return found


def one_cell(row: int, column: int, value: float = 1.0) -> np.ndarray:
    maps = np.zeros((1, 4, 4))
    maps[0, row, column] = value
    return maps


def test_a_map_with_its_peak_in_the_finding_hits_and_any_other_misses():
    assert where(one_cell(0, 0), place()).pointing == 1
    assert where(one_cell(3, 3), place()).pointing == 0
    assert where(one_cell(0, 0), place()).inside > 0.4 > 0.01 > where(one_cell(3, 3), place()).inside


def test_evidence_below_zero_is_no_evidence_unless_it_is_read_relative_to_the_mean():
    negative = np.full((1, 4, 4), -2.0)
    negative[0, 0, 0] = -1.0
    positive, relative = where(negative, place()), where(negative, place(), "relative")
    assert (positive.empty, positive.pointing) == (1, 0)
    assert np.isnan(positive.inside)
    assert (relative.empty, relative.pointing) == (0, 1)
    assert positive.auprc == relative.auprc  # the order of the pixels is the same


def test_a_constant_map_is_empty_in_both_readings_or_is_chance():
    flat = np.full((1, 4, 4), 3.0)
    assert where(flat, place(), "relative").empty == 1
    assert where(flat, place()).inside == pytest.approx(place().mean())
    assert where(flat, place()).auprc == pytest.approx(place().mean())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 40))
def test_auprc_is_scikit_learns_average_precision(seed, levels):
    random = np.random.default_rng(seed)
    maps = random.integers(0, levels, (3, 5, 5)).astype(float)  # with ties
    places = random.random((3, 20, 20)) < 0.2
    places[:, 0, 0] = True
    found = where(maps, places).auprc
    signed = enlarged(maps, 20)
    expected = [average_precision_score(p.ravel(), m.ravel()) for p, m in zip(places, signed, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_overlaps_are_intersections_over_unions_and_regions(seed):
    random = np.random.default_rng(seed)
    maps, places = random.normal(size=(2, 4, 4)), random.random((2, 16, 16)) < 0.3
    iou, iobb = overlaps(maps, places, "relative")
    grey = enlarged(read(maps, "relative"), 16)
    for pair, column in ((0, 3), (1, 12)):
        region = grey[pair] >= THRESHOLDS[column] * grey[pair].max()
        shared = (region & places[pair]).sum()
        assert iou[pair, column] == pytest.approx(shared / (region | places[pair]).sum())
        assert iobb[pair, column] == pytest.approx(shared / region.sum())


def test_an_empty_map_overlaps_nothing():
    iou, iobb = overlaps(np.zeros((1, 4, 4)), place())
    assert not iou.any()
    assert not iobb.any()


def test_the_threshold_has_the_best_mean_iou():
    ious = np.zeros((3, len(THRESHOLDS)))
    ious[:, 7] = 0.5
    assert best_threshold(ious) == 7
    assert best_threshold(np.empty((0, len(THRESHOLDS)))) == 0


def test_the_ceiling_is_above_every_map_of_its_grid_in_the_share_inside_of_a_whole_cell():
    best = where(ceiling(place(), (4, 4)), place())
    assert best.pointing == 1
    assert best.inside == where(one_cell(0, 0), place()).inside
    finer = where(ceiling(place(), (16, 16)), place())
    assert finer.inside > best.inside


def test_a_finding_in_one_pixel_is_measured():
    tiny = place(side=1)
    found = where(one_cell(0, 0), tiny)
    assert found.pointing == 1
    assert 0 < found.inside < 0.1

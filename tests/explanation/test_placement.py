"""The checks of the pointing game: other patients' maps, and cells that look elsewhere than they are drawn."""

import numpy as np
import pytest
import torch
from torch import nn

from cxr_kd.explanation.methods.grids import parse
from cxr_kd.explanation.methods.inner_layers import features_at
from cxr_kd.explanation.pairs import Pairs
from cxr_kd.explanation.placement import displacement, moved_hits, peaks, specific
from cxr_kd.models.build import build

SIZE = 8


def pairs_at(corners: list[tuple[int, int]], columns: list[int], patients: list[str]) -> Pairs:
    """Each finding is a square of 2 x 2 px whose upper left corner is given."""
    places = np.zeros((len(corners), SIZE, SIZE), bool)
    for place, (row, column) in zip(places, corners, strict=True):
        place[row : row + 2, column : column + 2] = True
    packed = np.packbits(places.reshape(len(places), -1), axis=1)
    return Pairs(np.arange(len(places)).astype(str), np.array(columns), np.array(patients), SIZE, packed)


def test_the_peak_is_the_highest_evidence_and_an_empty_map_has_none():
    maps = np.zeros((3, 4, 4))
    maps[0, 1, 2] = 1
    maps[2] = -1
    maps[2, 3, 0] = -0.5
    assert peaks(maps, 4, "positive").tolist() == [[1, 2], [-1, -1], [-1, -1]]
    assert peaks(maps, 4, "relative").tolist() == [[1, 2], [-1, -1], [3, 0]]
    assert peaks(np.empty((0, 4, 4)), 4, "positive").shape == (0, 2)


def test_a_map_that_is_the_same_for_every_patient_is_not_specific():
    pairs = pairs_at([(2, 2)] * 3, [0, 0, 0], ["a", "b", "c"])
    np.testing.assert_allclose(specific(np.array([[2, 3]] * 3), pairs), 0)


def test_a_map_that_follows_the_finding_is_specific():
    corners = [(0, 0), (2, 4), (6, 6)]
    pairs = pairs_at(corners, [0, 0, 0], ["a", "b", "c"])
    np.testing.assert_allclose(specific(np.array(corners), pairs), 1)
    wrong = np.array([corners[1], corners[0], (-1, -1)])  # the last map is empty
    np.testing.assert_allclose(specific(wrong, pairs), [-0.5, -0.5, 0])


def test_only_maps_of_the_same_finding_in_other_patients_are_compared():
    pairs = pairs_at([(0, 0), (0, 0), (4, 4), (4, 4)], [0, 0, 1, 1], ["a", "a", "a", "b"])
    found = specific(np.array([(0, 0), (0, 0), (4, 4), (4, 5)]), pairs)
    assert np.isnan(found[:2]).all()  # one patient only
    np.testing.assert_allclose(found[2:], 0)


def test_moved_peaks_stay_inside_the_image_and_an_empty_map_stays_a_miss():
    pairs = pairs_at([(0, 0), (4, 4), (0, 0)], [0, 0, 0], ["a", "b", "c"])
    points = np.array([(1, 3), (1, 1), (-1, -1)])
    assert moved_hits(points, pairs, (0, 0)).tolist() == [0, 0, 0]
    assert moved_hits(points, pairs, (-5.2, -1.6)).tolist() == [1, 0, 0]
    assert moved_hits(points, pairs, (2.8, 3.4)).tolist() == [0, 1, 0]


@pytest.mark.parametrize(("padding", "away"), [(1, -0.5), (0, 0.5)])
def test_layers_that_skip_every_other_cell_look_beside_where_they_are_drawn(padding, away):
    # With padding on both sides, cell i of a kernel of 3 px sees 2i - 1 to 2i + 1 and is drawn at 2i + 0.5.
    layer = nn.Conv2d(1, 1, 3, stride=2, padding=padding, bias=False)
    nn.init.ones_(layer.weight)  # all pixels of the kernel count alike
    images = torch.rand(400, 1, 16, 16)

    def features(grey: torch.Tensor) -> torch.Tensor:
        # Without padding, a pixel is added after the image, so that there are as many cells.
        return layer(grey if padding else nn.functional.pad(grey, (0, 1, 0, 1)))

    assert displacement(features, images) == pytest.approx((away, away), abs=0.1)


def test_the_student_looks_half_a_cell_up_and_left_and_other_forms_less():
    torch.manual_seed(0)
    network = build("eeea_net_c2", ("Effusion", "Mass"), image_size=224).eval()
    images = torch.randint(0, 256, (2, 1, 224, 224), dtype=torch.uint8)
    plain = displacement(parse("plain").features(network), images)
    assert plain == pytest.approx((-16, -16), abs=6)
    inner = displacement(parse("layercam16").features(network), images)
    assert inner == pytest.approx((-8, -8), abs=4)
    assert features_at(network, 16)(images).shape[-1] == 14


def test_cells_that_do_not_depend_on_the_image_are_not_displaced():
    assert displacement(lambda grey: 0 * grey[:, :, ::4, ::4], torch.rand(1, 1, 16, 16)) == (0.0, 0.0)

"""A phantom can be drawn with and without its chest drain; the two versions differ only in the pixels of the drain."""

import numpy as np
import pytest

from cxr_kd.phantoms.body import FIELD_CM
from cxr_kd.phantoms.draw import draw, exam_at
from cxr_kd.phantoms.labels import FINDINGS
from cxr_kd.study.data_settings import PhantomSettings

SETTINGS = PhantomSettings(images=400, size=64, minimum_rate=0.12)
PLAIN, DRAINED = (0, 1, 7), (22, 52, 69)
# Pixels [4::8, 4::8] of three phantoms, before there were two versions.
BEFORE = {
    0: "060070b5b8740001beb572d2c871bdbebeb55ec4c75bbbbab0ca9ba9c2527fb2"
    "88c578c8c77970897f5c69d3d1d2607b7ac9dfd7d5cc9a7baad5dbd9dddfd384",
    22: "030073c3880d0701c3b938c33f5dbb90be8567caac5fbc9dab8b91c9a18fba8a"
    "7bba8dd1c26f990082cfd8d7d6d38e049ed6dbe0d9e4bb05b3dee0e5e9d2c205",
    52: "00005a9471020104809220992b2aa499a93d24b59d37ab95a4272fb89f43769c"
    "8b472cc07d3c519b6e4047b9ae5d5c5c99b2c4bdbeabaa8484b7cdcacfc7be90",
}


@pytest.mark.parametrize("index", BEFORE)
def test_by_default_a_phantom_is_drawn_as_it_always_was(index):
    before = np.frombuffer(bytes.fromhex(BEFORE[index]), np.uint8).reshape(8, 8).astype(int)
    change = draw(SETTINGS, index).image[4::8, 4::8] - before
    assert np.abs(change).max() <= 1  # other processors round otherwise; other noise would differ by more


@pytest.mark.parametrize("index", PLAIN + DRAINED)
def test_asking_for_what_the_exam_has_changes_nothing(index):
    plain = draw(SETTINGS, index)
    same = draw(SETTINGS, index, drain=plain.drain)
    assert plain.drain == exam_at(SETTINGS, index).drain == (index in DRAINED)
    np.testing.assert_array_equal(plain.image, same.image)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("index", PLAIN + DRAINED)
def test_the_versions_differ_only_in_one_thin_bright_tube(index, size):
    from scipy import ndimage

    settings = SETTINGS.model_copy(update={"size": size})
    drained, plain = draw(settings, index, drain=True), draw(settings, index, drain=False)
    assert (drained.drain, plain.drain) == (True, False)
    change = drained.image.astype(int) - plain.image
    assert change.min() == 0  # not one pixel is darker: the noise is the same
    assert change.max() > 30
    assert 0.005 < (change > 0).mean() < 0.02
    # A body of 0.85 cm and its edges, nowhere wider than 2 cm.
    depth = ndimage.distance_transform_edt(change > 0).max()
    assert 2 * depth * FIELD_CM / size < 2 + 2 * FIELD_CM / size
    assert drained.boxes == plain.boxes
    for finding, mask in plain.masks.items():
        np.testing.assert_array_equal(mask, drained.masks[finding])


def test_a_drain_that_is_painted_in_is_on_the_side_of_the_pneumothorax():
    sides = []
    for index in range(120):
        exam = exam_at(SETTINGS, index)
        if exam.drain or not exam.truth[FINDINGS.index("Pneumothorax")]:
            continue
        drained, plain = draw(SETTINGS, index, drain=True), draw(SETTINGS, index, drain=False)
        tube, air = drained.image != plain.image, plain.masks["Pneumothorax"]
        sides.append([place[:, 32:].mean() > place[:, :32].mean() for place in (tube, air)])
    assert len(sides) >= 3
    assert all(tube == air for tube, air in sides)


def test_without_a_pneumothorax_a_drain_is_painted_in_on_either_side():
    changes = [draw(SETTINGS, i, drain=True).image != draw(SETTINGS, i, drain=False).image for i in range(8)]
    assert len({bool(change[:, 32:].mean() > change[:, :32].mean()) for change in changes}) == 2

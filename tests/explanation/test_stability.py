"""Maps of moved images: an explainer that follows its image, one that does not, and maps from a file."""

import numpy as np
import pytest
import torch
from plain_data import pairs_of
from small_models import SIZE, scaled_model

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.cam import one_pass
from cxr_kd.explanation.similarity import likeness
from cxr_kd.explanation.stability import map_similarity, stability

IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE)).astype(np.uint8)


def as_maps(evidence):
    return lambda images: (torch.zeros(len(images), 2), evidence(images).expand(-1, 2, -1, -1))


def test_a_map_that_follows_its_image_is_stable_and_noise_is_not():
    pairs, data = pairs_of(IMAGES, [0, 1, 0])
    follows = stability(as_maps(lambda images: images.float()), pairs, data, pixels=3)
    np.testing.assert_allclose(follows.columns()["stable"], 1, atol=1e-6)
    generator = torch.Generator().manual_seed(0)
    noise = stability(as_maps(lambda images: torch.rand(images.shape, generator=generator)), pairs, data)
    assert (np.abs(noise.stable) < 0.1).all()


def test_a_map_that_stays_where_it_is_does_not_follow():
    fixed = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    pairs, data = pairs_of(IMAGES, [0, 1, 0])
    found = stability(as_maps(lambda images: fixed.expand(len(images), -1, -1, -1)), pairs, data)
    assert (np.abs(found.stable) < 0.1).all()


def test_each_pair_has_its_own_finding_and_a_network_is_partly_stable():
    model = scaled_model("eeea_net_c2")
    pairs, data = pairs_of(IMAGES, [0, 1, 0])
    together = stability(one_pass(model), pairs, data).stable
    one, data = pairs_of(IMAGES[1:2], [1])
    alone = stability(one_pass(model), one, data).stable
    assert alone.shape == (1,)
    assert together[1] == pytest.approx(alone[0], abs=1e-3)
    assert ((together > -1) & (together < 1)).all()


def test_empty_maps_and_no_pairs():
    pairs, data = pairs_of(np.zeros_like(IMAGES), [0, 1, 0])
    assert np.isnan(stability(as_maps(lambda images: images.float()), pairs, data).stable).all()
    none, data = pairs_of(IMAGES[:0], [])
    assert stability(as_maps(lambda images: images.float()), none, data).stable.shape == (0,)


@pytest.mark.parametrize("pixels", [0, SIZE // 4])
def test_a_move_is_at_least_a_pixel_and_small(pixels):
    pairs, data = pairs_of(IMAGES, [0, 1, 0])
    with pytest.raises(ModelError, match=f"got {pixels}"):
        stability(as_maps(lambda images: images.float()), pairs, data, pixels=pixels)


def test_maps_from_a_file_are_compared_pair_by_pair(tmp_path):
    random = np.random.default_rng(0)
    first = random.normal(size=(150, 4, 4)).astype(np.float32)  # more than a block
    second = first + random.normal(size=first.shape)
    np.save(tmp_path / "maps.npy", first)
    found = map_similarity(np.load(tmp_path / "maps.npy", mmap_mode="r"), second)
    expected = likeness(first, second)
    for name in ("rank", "top", "distance"):
        np.testing.assert_allclose(found.columns()[name], expected.columns()[name])
    angle = torch.cosine_similarity(torch.from_numpy(first).flatten(1), torch.from_numpy(second).float().flatten(1))
    np.testing.assert_allclose(found.cosine, angle, atol=1e-5)


def test_similarity_of_the_same_opposite_empty_and_no_maps():
    maps = np.random.default_rng(0).normal(size=(2, 4, 4))
    np.testing.assert_allclose(map_similarity(maps, 3 * maps).cosine, 1)
    np.testing.assert_allclose(map_similarity(maps, -maps).cosine, -1)
    np.testing.assert_allclose(map_similarity(maps.repeat(2, axis=1).repeat(2, axis=2), maps).cosine, 1)
    assert np.isnan(map_similarity(maps, 0 * maps).cosine).all()
    assert all(values.shape == (0,) for values in map_similarity(maps[:0], maps[:0]).columns().values())
    with pytest.raises(ModelError, match=r"pair by pair.*\(1, 4, 4\)"):
        map_similarity(maps, maps[:1])

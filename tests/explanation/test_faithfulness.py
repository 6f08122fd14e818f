"""Deletion, insertion and ROAD: a classifier whose evidence is known, and pytorch-grad-cam's ROAD as the oracle."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from plain_data import pairs_of
from pytorch_grad_cam.metrics.road import ROADCombined
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from cxr_kd.errors import ModelError
from cxr_kd.explanation import faithfulness as measures
from cxr_kd.explanation.faithfulness import areas, faithfulness, ranks, replaced

SIZE, LOW, HIGH = 32, 8, 16
PLACE = np.zeros((SIZE, SIZE), np.float32)
PLACE[LOW:HIGH, LOW:HIGH] = 1


class Spots(nn.Module):
    """Finding 0 is how rough the place is; finding 1 looks at nothing."""

    def forward(self, images):
        rough = images[:, 0, LOW:HIGH, LOW:HIGH].std(dim=(1, 2))
        return torch.stack([20 * rough - 2, 0 * rough], dim=1)


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE)).astype(np.uint8)


def test_the_place_that_the_network_looks_at_is_more_faithful_than_elsewhere():
    pairs, data = pairs_of(noise(3), [0, 0, 0])
    right = faithfulness(Spots(), np.repeat(PLACE[None], 3, axis=0), pairs, data)
    random = faithfulness(Spots(), np.random.default_rng(1).random((3, 4, 4)), pairs, data)
    wrong = faithfulness(Spots(), np.repeat(-PLACE[None], 3, axis=0), pairs, data)
    assert (right.deletion < random.deletion).all()
    assert (random.deletion < wrong.deletion).all()
    assert (right.insertion > random.insertion).all()
    assert (random.insertion > wrong.insertion).all()
    assert (right.road > random.road).all()
    assert (wrong.road < 0).all()


def test_a_finding_that_does_not_depend_on_the_image_has_the_same_curve_for_every_map():
    pairs, data = pairs_of(noise(2), [1, 1])
    found = faithfulness(Spots(), np.random.default_rng(1).random((2, 4, 4)), pairs, data)
    np.testing.assert_allclose(found.deletion, 0.5)
    np.testing.assert_allclose(found.insertion, 0.5)
    np.testing.assert_allclose(found.road, 0)


def test_road_is_that_of_pytorch_grad_cam(monkeypatch):
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)  # both draw the noise, in another order
    images, maps = noise(2), np.random.default_rng(1).permutation(2 * SIZE * SIZE).reshape(2, SIZE, SIZE) / 4096
    pairs, data = pairs_of(images, [0, 0])
    ours = faithfulness(Spots(), maps, pairs, data, percentiles=(80, 50)).road
    library = ROADCombined(percentiles=[80, 50])(
        torch.from_numpy(images).unsqueeze(1) / 255,
        maps,
        [ClassifierOutputTarget(0)] * 2,
        lambda batch: Spots()(batch).sigmoid(),
    )
    np.testing.assert_allclose(ours, library, atol=1e-4)
    assert np.abs(library).max() > 1e-3


def test_each_step_replaces_its_share_and_the_curves_run_from_end_to_end():
    image = noise(1)[0] / np.float32(255)
    order = ranks(image, np.random.default_rng(0))
    batch = replaced(image, order)
    steps = measures.STEPS
    changed = [(each != image).mean() for each in batch[: steps + 1]]
    np.testing.assert_allclose(changed, np.arange(steps + 1) / steps, atol=2 / image.size)
    assert order[batch[1] != image].min() > order[batch[1] == image].max()
    for deleted, inserted in zip(batch[1:steps], batch[steps + 1 :], strict=True):
        np.testing.assert_allclose(deleted + inserted, image + batch[steps], atol=1e-6)
    falling = np.array([*np.linspace(1, 0, steps + 1), *np.linspace(0, 1, steps + 1)[1:-1]])
    assert areas(falling) == pytest.approx((0.5, 0.5))


def test_equal_values_are_in_a_random_order_that_is_the_same_for_all_maps():
    flat = np.zeros((4, 4))
    order = ranks(flat, np.random.default_rng(3))
    assert sorted(order.ravel()) == list(range(16))
    np.testing.assert_array_equal(order, ranks(flat + 7, np.random.default_rng(3)))
    assert not np.array_equal(order.ravel(), np.arange(16))


def test_empty_maps_and_constant_images_have_values():
    images = np.stack([noise(1)[0], np.full((SIZE, SIZE), 128, np.uint8)])
    pairs, data = pairs_of(images, [0, 0])
    found = faithfulness(Spots(), np.zeros((2, 2, 2)), pairs, data)
    for values in found.columns().values():
        assert np.isfinite(values).all()
    again = faithfulness(Spots(), np.ones((2, 5, 3)), pairs, data)
    for name, values in found.columns().items():
        np.testing.assert_allclose(again.columns()[name], values)
    assert found.road[1] == pytest.approx(0, abs=0.02)


def test_road_of_some_pairs_only():
    pairs, data = pairs_of(noise(5), [0] * 5)
    maps = np.random.default_rng(1).random((5, 4, 4))
    all_pairs, some = (faithfulness(Spots(), maps, pairs, data, road_pairs=count) for count in (None, 3))
    np.testing.assert_array_equal(np.isfinite(some.road), [True, False, True, False, True])
    np.testing.assert_allclose(some.road[::2], all_pairs.road[::2])
    np.testing.assert_allclose(some.deletion, all_pairs.deletion)
    assert np.isnan(faithfulness(Spots(), maps, pairs, data, road_pairs=0).road).all()


def test_the_global_random_state_is_left_alone_and_results_repeat():
    pairs, data = pairs_of(noise(1), [0])
    maps = np.random.default_rng(1).random((1, 4, 4))
    torch.manual_seed(5)
    first = faithfulness(Spots(), maps, pairs, data)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    assert torch.rand(1) == drawn
    np.testing.assert_array_equal(first.road, faithfulness(Spots(), maps, pairs, data).road)


def test_no_pairs():
    pairs, data = pairs_of(noise(0), [])
    found = faithfulness(Spots(), np.empty((0, 1, 1)), pairs, SimpleNamespace(cache=data.cache))
    assert {name: values.shape for name, values in found.columns().items()} == dict.fromkeys(
        ("deletion", "insertion", "road"), (0,)
    )


def test_maps_that_do_not_fit_are_refused():
    pairs, data = pairs_of(noise(2), [0, 0])
    with pytest.raises(ModelError, match=r"2 pairs need maps of shape \(2, h, w\), got \(3, 4, 4\)"):
        faithfulness(Spots(), np.zeros((3, 4, 4)), pairs, data)
    with pytest.raises(ModelError, match="not finite"):
        faithfulness(Spots(), np.full((2, 4, 4), np.nan), pairs, data)

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from cxr_kd.data.cache import Cache, build_cache
from cxr_kd.data.loader import Batches, augmented, uniform
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError
from cxr_kd.study.settings import Augmentation

STILL = Augmentation(rotate_degrees=0, translate=0, scale=0, brightness=0, contrast=0)
STRONG = Augmentation(rotate_degrees=15, translate=0.1, scale=0.2, brightness=0.2, contrast=0.3)
POOL = torch.rand(40, 1, 24, 24, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def noise(noise_table: Callable[..., CxrTable], tmp_path: Path) -> tuple[Cache, CxrTable]:
    table = noise_table(21)
    return build_cache(table, tmp_path / "cache", 16, progress=False), table


def batches(noise: tuple[Cache, CxrTable], **settings: object) -> Batches:
    cache, table = noise
    return Batches(cache, table, table.frame["image_id"].tolist(), **{"batch_size": 5, **settings})  # type: ignore[arg-type]


@given(
    st.lists(st.integers(0, 39), min_size=1, unique=True),
    st.integers(0, 2**40),
    st.integers(0, 10_000),
)
def test_the_augmentation_of_an_image_does_not_depend_on_the_batch(chosen: list[int], seed: int, view: int):
    index = torch.tensor(chosen)
    together = augmented(POOL, torch.arange(40), STRONG, seed=seed, view=view)
    assert torch.equal(augmented(POOL[index], index, STRONG, seed=seed, view=view), together[index])


def test_seed_view_and_position_each_change_the_pixels():
    same = POOL[:1].expand(3, -1, -1, -1)
    by_position = augmented(same, torch.tensor([0, 1, 2]), STRONG, seed=0, view=0)
    others = [augmented(same[:1], torch.tensor([0]), STRONG, seed=seed, view=view) for seed, view in ((1, 0), (0, 1))]
    assert len({image.numpy().tobytes() for image in (*by_position, *(other[0] for other in others))}) == 5


def test_draws_are_uniform_and_uncorrelated():
    draws = np.concatenate([uniform(np.arange(20_000), 6, seed=3, view=view) for view in (0, 1)], 1)
    assert draws.min() >= 0
    assert draws.max() < 1
    np.testing.assert_allclose(draws.mean(0), 0.5, atol=0.01)
    np.testing.assert_allclose(draws.std(0), 12**-0.5, atol=0.01)
    together = np.corrcoef(np.concatenate([draws[1:], draws[:-1]], 1).T)  # columns, and neighbouring images
    assert np.abs(together - np.eye(24)).max() < 0.04


def test_draws_are_the_same_in_every_version():
    assert uniform(np.array([0, 7]), 2, seed=1, view=2).round(6).tolist() == [
        [0.458637, 0.557971],
        [0.275688, 0.227184],
    ]


def test_zero_limits_change_no_pixel():
    assert torch.equal(augmented(POOL, torch.arange(40), STILL, seed=0, view=0), POOL)


def test_augmented_images_stay_in_range_with_black_at_the_edges():
    white = torch.ones(200, 1, 24, 24)
    moved = augmented(white, torch.arange(200), STILL.model_copy(update={"translate": 0.2}), seed=0, view=0)
    assert moved.min() == 0
    assert moved.max() <= 1
    assert (moved.mean((1, 2, 3)) > 0.8**2 - 0.01).all()
    changed = augmented(POOL, torch.arange(40), STRONG, seed=0, view=0)
    assert changed.min() >= 0
    assert changed.max() <= 1


def test_a_point_turns_by_at_most_the_limit():
    side, count = 65, 300
    dot = torch.zeros(count, 1, side, side)
    dot[..., 32, 57] = 1  # 25 px right of the centre
    turned = augmented(dot, torch.arange(count), STILL.model_copy(update={"rotate_degrees": 20}), seed=0, view=0)
    position = torch.arange(side) - 32.0
    mass = turned.sum((1, 2, 3))
    x, y = (turned.sum((1, 2)) * position).sum(1) / mass, (turned.sum((1, 3)) * position).sum(1) / mass
    angle = torch.rad2deg(torch.atan2(y, x))
    assert torch.hypot(x, y).sub(25).abs().max() < 0.5
    assert 18 < angle.max() < 20.5
    assert -20.5 < angle.min() < -18


@pytest.mark.parametrize("settings", [{"translate": 1.0}, {"brightness": -0.1}, {"rotate_degrees": 180}])
def test_an_impossible_augmentation_is_refused_by_name(settings: dict[str, float]):
    with pytest.raises(ValidationError, match=next(iter(settings))):
        Augmentation(**settings)


def test_every_image_occurs_once_per_epoch_with_its_pixels_and_labels(noise: tuple[Cache, CxrTable]):
    cache, table = noise
    loader = batches(noise, shuffle=True)
    seen = list(loader.epoch(0))
    assert sorted(name for batch in seen for name in batch.image_ids) == sorted(table.frame["image_id"])
    for batch in seen:
        np.testing.assert_array_equal(
            batch.images[:, 0].numpy(), np.float32(cache.images[cache.rows(batch.image_ids)]) / 255
        )
        labels = table.labels()[table.positions(batch.image_ids)]
        np.testing.assert_array_equal(batch.known.numpy(), ~np.isnan(labels))
        np.testing.assert_array_equal(batch.labels.numpy(), np.nan_to_num(labels))
        assert [loader.image_ids[position] for position in batch.index] == batch.image_ids


def test_no_batch_of_one_image_when_shuffling(noise: tuple[Cache, CxrTable]):
    sizes = [len(batch.image_ids) for batch in batches(noise, shuffle=True).epoch(0)]
    assert sizes == [5, 5, 5, 6]
    assert len(batches(noise, shuffle=True)) == 4
    assert [len(batch.image_ids) for batch in batches(noise).epoch(0)] == [5, 5, 5, 5, 1]
    assert len(batches(noise, shuffle=True, batch_size=1)) == 21
    assert len(batches(noise, shuffle=True, batch_size=50)) == 1


def test_the_order_depends_only_on_seed_and_epoch(noise: tuple[Cache, CxrTable]):
    def order(epoch: int, **settings: object) -> list[str]:
        return [name for batch in batches(noise, **settings).epoch(epoch) for name in batch.image_ids]

    ordered = order(0)
    assert ordered == batches(noise).image_ids
    assert order(3, shuffle=True) == order(3, shuffle=True, batch_size=7, augment=STRONG)
    assert len({tuple(order(epoch, shuffle=True, seed=seed)) for epoch in (0, 1) for seed in (0, 1)}) == 4


def test_views_repeat_with_the_same_pixels(noise: tuple[Cache, CxrTable]):
    def pixels(epoch: int, views: int) -> dict[str, bytes]:
        loader = batches(noise, shuffle=True, augment=STRONG, views=views)
        return {
            name: image.numpy().tobytes()
            for batch in loader.epoch(epoch)
            for name, image in zip(batch.image_ids, batch.images, strict=True)
        }

    assert pixels(1, views=3) == pixels(4, views=3) == pixels(1, views=0)
    assert pixels(1, views=3) != pixels(2, views=3)
    assert pixels(4, views=0) != pixels(1, views=0)
    assert next(batches(noise, views=3).epoch(4)).view == 1


def test_a_loader_without_images_or_with_unknown_ones_is_an_error(noise: tuple[Cache, CxrTable]):
    cache, table = noise
    with pytest.raises(DataError, match="needs images"):
        Batches(cache, table, [], batch_size=4)
    with pytest.raises(DataError, match="needs images"):
        batches(noise, batch_size=0)
    with pytest.raises(DataError, match=r"no pixels of 1 images, e\.g\. nobody"):
        Batches(cache, table, ["nobody"], batch_size=4)


def test_the_batch_with_an_image_is_that_of_the_epoch(noise: tuple[Cache, CxrTable]):
    loader = batches(noise, batch_size=4, shuffle=True, seed=3, views=2, augment=Augmentation())
    for epoch in (0, 3):
        for wanted in loader.epoch(epoch):
            for image_id in wanted.image_ids:
                found = loader.batch_with(image_id, epoch)
                assert (found.image_ids, found.view) == (wanted.image_ids, wanted.view)
                assert torch.equal(found.images, wanted.images)
                assert torch.equal(found.labels, wanted.labels)
    with pytest.raises(DataError, match="no image 'nowhere'"):
        loader.batch_with("nowhere")

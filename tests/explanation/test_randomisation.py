"""Cascading randomisation: what is made random, in which order, and an explainer that ignores the weights."""

from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch
from plain_data import pairs_of
from skimage.filters import sobel
from small_models import FINDINGS, SIZE, scaled_model

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.cam import one_pass
from cxr_kd.explanation.randomisation import (
    STAGES,
    layers_in_order,
    randomisation,
    randomised,
    structural_similarity,
)
from cxr_kd.models.build import build

IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE)).astype(np.uint8)
NETWORKS = ("eeea_net_c2", "resnet18", "vit_tiny_patch16_224")


@pytest.fixture(scope="module")
def model():
    return scaled_model("eeea_net_c2")


def edges(model):
    """An explainer that asks the network for the logits only."""

    def explain(images):
        strength = torch.from_numpy(np.stack([sobel(image) for image in images[:, 0].double().numpy()]))
        return model(images), strength.unsqueeze(1).expand(-1, len(FINDINGS), -1, -1)

    return explain


def changed(model, other) -> set[str]:
    return {name for name, value in model.named_parameters() if not torch.equal(value, other.get_parameter(name))}


@pytest.mark.parametrize("name", NETWORKS)
def test_each_stage_makes_more_random_from_the_head_to_the_stem(name):
    torch.manual_seed(0)
    trained = build(name, FINDINGS, image_size=SIZE)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1)  # no weight is left as any initialisation makes it
    before = deepcopy(trained.state_dict())
    parts = [changed(trained, randomised(trained, stage)) for stage in STAGES]
    assert parts[0] == {name for name, _ in trained.named_parameters() if name.startswith("head.")}
    for smaller, larger in pairwise(parts):
        assert smaller < larger
    assert parts[-1] == {name for name, _ in trained.named_parameters()}
    for name, value in trained.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_layers_are_in_the_order_in_which_they_run():
    names = layers_in_order(build("resnet18", FINDINGS, image_size=SIZE))
    assert names[0].endswith("conv1")
    assert names[-1].startswith("head")
    assert len(set(names)) == len(names)
    stages = [name.split("layer")[1][0] for name in names if "layer" in name]
    assert stages == sorted(stages)


def test_the_copy_keeps_its_input_statistics_and_repeats(model):
    own = deepcopy(model)
    own.set_input_statistics([0.4] * 3, [0.2] * 3)
    first, again, other = (randomised(own, "all", seed=seed) for seed in (1, 1, 2))
    torch.testing.assert_close(first.mean, own.mean)
    assert not changed(first, again)
    assert changed(first, other)
    assert not first.training


def test_an_explainer_that_ignores_the_weights_scores_one(model):
    pairs, data = pairs_of(IMAGES, [0, 1, 0])
    found = randomisation(edges, model, pairs, data)
    np.testing.assert_allclose(found.rank, 1)
    np.testing.assert_allclose(found.ssim, 1)
    network = randomisation(one_pass, model, pairs, data).columns()
    assert set(network) == {"randomised_rank", "randomised_ssim"}
    assert network["randomised_rank"].shape == (3,)
    assert network["randomised_rank"].mean() < 0.9  # 2 x 2 cells: one pair in twelve is alike by chance
    assert network["randomised_ssim"].mean() < 0.9


def test_a_map_that_is_turned_over_counts_as_similar(model):
    pairs, data = pairs_of(IMAGES[:1], [0])
    signs = iter((1, -1, -1, -1, -1))

    def turned(network):
        explain, sign = edges(network), next(signs)
        return lambda images: (explain(images)[0], sign * explain(images)[1])

    found = randomisation(turned, model, pairs, data)
    np.testing.assert_allclose(found.rank, 1)
    assert (found.ssim < 0.5).all()


def test_empty_maps_constant_images_and_no_pairs(model):
    pairs, data = pairs_of(np.full((2, SIZE, SIZE), 9, np.uint8), [0, 1])
    empty = randomisation(lambda network: lambda images: (network(images), torch.zeros(2, 2, 3, 3)), model, pairs, data)
    np.testing.assert_array_equal(empty.rank, 0)
    for values in randomisation(one_pass, model, pairs, data).columns().values():
        assert np.isfinite(values).all()
    none, data = pairs_of(IMAGES[:0], [])
    assert randomisation(one_pass, model, none, data).columns()["randomised_rank"].shape == (0,)


def test_similarity_does_not_depend_on_scale_and_takes_small_grids():
    maps = np.random.default_rng(0).random((2, 2, 2))
    np.testing.assert_allclose(structural_similarity(maps, 5 * maps - 3), 1, atol=1e-5)
    assert (structural_similarity(maps, -maps) < 0.5).all()


def test_what_cannot_be_randomised_is_refused(model):
    with pytest.raises(ModelError, match=r"unknown stage 'tail'.*head, last third"):
        randomised(model, "tail")
    other = deepcopy(model)
    other.head.output = torch.nn.Linear(other.head.output.in_features, 7)
    with pytest.raises(ModelError, match=r"layer 'head.output' is not as the network of this name"):
        randomised(other, "head")

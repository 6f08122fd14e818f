"""timm's networks with a second head for distillation: their published weights give timm's own logits."""

from math import isqrt

import pytest
import timm
import torch

from cxr_kd.errors import ModelError
from cxr_kd.models.build import build
from cxr_kd.models.published_weights import load_published

FINDINGS = ("Mass", "Nodule", "Edema")


def published(name: str, size: int) -> torch.nn.Module:
    """timm's own network in evaluation mode and float64, with random weights, also of its batch norms and heads."""
    torch.manual_seed(1)
    sized = {"img_size": size} if timm.get_pretrained_cfg(name).fixed_input_size else {}
    network = timm.create_model(name, num_classes=len(FINDINGS), **sized).double().eval()
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if "head" in key and value.is_floating_point():
                # In place: `state_dict` shares its tensors with the network.
                value.copy_(0.5 + torch.rand_like(value) if value.ndim == 1 else torch.randn_like(value))
    return network


@pytest.mark.parametrize("name", ["levit_128s", "levit_conv_128s", "repvit_m1", "repvit_m0_9", "efficientformerv2_s0"])
def test_the_last_layer_is_the_mean_of_both_heads_with_their_norms_as_in_timms_own_forward(name):
    size = 64
    theirs = published(name, size)
    ours = build(name, FINDINGS, image_size=size).double().eval()
    load_published(ours, theirs.state_dict(), keep_head=True)
    images = torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected, found = theirs(ours.normalise(images)), ours(images)
    assert expected.std() > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


def test_without_the_heads_only_the_last_layer_stays_ours():
    theirs = published("levit_128s", 64)
    ours = build("levit_128s", FINDINGS, image_size=64)
    before = ours.head.output.weight.clone()
    load_published(ours, theirs.state_dict())
    assert torch.equal(ours.head.output.weight, before)
    for key, value in ours.backbone.network.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[key].to(value.dtype)), key


def test_a_missing_second_head_is_named():
    state = {k: v for k, v in published("levit_128s", 64).state_dict().items() if k != "head_dist.linear.weight"}
    with pytest.raises(ModelError, match=r"have no 'head_dist\.linear\.weight'"):
        load_published(build("levit_128s", FINDINGS, image_size=64), state, keep_head=True)


@pytest.mark.parametrize(("given", "wanted"), [(224, 64), (64, 96)])
def test_biases_of_levits_attention_keep_their_distance_at_another_size(given, wanted):
    """A bias belongs to a distance in rows and columns; distances beyond the given ones get the bias of the largest."""
    theirs, ours = published("levit_128s", given), build("levit_128s", FINDINGS, image_size=wanted)
    state, keys = theirs.state_dict(), []
    for key, value in state.items():
        if key.endswith("attention_biases"):
            side = isqrt(value.shape[1])
            rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
            state[key] = (100 * rows + columns).flatten().expand_as(value).double()
            keys.append((key, side))
    load_published(ours, state)
    assert len(keys) > 5
    for key, side in keys:
        found = ours.backbone.network.state_dict()[key]
        new = isqrt(found.shape[1])
        for row in range(new):
            for column in range(new):
                expected = 100 * min(row, side - 1) + min(column, side - 1)
                assert (found[:, row * new + column] == expected).all()

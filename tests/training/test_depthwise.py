"""Gradients of large depthwise kernels: the same as torch's, only in training, only where they apply."""

import pytest
import torch
from torch import nn

from cxr_kd.models.build import build
from cxr_kd.training.depthwise import fast_gradients, weight_gradient


@pytest.mark.parametrize(("kernel", "stride", "padding", "side"), [
    (5, 1, 2, 13), (5, 2, 2, 12), (7, 1, 3, 9), (7, 2, 3, 14), (7, 2, 0, 15), ((5, 7), (1, 2), (2, 1), 11),
    (4, 1, 1, 8),
])  # fmt: skip
@pytest.mark.parametrize("at_once", [1, 4 * 2**20])
def test_the_gradient_is_torchs(kernel, stride, padding, side, at_once, monkeypatch):
    monkeypatch.setattr("cxr_kd.training.depthwise.AT_ONCE", at_once)
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=False).double()
    images = torch.randn(3, 6, side, side, dtype=torch.float64)
    out = layer(images)
    gradient = torch.randn_like(out)
    (expected,) = torch.autograd.grad(out, layer.weight, gradient)
    found = weight_gradient(gradient, images, layer.weight, layer.stride, layer.padding)
    torch.testing.assert_close(found, expected)


def test_a_networks_step_is_the_same_and_its_layers_are_themselves_again():
    torch.manual_seed(0)
    network = build("eeea_net_c2", ("Effusion", "Mass"), image_size=64).train()
    images, gradients = torch.rand(2, 1, 64, 64), []
    for enabled in (False, True):
        with fast_gradients(network, enabled=enabled):
            kinds = [type(module).__name__ for module in network.modules()]
            assert kinds.count("_FastDepthwise") == (11 if enabled else 0)
            network.zero_grad()
            network(images).square().sum().backward()
        gradients.append([each.grad.clone() for each in network.parameters()])
    for plain, fast in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-3, atol=1e-4)
    assert not any(type(module).__name__ == "_FastDepthwise" for module in network.modules())


def test_layers_are_themselves_again_after_an_error():
    layer = nn.Conv2d(4, 4, 5, groups=4, bias=False)
    with pytest.raises(RuntimeError), fast_gradients(layer):
        layer(torch.rand(1, 3, 8, 8))
    assert type(layer) is nn.Conv2d


@pytest.mark.parametrize("layer", [
    nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.Conv2d(4, 4, 5, bias=False), nn.Conv2d(4, 4, 5, groups=4),
    nn.Conv2d(4, 4, 5, groups=4, bias=False, dilation=2), nn.Conv2d(4, 8, 5, groups=4, bias=False),
    nn.Conv2d(4, 4, 5, groups=4, bias=False, padding="same"),
])  # fmt: skip
def test_other_layers_are_left_alone(layer):
    with fast_gradients(layer):
        assert type(layer) is nn.Conv2d

"""LayerCAM at inner layers: the layer is found in every network, and its maps are pytorch-grad-cam's."""

import numpy as np
import pytest
import torch
from pytorch_grad_cam import LayerCAM
from small_models import FINDINGS, SIZE, TIMM, radiographs, raw_maps, scaled_model
from torch import nn
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods import grids
from cxr_kd.explanation.methods.cam import of_pairs
from cxr_kd.explanation.methods.cam_family import explainer
from cxr_kd.explanation.methods.inner_layers import find_layer, layer_cam_at
from cxr_kd.explanation.methods.last_map_cams import layer_cam
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.heads import LinearHead
from cxr_kd.models.registry import names

STRIDES = {"layercam16": 16, "layercam8": 8}
ONE_STRIDE = ("vit_tiny_patch16_224",)  # all of its layers have patches of 16 px


@pytest.fixture(scope="module", params=[*names(), *TIMM])
def model(request):
    return scaled_model(request.param)


@pytest.mark.parametrize("method", STRIDES)
def test_maps_at_inner_layers_are_those_of_the_library(model, method):
    stride = STRIDES[method]
    if model.name in ONE_STRIDE and stride == 8:
        pytest.skip("has no such layer: tested below")
    layer = find_layer(model, stride)
    with torch.inference_mode():
        logits, found = explainer(model, method)(radiographs(1))
    cells = SIZE // stride
    assert found.shape == (1, len(FINDINGS), cells, cells)
    torch.testing.assert_close(logits, model(radiographs(1)))
    target = model.backbone.get_submodule(layer.name)
    expected = raw_maps(LayerCAM(model, [target], reshape_transform=layer.as_map), radiographs(1))
    scale = np.abs(expected).max()
    assert scale > 0
    np.testing.assert_allclose(found.numpy() / cells**2 / scale, expected / scale, rtol=0, atol=1e-4)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_at_the_last_map_it_is_the_closed_form(model):
    _, expected = layer_cam(model)(radiographs())
    _, found = layer_cam_at(model, SIZE // expected.shape[-1])(radiographs())
    torch.testing.assert_close(found, expected.detach(), rtol=1e-3, atol=1e-4 * expected.abs().max().item())


def test_a_layer_inside_a_residual_branch_is_not_chosen():
    """The branch of ResNet's last stage has stride 16 once more, but its shortcut bypasses it."""
    model = build("resnet18", FINDINGS, image_size=SIZE).eval()
    assert find_layer(model, 16).name == "network.layer3"
    assert find_layer(model, 8).name == "network.layer2"


def test_a_stride_that_the_network_does_not_have_is_refused():
    model = build("vit_tiny_patch16_224", FINDINGS, image_size=SIZE).eval()
    with pytest.raises(ModelError, match=r"has no layer of stride 8 \(8 x 8 cells at 64 px\)"):
        explainer(model, "layercam8")


class InPlace(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(features.tanh_(), 2)


def test_a_planted_in_place_operation_is_caught():
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3, stride=8, padding=1), InPlace())
    model = CxrClassifier("planted", FINDINGS, SIZE, backbone, LinearHead(4, 2), mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(ModelError, match=r"planted: a layer changes the output of 'backbone\.0' in place"):
        explainer(model.eval(), "layercam8")(radiographs())


def test_pairs_alone_have_the_maps_that_all_findings_have():
    torch.manual_seed(0)
    model = build("eeea_net_c2", ("Mass", "Nodule", "Edema"), image_size=64).eval()
    images, rows, columns = torch.rand(2, 1, 64, 64), np.array([0, 0, 1]), np.array([2, 0, 1])
    explain = grids.explainer(model, "layercam16")
    with torch.inference_mode():
        logits, evidence = explain(images)
        own_logits, own = of_pairs(explain, images, rows, columns)
    torch.testing.assert_close(own_logits, logits[rows, columns])
    torch.testing.assert_close(own, evidence[rows, columns])

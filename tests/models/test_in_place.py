"""An operation that works in place after the last map makes maps wrong in silence: each way to plant one is caught."""

import pytest
import torch
from mutations import MutationsSeen
from torch import nn

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.cam import maps
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.heads import LayeredHead, LinearHead

FINDINGS = ("Mass", "Nodule")


def classifier(backbone: nn.Module, head: nn.Module, kind: type[CxrClassifier] = CxrClassifier) -> CxrClassifier:
    return kind("planted", FINDINGS, 16, backbone, head, mean=[0.5] * 3, std=[0.25] * 3).double().eval()


def grad_cam(model: CxrClassifier, images: torch.Tensor) -> torch.Tensor:
    """Maps from gradients at a copy of the features, so that what the head does to them changes nothing."""
    features = model.features(images).detach().clone().requires_grad_()
    logits = model.head(features.mean(dim=(2, 3)))
    found = []
    for position in range(len(FINDINGS)):
        (gradient,) = torch.autograd.grad(logits[:, position].sum(), features, retain_graph=True)
        found.append(torch.relu((gradient.sum(dim=(2, 3), keepdim=True) * features).sum(dim=1)))
    return torch.stack(found, dim=1).detach()


def equal_to_grad_cam(model: CxrClassifier) -> bool:
    images = torch.rand(2, 1, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, found = maps(model, images)
    return torch.allclose(found, grad_cam(model, images))


def in_place_in(model: CxrClassifier) -> list[str]:
    with torch.no_grad(), MutationsSeen() as seen:
        maps(model, torch.rand(1, 1, 16, 16, dtype=torch.float64))
    return seen.operations


def parts() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    head = LinearHead(5, len(FINDINGS))
    nn.init.normal_(head.output.weight)
    return nn.Conv2d(3, 5, 3, 2, 1), head


def test_without_one_the_check_finds_nothing():
    model = classifier(*parts())
    assert equal_to_grad_cam(model)
    assert in_place_in(model) == []


@pytest.mark.parametrize("layer", [nn.ReLU(inplace=True), nn.Hardswish(inplace=True), nn.Dropout(inplace=True)])
def test_a_layer_that_is_set_to_work_in_place_is_refused_by_name(layer):
    backbone, head = parts()
    kind = type(layer).__name__
    with pytest.raises(ModelError, match=rf"planted: layer 'backbone\.1', a {kind}, works in place.*inplace=False"):
        classifier(nn.Sequential(backbone, layer), head)
    with pytest.raises(ModelError, match=r"planted: layer 'head\.layers\.0'"):
        classifier(backbone, LayeredHead([layer], 5, len(FINDINGS)))


class ActivatesInPlace(CxrClassifier):
    """Its pooling writes into the last map, as an activation that a library calls after it would."""

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        return super().pool(features.relu_())


class HeadInPlace(LayeredHead):
    """Its hidden layer writes into the pooled features, from which the Jacobian is computed afterwards."""

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        logits = super().forward(pooled.clone())
        pooled.data.relu_()
        return logits


def test_an_activation_that_is_called_in_place_after_the_last_map_makes_maps_differ():
    model = classifier(*parts(), kind=ActivatesInPlace)
    assert not equal_to_grad_cam(model)
    assert any("relu_" in operation for operation in in_place_in(model))


def test_a_head_that_writes_into_the_pooled_features_makes_maps_differ():
    backbone, _ = parts()
    head = HeadInPlace([nn.Hardswish()], 5, len(FINDINGS))
    nn.init.normal_(head.output.weight)
    model = classifier(backbone, head)
    assert not equal_to_grad_cam(model)
    assert any("relu_" in operation for operation in in_place_in(model))

"""Maps of one pass equal Grad-CAM's for all findings, are differentiable, and leave no gradients or hooks behind."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.cam import maps, upsample
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.heads import HardswishHead, Head, LinearHead
from cxr_kd.models.registry import names

FINDINGS = ("Mass", "Nodule", "Edema")
SIZE = 96


@pytest.fixture(scope="module", params=names())
def model(request):
    torch.manual_seed(0)
    model = build(request.param, FINDINGS, image_size=SIZE).eval()
    # Weights of the size that a trained head has: with smaller maps, the 1e-7 that the library adds would matter.
    nn.init.normal_(model.head.output.weight)
    return model


def radiographs(batch: int, size: int = SIZE) -> torch.Tensor:
    return torch.rand(batch, 1, size, size, generator=torch.Generator().manual_seed(0))


def test_maps_agree_with_pytorch_grad_cam(model):
    images = radiographs(2)
    with torch.no_grad():
        logits, found = maps(model, images)
        torch.testing.assert_close(logits, model(images))
    cells = found.shape[-1] * found.shape[-2]
    with GradCAM(model, target_layers=[model.backbone]) as grad_cam:
        for position in range(len(FINDINGS)):
            theirs = grad_cam(images, [ClassifierOutputTarget(position)] * 2)
            # Grad-CAM's weights are means over cells; the library stretches each map before and after resizing it.
            ours = scale_cam_image(scale_cam_image(found[:, position].numpy() / cells, (SIZE, SIZE)))
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
    model.zero_grad()  # the library leaves gradients


def test_maps_agree_with_autograd(model):
    """The weights are the mean gradient of each logit over the cells; nothing is stretched."""
    images = radiographs(2)
    features = model.features(images).detach().requires_grad_()
    logits = model.head(model.pool(features))
    with torch.no_grad():
        _, found = maps(model, images)
    for position in range(len(FINDINGS)):
        (gradient,) = torch.autograd.grad(logits[:, position].sum(), features, retain_graph=True)
        weights = gradient.sum(dim=(2, 3), keepdim=True)
        expected = torch.relu((weights * features).sum(dim=1))
        torch.testing.assert_close(found[:, position], expected.detach(), rtol=1e-3, atol=1e-5)


def test_maps_of_some_findings_come_in_the_requested_order(model):
    with torch.no_grad():
        logits, everything = maps(model, radiographs(1))
        chosen_logits, chosen = maps(model, radiographs(1), ["Edema", "Mass"])
    torch.testing.assert_close(chosen, everything[:, [2, 0]], rtol=1e-5, atol=1e-5)  # summed in another order
    assert torch.equal(chosen_logits, logits)
    with pytest.raises(ModelError, match="has no finding 'Tumour'; it has: Mass, Nodule, Edema"):
        maps(model, radiographs(1), ["Tumour"])


def test_maps_have_gradients_and_leave_no_gradients_or_hooks_behind(model):
    parameter = next(model.backbone.parameters())
    _, found = maps(model, radiographs(1))
    assert parameter.grad is None
    (gradient,) = torch.autograd.grad(found.sum(), parameter)
    assert gradient.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks for module in model.modules())
    with torch.no_grad():
        assert not maps(model, radiographs(1))[1].requires_grad


def tiny(head: Head, seed: int) -> CxrClassifier:
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Tanh())
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return CxrClassifier("tiny", FINDINGS, 8, backbone, head, mean=(0.5,) * 3, std=(0.25,) * 3).double().eval()


seeds = st.integers(0, 2**16)


@settings(deadline=None, max_examples=30)
@given(seed=seeds, factor=st.floats(0.01, 100), hardswish=st.booleans())
def test_maps_are_never_negative_and_scale_with_the_logits(seed, factor, hardswish):
    model = tiny(HardswishHead(5, 7, 3) if hardswish else LinearHead(5, 3), seed)
    with torch.no_grad():
        _, before = maps(model, radiographs(2, 8))
        model.head.output.weight.mul_(factor)
        _, after = maps(model, radiographs(2, 8))
    assert (before >= 0).all()
    torch.testing.assert_close(after, factor * before)


@settings(deadline=None, max_examples=30)
@given(seed=seeds)
def test_with_a_linear_head_the_mean_evidence_is_the_logit_without_its_bias(seed):
    """Evidence is the map minus the map of the negated head, because a map keeps only the positive part."""
    model = tiny(LinearHead(5, 3), seed)
    with torch.no_grad():
        logits, evidence_for = maps(model, radiographs(2, 8))
        model.head.output.weight.neg_()
        _, evidence_against = maps(model, radiographs(2, 8))
    mean = (evidence_for - evidence_against).mean(dim=(2, 3))
    torch.testing.assert_close(mean, logits - model.head.output.bias)


def test_gradients_of_maps_agree_with_finite_differences():
    model = tiny(HardswishHead(5, 7, 3), 1)
    images = 0.1 + 0.8 * torch.rand(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: maps(model, x), (images.requires_grad_(),))


def test_upsampling_keeps_range_mean_and_position():
    cell = torch.zeros(1, 1, 7, 7)
    cell[0, 0, 2, 5] = 3.0
    large = upsample(cell, 224)
    assert large.shape == (1, 1, 224, 224)
    assert 0 <= large.min() <= large.max() <= 3
    torch.testing.assert_close(large.mean(), cell.mean())
    centre = (
        (large[0, 0] / large.sum() * torch.arange(224)[:, None]).sum(),
        (large / large.sum() * torch.arange(224)).sum(),
    )
    assert centre == (pytest.approx(2.5 * 32 - 0.5, abs=1e-2), pytest.approx(5.5 * 32 - 0.5, abs=1e-2))

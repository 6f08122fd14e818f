"""The family of class activation maps: equal to pytorch-grad-cam's before its scaling, for many networks."""

from functools import lru_cache

import numpy as np
import pytest
import pytorch_grad_cam as library
import torch
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction
from small_models import FINDINGS, SIZE, TIMM, radiographs, raw_maps, scaled_model
from torch import nn
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.cam import upsample
from cxr_kd.explanation.methods.cam_family import METHODS, explainer
from cxr_kd.explanation.methods.perturbation_cams import Work, score_cam
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.heads import LinearHead
from cxr_kd.models.registry import names

LAST_MAP = {
    "grad_cam": library.GradCAM,
    "hires_cam": library.HiResCAM,
    "xgrad_cam": library.XGradCAM,
    "layer_cam": library.LayerCAM,
}


@pytest.fixture(scope="module", params=[*names(), *TIMM])
def model(request):
    return scaled_model(request.param)


@lru_cache(maxsize=1)
def last_map(model: CxrClassifier) -> torch.Tensor:
    with torch.no_grad():
        return model.features(radiographs())


def ours(model: CxrClassifier, method: str) -> np.ndarray:
    with torch.no_grad():
        logits, evidence = explainer(model, method)(radiographs())
        torch.testing.assert_close(logits, model.head(model.pool(last_map(model))))
    assert evidence.shape[:2] == (2, len(FINDINGS))
    return evidence.numpy()


class Tail(nn.Module):
    """A network from its last map on. The library's gradients at that map are the same, without the layers below."""

    def __init__(self, model: CxrClassifier) -> None:
        super().__init__()
        self.last_map, self.pool, self.head = nn.Identity(), model.pool, model.head

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.head(self.pool(self.last_map(features)))


def theirs(model: CxrClassifier, cam_class: type, **options) -> np.ndarray:
    """The library's maps at the last map, (2, L, h, w)."""
    tail = Tail(model)
    return raw_maps(cam_class(tail, [tail.last_map], **options), last_map(model).clone().requires_grad_())


def assert_same(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    scale = np.abs(expected).max(axis=(2, 3), keepdims=True)
    assert scale.min() > 0
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=tolerance)


@pytest.mark.parametrize("method", LAST_MAP)
def test_maps_are_those_of_the_library(model, method):
    found = ours(model, method)
    cells = found.shape[-1] * found.shape[-2]
    assert_same(found / cells, theirs(model, LAST_MAP[method]))


def test_grad_cam_plus_plus_is_the_librarys(model):
    found = ours(model, "grad_cam_plus_plus")
    negative = last_map(model).min() < 0
    # The library adds 1e-6 to a denominator that negative features bring close to 0.
    assert_same(found, theirs(model, library.GradCAMPlusPlus), 0.05 if negative else 1e-3)


def test_eigen_cam_is_the_librarys_with_its_own_sign_correction(model):
    found = ours(model, "eigen_cam")
    expected = get_2d_projection_with_sign_correction(last_map(model).numpy())
    assert_same(found, np.stack([expected] * len(FINDINGS), axis=1), 1e-3)
    uncorrected = theirs(model, library.EigenCAM)
    assert_same(np.abs(found), np.abs(uncorrected), 1e-3)


class ToZero(AblationLayer):
    """The paper's ablation. The library's own sets a channel that can be negative to its least value minus 1e7."""

    def __call__(self, x):
        rows = torch.arange(len(self.activations))
        self.activations[rows, torch.as_tensor(self.indices[: len(rows)]).long()] = 0
        return self.activations


def test_ablation_cam_is_the_librarys_times_the_logit(model):
    found = ours(model, "ablation_cam")
    with torch.no_grad():
        logits = model.head(model.pool(last_map(model))).numpy()[:, :, None, None]
    expected = logits * theirs(model, library.AblationCAM, ablation_layer=ToZero(), batch_size=256)
    assert_same(found, expected, 1e-3)
    if model.name == "tf_efficientnet_lite0":  # no feature is negative, so the library's own ablation is the paper's
        assert last_map(model).min() == 0
        assert_same(found, logits * theirs(model, library.AblationCAM, batch_size=256), 1e-3)


class FirstChannels(nn.Module):
    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features[:, :4]


def corners(maps: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=True)


def test_score_cam_is_the_librarys(model):
    """On four channels of every network, because the library takes one pass per channel, image and finding."""
    torch.manual_seed(0)
    narrow = CxrClassifier(
        model.name,
        FINDINGS,
        SIZE,
        nn.Sequential(model.backbone, FirstChannels()),
        LinearHead(4, len(FINDINGS)),
        mean=model.mean.flatten().tolist(),
        std=model.std.flatten().tolist(),
    ).eval()
    nn.init.normal_(narrow.head.output.weight)
    _, found = score_cam(narrow, Work(batch_size=3), enlarge=corners)(radiographs(1))
    assert_same(found.numpy(), raw_maps(library.ScoreCAM(narrow, [narrow.backbone]), radiographs(1)))


def test_methods_take_images_of_eight_bits():
    model = build("eeea_net_c2", FINDINGS, image_size=SIZE).eval()
    bytes_ = (radiographs(1) * 255).round().to(torch.uint8)
    for method in METHODS.keys() - {"score_cam"}:
        torch.testing.assert_close(explainer(model, method)(bytes_), explainer(model, method)(bytes_ / 255))
    few = torch.nn.Sequential(model.backbone, FirstChannels())
    narrow = CxrClassifier("narrow", FINDINGS, SIZE, few, LinearHead(4, 2), mean=(0.5,) * 3, std=(0.5,) * 3).eval()
    score = explainer(narrow, "score_cam", batch_size=3)
    torch.testing.assert_close(score(bytes_), score(bytes_ / 255))
    with torch.no_grad():  # step by step, with each mask enlarged about the cells' centres
        (features,) = narrow.features(bytes_)
        masks = [upsample(channel[None, None], SIZE) for channel in features]
        masks = [(mask - mask.min()) / (mask.max() - mask.min()) for mask in masks]
        weights = torch.cat([narrow(bytes_ / 255 * mask) for mask in masks]).softmax(dim=0)  # (K, L)
        expected = sum(weight[:, None, None] * channel for weight, channel in zip(weights, features, strict=True))
    torch.testing.assert_close(score(bytes_)[1][0], expected, rtol=1e-4, atol=0)


def test_an_unknown_method_is_refused_with_the_allowed_names():
    with pytest.raises(
        ModelError, match=r"no method is called 'gradcam'; allowed: grad_cam, .*score_cam, ablation_cam"
    ):
        explainer(build("eeea_net_c2", FINDINGS, image_size=SIZE).eval(), "gradcam")


def test_a_network_in_training_mode_is_refused():
    with pytest.raises(ModelError, match="eeea_net_c2 is in training mode"):
        explainer(build("eeea_net_c2", FINDINGS, image_size=SIZE), "grad_cam")


def test_a_map_of_one_cell_has_no_principal_component():
    model = build("eeea_net_c2", FINDINGS, image_size=32).eval()
    with pytest.raises(ModelError, match="eigen_cam does not fit eeea_net_c2 at 32 px: its last map has one cell"):
        explainer(model, "eigen_cam")(radiographs(1, 32))


def test_a_constant_map_has_an_empty_eigen_cam():
    model = build("eeea_net_c2", FINDINGS, image_size=SIZE).eval()
    for parameter in model.backbone.final_expand.parameters():
        nn.init.zeros_(parameter)
    _, found = explainer(model, "eigen_cam")(radiographs(1))
    assert torch.equal(found, torch.zeros_like(found))


def test_the_batch_size_must_be_positive():
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        Work(batch_size=0)

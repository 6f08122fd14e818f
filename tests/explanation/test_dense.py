"""The dense copy holds the network's own cells, shares its weights, has gradients, and refuses unknown layers."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.dense import atrous, logit_movement
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.heads import LinearHead
from cxr_kd.models.ofa import SqueezeExcite

FINDINGS = ("Mass", "Nodule", "Edema")
CONVOLUTIONAL = (
    "eeea_net_c2",
    "ofa_595",
    "densenet121",
    "densenet161",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite2",
)


def network(name: str, size: int = 64) -> CxrClassifier:
    """A network with running statistics of its own, so that a wrong place of a padded zero would be seen."""
    torch.manual_seed(0)
    model = build(name, FINDINGS, image_size=size).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return model


def without_squeeze_excite(model: CxrClassifier) -> CxrClassifier:
    for name, module in list(model.backbone.named_modules()):
        if isinstance(module, SqueezeExcite) or type(module).__name__ == "SqueezeExcite":
            model.backbone.set_submodule(name, nn.Identity())
    return model


def radiographs(batch: int, size: int) -> torch.Tensor:
    return torch.rand(batch, 1, size, size, generator=torch.Generator().manual_seed(0))


def of(*layers: nn.Module, size: int = 64) -> CxrClassifier:
    model = CxrClassifier(
        "planted", FINDINGS, size, nn.Sequential(*layers), LinearHead(4, 3), mean=[0] * 3, std=[1] * 3
    )
    return model.eval()


# resnet18 has parallel branches and an in-place sum, convnext_atto cuts patches, mobilenetv3 has timm's own
# squeeze-and-excite. 100 px: maps of 50, 25, 13, 7 and 4 cells, so that sizes are even and odd and pooling leaves out
# a last row.
@pytest.mark.parametrize(
    ("name", "size", "factor"),
    [(name, 100, 2) for name in (*CONVOLUTIONAL, "resnet18") if name != "densenet161"]
    + [(name, 64, 2) for name in ("densenet161", "convnext_atto", "mobilenetv3_small_050")]
    + [(name, 64, 4) for name in CONVOLUTIONAL[::4]],
)
def test_the_networks_own_cells_are_every_nth_of_the_dense_map(name, size, factor):
    model = without_squeeze_excite(network(name, size))
    with torch.no_grad():
        plain = model.features(radiographs(1, size))
        dense = atrous(model, factor).features(radiographs(1, size))
    assert dense.shape[-2:] == (factor * plain.shape[-2], factor * plain.shape[-1])
    scale = plain.abs().max().item()
    torch.testing.assert_close(dense[..., ::factor, ::factor], plain, rtol=0, atol=1e-5 * scale)
    between = dense[..., 1::factor, 1::factor] - plain
    assert between.abs().mean() > 1e-3 * plain.abs().mean()  # cells of their own, not repeated ones


@pytest.mark.parametrize("pool", [nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.MaxPool2d(2)])
def test_pooling_is_dilated_and_strides_of_four_become_two(pool):
    layers = (
        nn.Conv2d(3, 4, 4, 4),
        pool,
        nn.Conv2d(4, 4, 3, padding=1),
        deepcopy(pool),
        nn.Conv2d(4, 4, (1, 3), padding=(0, 1)),
    )
    model = of(*layers).double()
    with torch.no_grad():
        plain = model.features(radiographs(1, 64))
        for factor in (2, 4, 8, 16):
            dense = atrous(model, factor).features(radiographs(1, 64))
            torch.testing.assert_close(dense[..., ::factor, ::factor], plain)
            assert dense.isfinite().all()


def test_the_copy_shares_the_weights_and_leaves_the_network_as_it_is():
    model = network("eeea_net_c2")
    before = model(radiographs(1, 64))
    dense = atrous(model, 2)
    ours, theirs = (dict((*each.named_parameters(), *each.named_buffers())) for each in (model, dense))
    assert ours.keys() == theirs.keys()
    assert all(ours[name] is theirs[name] for name in ours)
    assert torch.equal(model(radiographs(1, 64)), before)
    with torch.no_grad():
        model.head.output.bias.add_(1)
        (moved,) = dense.head.output.bias.unique()
    assert moved == 1


def test_gradients_reach_the_shared_weights_and_the_image():
    model = network("eeea_net_c2")
    images = radiographs(1, 64).requires_grad_()
    atrous(model, 2).features(images).square().sum().backward()
    assert images.grad is not None
    assert images.grad.abs().max() > 0
    assert model.backbone.stem.conv.weight.grad.abs().max() > 0
    assert all(parameter.grad is not None for parameter in model.backbone.parameters())


def test_the_copy_can_be_exported():
    dense = atrous(network("tf_efficientnet_lite0"), 2)
    image, other = radiographs(2, 64).split(1)
    with torch.no_grad():
        exported = torch.export.export(dense.backbone, (dense.normalise(image),)).module()
        torch.testing.assert_close(exported(dense.normalise(other)), dense.features(other))


def test_logit_movement_is_zero_for_the_network_itself_and_not_for_its_dense_copy():
    model = network("eeea_net_c2")
    nn.init.normal_(model.head.output.weight)
    images = radiographs(3, 64)
    still = logit_movement(model, model, images)
    assert (still.mean, still.largest) == (0, 0)
    moved = logit_movement(model, atrous(model, 2), images)
    with torch.no_grad():
        difference = (atrous(model, 2)(images) - model(images)).abs()
    assert moved.mean == pytest.approx(difference.mean().item())
    assert moved.largest == pytest.approx(difference.max().item())
    assert 0 < moved.mean < moved.largest
    assert moved.spread == pytest.approx(still.spread)
    assert still.spread > 0


@pytest.mark.parametrize("factor", [0, 1, 3, 6, -2])
def test_other_factors_are_refused(factor):
    with pytest.raises(ModelError, match=rf"2, 4, 8 or a higher power of 2, got {factor}"):
        atrous(network("eeea_net_c2"), factor)


def test_a_factor_above_the_stride_is_refused():
    with pytest.raises(ModelError, match="has a stride of 2 px: 4 times finer is none"):
        atrous(of(nn.Conv2d(3, 4, 3, 2, 1)), 4)


@pytest.mark.parametrize("name", ["visformer_s", "autoformer_v2_t"])
def test_transformers_are_refused(name):
    with pytest.raises(ModelError, match=f"{name} has attention.*shift-and-stitch"):
        atrous(network(name), 2)


class Functional(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Standardised(nn.Conv2d):
    """A convolution with a forward of its own, which a copy of its weights would not have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight - self.weight.mean(), self.bias, self.stride, self.padding)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Functional(lambda x: F.max_pool2d(x, 3, 1, 1)), "runs 'max_pool2d_with_indices' outside known layers"),
        (Functional(lambda x: x.roll(1, 2)), "runs 'roll' outside known layers"),
        (Functional(lambda x: x[..., ::2, ::2]), "runs 'slice' outside known layers"),
        (nn.GroupNorm(2, 4), "runs 'native_group_norm' outside known layers"),
        (Standardised(4, 4, 3, 2, 1), "layer '1', a Standardised with its settings, cannot be dilated"),
        (nn.Conv2d(4, 4, 3, 2, 1, padding_mode="reflect"), "layer '1', a Conv2d with its settings, cannot be dilated"),
        (nn.AvgPool2d(2, ceil_mode=True), "layer '1', a AvgPool2d with its settings, cannot be dilated"),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), "layer '1', a AvgPool2d with its settings"),
        (nn.Conv2d(4, 4, 3, 3, 1), "layer '1' sees 128 x 128 cells of an image of 256 px and has stride"),
        (nn.Conv2d(4, 4, 3, (2, 1), 1), "layer '1' sees 128 x 128 cells of an image of 256 px and has stride"),
        (Functional(lambda x: x.view(1, 4, 32, 32)), "cannot be run on an image of 256 px"),
        (Functional(lambda x: x.unflatten(3, (-1, 2)).mean(-1)), "the finer grid has|outside known layers"),
    ],
)
def test_layers_that_are_not_known_are_refused_by_name(layer, reason):
    with pytest.raises(ModelError, match=f"planted.*({reason}).*shift-and-stitch"):
        atrous(of(nn.Conv2d(3, 4, 3, 2, 1), layer), 2)


def test_a_layer_that_runs_at_two_sizes_is_refused():
    twice = nn.Conv2d(3, 3, 3, 2, 1)
    with pytest.raises(ModelError, match="layer '0' runs twice"):
        atrous(of(twice, twice, nn.Conv2d(3, 4, 1)), 2)

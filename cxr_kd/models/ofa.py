"""OFA-MobileNetV3 networks: inverted bottlenecks; an architecture search chose kernel, width and activation of each.

The same classes build EEEA-Net-C2 (Termritthikun et al., EAAI 2021, arXiv 2108.06156) and OFA-595 (Cai et al., ICLR
2020, arXiv 1908.09791) from two plans.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.models.heads import HardswishHead


@dataclass(frozen=True)
class OfaPlan:
    """The widths of the stem, the final expansion and the head, and one row per block.

    A row is (channels in, channels out, kernel, stride, expanded channels or 0 for no expansion, activation,
    squeeze-and-excite).
    """

    stem: int
    blocks: tuple[tuple[int, int, int, int, int, str, bool], ...]
    final_expand: int
    feature_mix: int


EEEA_NET_C2 = OfaPlan(
    stem=16,
    blocks=(
        (16, 16, 3, 1, 0, "relu", False),
        (16, 24, 3, 2, 48, "relu", False),
        (24, 24, 5, 1, 96, "relu", False),
        (24, 24, 3, 1, 72, "relu", False),
        (24, 40, 7, 2, 96, "relu", True),
        (40, 40, 3, 1, 120, "relu", True),
        (40, 40, 7, 1, 120, "relu", True),
        (40, 80, 5, 2, 240, "hswish", False),
        (80, 80, 7, 1, 480, "hswish", False),
        (80, 80, 5, 1, 240, "hswish", False),
        (80, 80, 3, 1, 240, "hswish", False),
        (80, 112, 7, 1, 480, "hswish", True),
        (112, 112, 5, 1, 448, "hswish", True),
        (112, 112, 3, 1, 336, "hswish", True),
        (112, 112, 3, 1, 336, "hswish", True),
        (112, 160, 5, 2, 672, "hswish", True),
        (160, 160, 3, 1, 960, "hswish", True),
        (160, 160, 5, 1, 960, "hswish", True),
        (160, 160, 7, 1, 480, "hswish", True),
    ),
    final_expand=960,
    feature_mix=1280,
)

OFA_595 = OfaPlan(
    stem=24,
    blocks=(
        (24, 24, 3, 1, 0, "relu", False),
        (24, 32, 3, 2, 72, "relu", False),
        (32, 32, 5, 1, 128, "relu", False),
        (32, 32, 3, 1, 96, "relu", False),
        (32, 48, 5, 2, 128, "relu", True),
        (48, 48, 5, 1, 192, "relu", True),
        (48, 48, 3, 1, 288, "relu", True),
        (48, 48, 5, 1, 144, "relu", True),
        (48, 96, 7, 2, 288, "hswish", False),
        (96, 96, 5, 1, 576, "hswish", False),
        (96, 96, 3, 1, 288, "hswish", False),
        (96, 96, 5, 1, 384, "hswish", False),
        (96, 136, 3, 1, 576, "hswish", True),
        (136, 136, 5, 1, 816, "hswish", True),
        (136, 136, 7, 1, 816, "hswish", True),
        (136, 136, 3, 1, 544, "hswish", True),
        (136, 192, 3, 2, 816, "hswish", True),
        (192, 192, 3, 1, 1152, "hswish", True),
        (192, 192, 5, 1, 1152, "hswish", True),
        (192, 192, 3, 1, 576, "hswish", True),
    ),
    final_expand=1152,
    feature_mix=1536,
)

_ACTIVATIONS = {"relu": F.relu, "hswish": F.hardswish, "none": lambda x: x}


class ConvNorm(nn.Module):
    """Convolution, batch norm, activation ("relu", "hswish" or "none")."""

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1, activation: str = "none"
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(out)
        self.activation = activation
        nn.init.normal_(self.conv.weight, std=math.sqrt(2 * groups / (kernel * kernel * out)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, channels, H, W) to (B, out, H / stride, W / stride), odd sizes rounded up."""
        return _ACTIVATIONS[self.activation](self.bn(self.conv(x)))


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate in [0, 1], computed from the means of all channels (Hu et al., CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _make_divisible(channels / 4, 8)
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, channels, H, W) to the same shape."""
        gate = F.relu(self.reduce(x.mean(dim=(2, 3), keepdim=True)))
        return x * F.hardsigmoid(self.expand(gate))


class InvertedBottleneck(nn.Module):
    """Expand, depthwise, squeeze-and-excite, project; with a shortcut if the shape does not change."""

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int, expanded: int, activation: str, squeeze_excite: bool
    ) -> None:
        super().__init__()
        width = expanded or channels
        self.expand = ConvNorm(channels, width, 1, activation=activation) if expanded else nn.Identity()
        self.depthwise = ConvNorm(width, width, kernel, stride, groups=width, activation=activation)
        self.squeeze_excite = SqueezeExcite(width) if squeeze_excite else nn.Identity()
        self.project = ConvNorm(width, out, 1)
        self.shortcut = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, channels, H, W) to (B, out, H / stride, W / stride)."""
        y = self.project(self.squeeze_excite(self.depthwise(self.expand(x))))
        return x + y if self.shortcut else y


class OfaFeatures(nn.Module):
    """The network of a plan up to its last feature map."""

    def __init__(self, plan: OfaPlan) -> None:
        super().__init__()
        self.stem = ConvNorm(3, plan.stem, 3, stride=2, activation="hswish")
        self.blocks = nn.Sequential(*(InvertedBottleneck(*row) for row in plan.blocks))
        self.final_expand = ConvNorm(plan.blocks[-1][1], plan.final_expand, 1, activation="hswish")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalised images (B, 3, S, S) to (B, final_expand, S / 32, S / 32), odd sizes rounded up."""
        return self.final_expand(self.blocks(self.stem(x)))


def ofa_head(plan: OfaPlan, findings: int) -> HardswishHead:
    """Return a head of the plan's widths for that many findings."""
    return HardswishHead(plan.final_expand, plan.feature_mix, findings)


_PUBLISHED_NAMES = (
    ("backbone.stem.", "first_conv."),
    ("backbone.final_expand.", "final_expand_layer."),
    ("backbone.blocks.", "blocks."),
    (".squeeze_excite.", ".mobile_inverted_conv.depth_conv.se.fc."),
    (".depthwise.", ".mobile_inverted_conv.depth_conv."),
    (".project.", ".mobile_inverted_conv.point_linear."),
    ("head.hidden.", "feature_mix_layer.conv."),
    ("head.output.", "classifier.linear."),
)


def published_key(key: str) -> str:
    """Return the authors' name (the darmo package's checkpoints) for a key of our state dict."""
    for ours, theirs in _PUBLISHED_NAMES:
        key = key.replace(ours, theirs)
    # Last, because the squeeze-and-excite layer also has an `expand`.
    return key if ".se.fc." in key else key.replace(".expand.", ".mobile_inverted_conv.inverted_bottleneck.")


def from_published(
    published: Mapping[str, torch.Tensor], ours: Mapping[str, torch.Tensor], *, keep_head: bool
) -> dict[str, torch.Tensor]:
    """Convert a state dict in the authors' layout to our keys; without `keep_head` keep the last layer of `ours`.

    Raises ModelError naming the first key that is missing or has another shape.
    """
    converted = dict(ours)
    for key, value in ours.items():
        if key.endswith("num_batches_tracked") or (key.startswith("head.output.") and not keep_head):
            continue
        source = published_key(key)
        if source not in published:
            raise ModelError(f"the published weights have no {source!r} (ours: {key!r}): are they another network's?")
        # Their feature mixing is a 1x1 convolution on one position; ours is a linear layer with the same numbers.
        if published[source].numel() != value.numel():
            shapes = f"{tuple(published[source].shape)} where {tuple(value.shape)} belongs"
            raise ModelError(f"the published weights' {source!r} has shape {shapes}: are they another network's?")
        converted[key] = published[source].reshape(value.shape)
    return converted


def _make_divisible(value: float, divisor: int) -> int:
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded

"""Finer maps in one forward pass: the trained network evaluated densely (a trous), with the same weights.

The last strides of a network become 1 and the layers after them are dilated, so that every layer still sees the inputs
that it was trained on, at more places (Holschneider et al., 1989; Long et al., CVPR 2015, section 3.1; Yu and Koltun,
ICLR 2016). Nothing is retrained.

What stays: each of the network's own cells. With zero padding, `dense[..., ::factor, ::factor]` is the plain map, to
float rounding. What moves: everything after a layer that averages over the whole map, because the average is over a
finer grid, whose last rows and columns see more padding. These layers are squeeze-and-excite (EEEA-Net-C2, OFA-595) and
the global pooling, so the copy's logits differ from the plain network's: `logit_movement` measures by how much.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.layer_geometry import INSTEAD, SpatialLayer, observe_layers
from cxr_kd.models.classifier import CxrClassifier

# Divisible by every stride, so that the size of a layer's input says what the stride up to there is.
_PROBE_SIZE = 256


def atrous(model: CxrClassifier, factor: int) -> CxrClassifier:
    """Return a copy of a convolutional network whose maps have `factor` times as many cells per side (2, 4, 8, ...).

    The copy shares the weights: its parameters and buffers are the model's own objects, so move the model to its device
    before. Cell (factor i, factor j) of the copy is cell (i, j) of the model; the cells between lie between. One
    forward pass, differentiable, for the model's image size, without code that depends on data (so it can be exported).
    Raises ModelError with the reason for a factor that is not such a power of 2, and for a network with attention or
    with a layer that is not known to work at another spacing of cells.
    """
    if factor < 2 or factor & (factor - 1):
        raise ModelError(f"the factor of a finer grid is 2, 4, 8 or a higher power of 2, got {factor}")
    own = observe_layers(model, model.image_size)
    probe = observe_layers(model, _PROBE_SIZE)
    kept = _PROBE_SIZE // probe.cells // factor  # px between the cells of the finer grid
    if kept < 1:
        raise ModelError(f"{model.name} has a stride of {_PROBE_SIZE // probe.cells} px: {factor} times finer is none")
    dense = share_weights(model)
    for name, layer in own.layers.items():
        stride = _stride_before(model, name, probe.layers[name])
        if stride * max(layer.stride) > kept:
            dense.backbone.set_submodule(name, _dense_layer(dense.backbone.get_submodule(name), layer, stride, kept))
    found = observe_layers(dense, model.image_size, check=False).cells
    if found != factor * own.cells:  # a stride that no layer states
        raise ModelError(
            f"{model.name}: the finer grid has {found} cells per side, not {factor * own.cells}; {INSTEAD}"
        )
    return dense


def share_weights(model: CxrClassifier) -> CxrClassifier:
    """Return a copy of the model with layers of its own but the same parameters and buffers."""
    return deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


@dataclass(frozen=True)
class LogitMovement:
    """How far logits move: mean and largest absolute difference in logits, and the spread of the plain logits.

    `spread` is the mean over findings of the standard deviation over images. All at least 0; lower movement is better.
    """

    mean: float
    largest: float
    spread: float


@torch.inference_mode()
def logit_movement(model: CxrClassifier, other: CxrClassifier, images: torch.Tensor) -> LogitMovement:
    """Return how far the logits of `other`, such as the dense copy, are from the model's on images (B, 1, S, S).

    Give at least two images: the spread is over images.
    """
    logits = model.eval()(images)
    moved = (other.eval()(images) - logits).abs()
    return LogitMovement(moved.mean().item(), moved.max().item(), logits.std(dim=0).mean().item())


class _DenseConv(nn.Module):
    """A convolution with its own weights, at another stride, dilation and padding."""

    def __init__(
        self, layer: nn.Conv2d, padding: list[int], stride: tuple[int, int], dilation: tuple[int, int]
    ) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.padding, self.stride, self.dilation, self.groups = padding, stride, dilation, layer.groups

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x, self.padding)
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class _DensePool(nn.Module):
    """Pooling at another stride, dilation and padding."""

    def __init__(
        self, kernel: tuple[int, int], padding: list[int], stride: tuple[int, int], dilation: tuple[int, int]
    ) -> None:
        super().__init__()
        self.kernel, self.padding, self.stride, self.dilation = kernel, padding, stride, dilation


class _DenseMaxPool(_DensePool):
    """Max pooling at another stride, dilation and padding; what is outside the map is never the maximum."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x, self.padding, value=-torch.inf)
        return F.max_pool2d(padded, self.kernel, self.stride, 0, self.dilation)


class _DenseAvgPool(_DensePool):
    """Average pooling at another stride, dilation and padding; what is outside the map counts as 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # torch's average pooling has no dilation: the mean of as many moved maps as the kernel has places.
        padded = F.pad(x, self.padding)
        rows, columns = (self._places(side) for side in (0, 1))
        moved = [padded[..., down, right] for down in rows for right in columns]
        return sum(moved[1:], start=moved[0]) / len(moved)

    def _places(self, side: int) -> list[slice]:
        kernel, dilation = self.kernel[side], self.dilation[side]
        ends = [-(kernel - 1 - place) * dilation or None for place in range(kernel)]
        return [slice(place * dilation, end, self.stride[side]) for place, end in enumerate(ends)]


def _dense_layer(module: nn.Module, layer: SpatialLayer, stride: int, kept: int) -> nn.Module:
    """Return a layer for cells `kept` px apart, at a place where the network's cells are `stride` px apart."""
    spread = max(1, stride // kept)  # cells of the finer grid per cell of the network's own, before the layer
    smaller = max(1, kept // stride)  # the stride that is left
    pads = [_padding(layer, side, stride, kept) for side in (0, 1)]
    padding = [*pads[1], *pads[0]]  # F.pad begins with the last dimension
    dilation = (layer.dilation[0] * spread, layer.dilation[1] * spread)
    strides = (min(layer.stride[0], smaller), min(layer.stride[1], smaller))
    if isinstance(module, nn.Conv2d):
        return _DenseConv(module, padding, strides, dilation)
    make: Callable[..., nn.Module] = _DenseMaxPool if isinstance(module, nn.MaxPool2d) else _DenseAvgPool
    return make(layer.kernel, padding, strides, dilation)


def _padding(layer: SpatialLayer, side: int, stride: int, kept: int) -> tuple[int, int]:
    """Return the padding before and after, so that a grid of n cells becomes one of exactly factor * n cells.

    The padding before keeps each of the network's own cells at its place; the padding after fills the rest.
    """
    spread, smaller = max(1, stride // kept), min(layer.stride[side], max(1, kept // stride))
    before = layer.padding[side] * spread
    cells = layer.size[side] * spread
    wanted = layer.size_after[side] * (layer.stride[side] * spread // smaller)
    reach = (layer.kernel[side] - 1) * layer.dilation[side] * spread + 1
    return before, (wanted - 1) * smaller + reach - before - cells


def _stride_before(model: CxrClassifier, name: str, layer: SpatialLayer) -> int:
    """Return how many px of the image are between the cells that a layer sees."""
    sizes, strides = set(layer.size), set(layer.stride)
    (size, *others) = sizes
    powers = all(step & (step - 1) == 0 for step in (*strides, _PROBE_SIZE // size))
    if others or len(strides) > 1 or not powers or _PROBE_SIZE % size:
        raise ModelError(
            f"{model.name}: layer {name!r} sees {' x '.join(map(str, layer.size))} cells of an image of "
            f"{_PROBE_SIZE} px and has stride {layer.stride}, not a power of 2: {INSTEAD}"
        )
    return _PROBE_SIZE // size

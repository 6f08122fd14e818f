"""What each layer of a convolutional network does in space, found by running the network once without memory."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cxr_kd.errors import ModelError
from cxr_kd.models.classifier import CxrClassifier

INSTEAD = "shift-and-stitch (shift2, shift4) works for every network"

# torch's operations that treat every cell alike wherever its neighbours are, or that average over the whole map.
_CELLWISE = frozenset(
    re.findall(
        r"\w+",
        """
        _native_batch_norm_legit_no_training _to_copy _unsafe_view add add_ addmm alias as_strided cat clamp clamp_min
        clone copy_ detach div elu empty empty_like expand full gelu hardsigmoid hardswish hardtanh leaky_relu
        lift_fresh linear matmul mean minimum mish mm mul mul_ native_batch_norm native_layer_norm neg ones permute pow
        prelu relu rsqrt rsub sigmoid silu softplus split split_with_sizes sqrt squeeze sub t tanh transpose unsqueeze
        view zeros zeros_like
        """,
    )
)
_ATTENTION = ("softmax", "scaled_dot_product", "bmm")


@dataclass(frozen=True)
class SpatialLayer:
    """A convolution or pooling that looks at neighbours or skips cells; each pair is (rows, columns).

    `size`, `size_after`: cells before and after it. `padding`: cells added before the first row and column.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    size: tuple[int, int]
    size_after: tuple[int, int]


@dataclass(frozen=True)
class Layers:
    """The spatial layers of a backbone by name, in the order in which they run, and the cells per side of its map."""

    layers: Mapping[str, SpatialLayer]
    cells: int


@torch.inference_mode(False)  # in which torch reports larger operations than those listed above
def observe_layers(model: CxrClassifier, image_size: int, *, check: bool = True) -> Layers:
    """Return what the backbone's layers do with an image of `image_size` px, by running it without memory.

    With `check`, raises ModelError with the reason unless everything that runs is known to work at another spacing of
    cells.
    """
    backbone = deepcopy(model.backbone).to("meta").eval()
    layers: dict[str, SpatialLayer] = {}
    watch = _Watch()
    if check:
        for name, module in backbone.named_modules():
            if isinstance(module, (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)):
                _observe(model.name, name, module, layers, watch)
    image = torch.empty(1, 3, image_size, image_size, device="meta", dtype=model.mean.dtype)
    try:
        with torch.no_grad(), watch if check else torch.no_grad():
            features = backbone(image)
    except (RuntimeError, ValueError, AssertionError, TypeError, NotImplementedError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{model.name} cannot be run on an image of {image_size} px ({error}): {INSTEAD}") from error
    watch.check(model.name)
    return Layers(layers, features.shape[-1])


def _observe(
    model: str,
    name: str,
    module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d,
    found: dict[str, SpatialLayer],
    watch: _Watch,
) -> None:
    def before(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        watch.inside = True

    def after(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        watch.inside = False
        layer = _layer(model, name, module, inputs[0], output)
        if layer.kernel == layer.stride == (1, 1):
            return
        if found.setdefault(name, layer) != layer:
            raise ModelError(f"{model}: layer {name!r} runs twice, at different sizes of maps: {INSTEAD}")

    module.register_forward_pre_hook(before)
    module.register_forward_hook(after)


def _layer(model: str, name: str, module: Any, x: torch.Tensor, output: torch.Tensor) -> SpatialLayer:
    kind = type(module).__name__
    kernel, stride = _pair(module.kernel_size), _pair(module.stride)
    size = (x.shape[-2], x.shape[-1])
    dilation = _pair(getattr(module, "dilation", 1))
    if kind == "Conv2dSame":  # timm's: TensorFlow's padding, whose larger half is after the map
        padding = tuple(_same(*each) for each in zip(size, kernel, stride, dilation, strict=True))
    elif type(module) in (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d) and _plain_padding(module):
        padding = _pair(module.padding)
    else:
        raise ModelError(f"{model}: layer {name!r}, a {kind} with its settings, cannot be dilated: {INSTEAD}")
    return SpatialLayer(kernel, stride, (padding[0], padding[1]), dilation, size, (output.shape[-2], output.shape[-1]))


def _plain_padding(module: Any) -> bool:
    """Return whether a layer pads with a fixed number of zeros (a maximum: with nothing), the same on both sides."""
    if isinstance(module, nn.Conv2d):
        return module.padding_mode == "zeros" and not isinstance(module.padding, str)
    if module.ceil_mode or min(_pair(module.kernel_size)) < max(_pair(module.stride)):
        return False
    if isinstance(module, nn.MaxPool2d):
        return not module.return_indices
    counts = module.count_include_pad or _pair(module.padding) == (0, 0)
    return counts and module.divisor_override is None


def _same(size: int, kernel: int, stride: int, dilation: int) -> int:
    return max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0) // 2


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class _Watch(TorchDispatchMode):
    """Records the operations outside known layers that may mix cells."""

    def __init__(self) -> None:
        super().__init__()
        self.unknown: list[str] = []
        self.inside = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if not self.inside and name not in _CELLWISE:
            self.unknown.append(name)
        return func(*args, **(kwargs or {}))

    def check(self, model: str) -> None:
        """Raise ModelError with the reason if there were any."""
        if not self.unknown:
            return
        attends = any(each in name for name in self.unknown for each in _ATTENTION)
        reason = "has attention, which sees all cells" if attends else f"runs {self.unknown[0]!r} outside known layers"
        raise ModelError(f"{model} {reason}, so it has no finer grid in one pass: {INSTEAD}")

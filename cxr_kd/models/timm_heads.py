"""The head of a timm network, found by watching it: what runs between its last map and its last linear layer."""

from typing import Any

import torch
from torch import nn

from cxr_kd.errors import ModelError
from cxr_kd.models.heads import LAYERS, Head, LayeredHead, LinearHead

# What does nothing to a mean, by name: not all of them are exported.
_TRANSPARENT = {"Identity", "Dropout", "Flatten", "AdaptiveAvgPool2d", "FastAdaptiveAvgPool"}


def take_head(network: Any, features: torch.Tensor, pooled: torch.Tensor, findings: int) -> tuple[Head, dict[str, str]]:
    """Give a head for `findings` that sees `pooled` (B, K), and the layers that it took: its name -> timm's name.

    `features` is what timm's `forward_features` gives, or noise of that shape, and `pooled` its global mean. Layers
    between the pooling and timm's last linear layer move from `network` into the head. Raises ModelError with the
    reason where timm's head sees more than the global mean (not looked at without memory, on the device "meta"), or
    has a layer whose Jacobian is not known here.
    """
    names = [name for name in _ran(network, features) if type(network.get_submodule(name)).__name__ not in _TRANSPARENT]
    layers = [_pooled_layer(name, network.get_submodule(name)) for name in names]
    found = nn.Sequential(*layers).eval()(pooled)
    if not features.is_meta:
        _check(found, network.forward_head(features, pre_logits=True))
    if not layers:
        return LinearHead(pooled.shape[1], findings), {}
    taken = {f"layers.{i}": names[i] for i, layer in enumerate(layers) if layer.state_dict()}
    for name in taken.values():
        network.set_submodule(name, nn.Identity())
    return LayeredHead(layers, found.shape[1], findings), taken


def _ran(network: Any, features: torch.Tensor) -> list[str]:
    """Names of the layers that timm's head runs, in order."""
    names: list[str] = []
    hooks = [
        # Before, not after: timm's batch norms run their activation within themselves.
        module.register_forward_pre_hook(lambda module, inputs, name=name: names.append(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm2d) or not any(True for _ in module.children())
    ]
    try:
        network.forward_head(features, pre_logits=True)
    finally:
        for hook in hooks:
            hook.remove()
    return names


def _pooled_layer(name: str, module: nn.Module) -> nn.Module:
    """The same layer for pooled features (B, K), with the same weights."""
    layer = module
    if isinstance(module, nn.Linear) or (
        isinstance(module, nn.Conv2d) and module.weight.shape[1:] == (_in(module), 1, 1)
    ):
        layer = nn.Linear(_in(module), len(module.weight), bias=module.bias is not None)
    elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
        layer = nn.LayerNorm(module.normalized_shape, eps=module.eps)
    elif isinstance(module, nn.BatchNorm2d) and module.affine and module.track_running_stats:
        layer = nn.BatchNorm1d(module.num_features, eps=module.eps, momentum=module.momentum)
    if type(layer) not in LAYERS or getattr(layer, "approximate", "none") != "none":
        raise ModelError(
            f"its head runs {name!r}, a {type(module).__name__}; between the last map and the last linear layer only "
            f"these are known, on the global mean: {', '.join(kind.__name__ for kind in LAYERS)}"
        )
    state = module.state_dict()
    layer.load_state_dict({key: state[key].reshape(value.shape) for key, value in layer.state_dict().items()})
    return layer


def _in(module: nn.Linear | nn.Conv2d) -> int:
    return module.in_features if isinstance(module, nn.Linear) else module.in_channels


def _check(found: torch.Tensor, expected: torch.Tensor) -> None:
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-3, atol=1e-4):
        raise ModelError("its head sees more than the global mean of its last map, so that no map could be exact")

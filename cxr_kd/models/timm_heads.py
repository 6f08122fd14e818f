"""Find the head of a timm network: the layers that run between its last map and its last linear layer."""

from typing import Any

import torch
from torch import nn

from cxr_kd.errors import ModelError
from cxr_kd.models.heads import LAYERS, Head, LayeredHead, LinearHead

# Layers that do nothing to a mean, by name, because timm does not export all of them.
_WITHOUT_EFFECT = {"Identity", "Dropout", "Flatten", "AdaptiveAvgPool2d", "FastAdaptiveAvgPool"}


def extract_head(
    network: Any, features: torch.Tensor, pooled: torch.Tensor, findings: int
) -> tuple[Head, dict[str, str]]:
    """Move the layers between pooling and last linear layer out of `network`; return a head for `findings` with them.

    `features` is what timm's `forward_features` returns, or noise of that shape, and `pooled` (B, K) its global mean.
    Also returns the moved layers: their name in the head -> timm's name. Raises ModelError with the reason if timm's
    head sees more than the global mean (not checked on the device "meta", which has no values), or has a layer whose
    Jacobian `heads.LAYERS` does not know.
    """
    names = _layers_that_run(network, features)
    names = [name for name in names if type(network.get_submodule(name)).__name__ not in _WITHOUT_EFFECT]
    layers = [_for_pooled(name, network.get_submodule(name)) for name in names]
    last = nn.Sequential(*layers).eval()(pooled)
    if not features.is_meta:
        _check_equal(last, network.forward_head(features, pre_logits=True))
    if not layers:
        return LinearHead(pooled.shape[1], findings), {}
    moved = {f"layers.{i}": names[i] for i, layer in enumerate(layers) if layer.state_dict()}
    for name in moved.values():
        network.set_submodule(name, nn.Identity())
    return LayeredHead(layers, last.shape[1], findings), moved


def _layers_that_run(network: Any, features: torch.Tensor) -> list[str]:
    """Return the names of the layers that timm's head runs, in order."""
    names: list[str] = []
    hooks = [
        # Before the layer runs, not after: timm's batch norms run their activation inside.
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


def _for_pooled(name: str, module: nn.Module) -> nn.Module:
    """Return the same layer, with the same weights, for pooled features (B, K)."""
    layer = module
    if isinstance(module, nn.Linear) or (
        isinstance(module, nn.Conv2d) and module.weight.shape[1:] == (_inputs(module), 1, 1)
    ):
        layer = nn.Linear(_inputs(module), len(module.weight), bias=module.bias is not None)
    elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
        layer = nn.LayerNorm(module.normalized_shape, eps=module.eps)
    elif isinstance(module, nn.BatchNorm2d) and module.affine and module.track_running_stats:
        layer = nn.BatchNorm1d(module.num_features, eps=module.eps, momentum=module.momentum)
    if type(layer) not in LAYERS or getattr(layer, "approximate", "none") != "none":
        raise ModelError(
            f"its head runs {name!r}, a {type(module).__name__}; between the last map and the last linear layer only "
            f"these layers are known, on the global mean: {', '.join(kind.__name__ for kind in LAYERS)}"
        )
    state = module.state_dict()
    layer.load_state_dict({key: state[key].reshape(value.shape) for key, value in layer.state_dict().items()})
    return layer


def _inputs(module: nn.Linear | nn.Conv2d) -> int:
    return module.in_features if isinstance(module, nn.Linear) else module.in_channels


def _check_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-3, atol=1e-4):
        raise ModelError("its head sees more than the global mean of its last map, so its maps would not be exact")

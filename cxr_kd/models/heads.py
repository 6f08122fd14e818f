"""Heads: the layers between the pooled features and the logits, each with its Jacobian in closed form."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


class Head(nn.Module):
    """Maps pooled features (B, K) to logits (B, L)."""

    @abstractmethod
    def jacobian(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return d logit / d pooled as (B, L, K), differentiable in `pooled` and in the weights."""


class LinearHead(Head):
    """One linear layer; its Jacobian is its weights, the same for every image."""

    def __init__(self, features: int, findings: int) -> None:
        super().__init__()
        self.output = _last_layer(features, findings)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return logits (B, L) for pooled features (B, K)."""
        return self.output(pooled)

    def jacobian(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return the weights as (B, L, K), without a copy."""
        return self.output.weight.expand(pooled.shape[0], -1, -1)


class HardswishHead(Head):
    """Linear (no bias), hardswish, linear: the head of the OFA-MobileNetV3 family.

    Source: Howard et al., "Searching for MobileNetV3", ICCV 2019, where features are mixed after the pooling.
    """

    def __init__(self, features: int, hidden: int, findings: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, hidden, bias=False)
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")
        self.output = _last_layer(hidden, findings)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return logits (B, L) for pooled features (B, K)."""
        return self.output(F.hardswish(self.hidden(pooled)))

    def jacobian(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return W2 diag(hardswish'(W1 pooled)) W1 as (B, L, K)."""
        slope = hardswish_slope(self.hidden(pooled))  # (B, M)
        return (self.output.weight * slope.unsqueeze(1)) @ self.hidden.weight  # (B, L, M) @ (M, K)


class LayeredHead(Head):
    """The layers that a network has between its pooling and its last linear layer, then a last linear layer.

    Only the layers of `LAYERS` are allowed: linear, layer norm, batch norm and element-wise activations. In training,
    the Jacobian treats the batch statistics of a batch norm as constants: the map of an image is about that image, not
    about the others of its batch.
    """

    def __init__(self, layers: Iterable[nn.Module], features: int, findings: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.output = _last_layer(features, findings)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return logits (B, L) for pooled features (B, K)."""
        for layer in self.layers:
            pooled = layer(pooled)
        return self.output(pooled)

    def jacobian(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return the product of the Jacobians of all layers (the chain rule) as (B, L, K)."""
        inputs = []
        for layer in self.layers:
            inputs.append(pooled)
            pooled = _normalised(layer, pooled) if isinstance(layer, nn.BatchNorm1d) else layer(pooled)
        jacobian = self.output.weight.expand(pooled.shape[0], -1, -1)
        for layer, z in zip(reversed(self.layers), reversed(inputs), strict=True):
            jacobian = LAYERS[type(layer)](layer, z, jacobian)
        return jacobian


def hardswish_slope(z: torch.Tensor) -> torch.Tensor:
    """Return the derivative of hardswish(z) = z relu6(z + 3) / 6: 0 below -3, 1 above 3, (2 z + 3) / 6 between."""
    inside = (2 * z + 3) / 6
    return torch.where(z <= -3, torch.zeros_like(z), torch.where(z >= 3, torch.ones_like(z), inside))


def gelu_slope(z: torch.Tensor) -> torch.Tensor:
    """Return the derivative of gelu(z) = z Phi(z): Phi(z) + z phi(z).

    Phi is the cumulative distribution function of the standard normal distribution, phi its density.
    """
    return torch.special.ndtr(z) + z * torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)


Rule = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]


def _elementwise(slope: Callable[[torch.Tensor], torch.Tensor]) -> Rule:
    return lambda layer, z, jacobian: jacobian * slope(z).unsqueeze(1)


def _through_linear(layer: nn.Linear, z: torch.Tensor, jacobian: torch.Tensor) -> torch.Tensor:
    return jacobian @ layer.weight


def _through_layer_norm(layer: nn.LayerNorm, z: torch.Tensor, jacobian: torch.Tensor) -> torch.Tensor:
    # With x = (z - mean) / s: d x_i / d z_j = (delta_ij - 1/K - x_i x_j / K) / s.
    centred = z - z.mean(dim=1, keepdim=True)
    inverse = (centred.square().mean(dim=1, keepdim=True) + layer.eps).rsqrt()  # (B, 1)
    x = (centred * inverse).unsqueeze(1)  # (B, 1, K)
    scaled = jacobian * layer.weight  # (B, L, K)
    along = x * (scaled * x).mean(dim=2, keepdim=True)
    return (scaled - scaled.mean(dim=2, keepdim=True) - along) * inverse.unsqueeze(1)


def _through_batch_norm(layer: nn.BatchNorm1d, z: torch.Tensor, jacobian: torch.Tensor) -> torch.Tensor:
    _, variance = _statistics(layer, z)
    return jacobian * (layer.weight * (variance + layer.eps).rsqrt())


# The layers that a LayeredHead can have: type -> (layer, its input (B, K), d logit / d output) -> d logit / d input.
LAYERS: dict[type[nn.Module], Rule] = {
    nn.Linear: _through_linear,
    nn.LayerNorm: _through_layer_norm,
    nn.BatchNorm1d: _through_batch_norm,
    nn.ReLU: _elementwise(lambda z: (z > 0).to(z.dtype)),
    nn.Hardswish: _elementwise(hardswish_slope),
    nn.GELU: _elementwise(gelu_slope),
    nn.SiLU: _elementwise(lambda z: torch.sigmoid(z) * (1 + z * torch.sigmoid(-z))),
    nn.Tanh: _elementwise(lambda z: 1 - torch.tanh(z).square()),
}


def _normalised(layer: nn.BatchNorm1d, z: torch.Tensor) -> torch.Tensor:
    # As the layer itself, but its running statistics see a batch once, in `forward`.
    mean, variance = _statistics(layer, z)
    return F.batch_norm(z, mean, variance, layer.weight, layer.bias, eps=layer.eps)


def _statistics(layer: Any, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    if layer.training:
        return z.detach().mean(dim=0), z.detach().var(dim=0, unbiased=False)
    return layer.running_mean, layer.running_var


def _last_layer(features: int, findings: int) -> nn.Linear:
    layer = nn.Linear(features, findings)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer

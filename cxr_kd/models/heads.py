"""What stands between the pooled features and the logits, each with its Jacobian in closed form."""

from abc import abstractmethod

import torch
from torch import nn
from torch.nn import functional as F


class Head(nn.Module):
    """Pooled features (B, K) to logits (B, L)."""

    @abstractmethod
    def jacobian(self, pooled: torch.Tensor) -> torch.Tensor:
        """Give d logit / d pooled as (B, L, K), differentiable in `pooled` and in the weights."""


class LinearHead(Head):
    """One linear layer; its Jacobian is its weights, the same for every image."""

    def __init__(self, features: int, findings: int) -> None:
        super().__init__()
        self.output = nn.Linear(features, findings)
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Give logits (B, L) for pooled features (B, K)."""
        return self.output(pooled)

    def jacobian(self, pooled: torch.Tensor) -> torch.Tensor:
        """Give the weights, (B, L, K) without a copy."""
        return self.output.weight.expand(len(pooled), -1, -1)


class HardswishHead(Head):
    """Linear (no bias), hardswish, linear: the head of the OFA-MobileNetV3 family.

    Howard et al., "Searching for MobileNetV3", ICCV 2019: features are mixed after the pooling, on one position.
    """

    def __init__(self, features: int, hidden: int, findings: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, hidden, bias=False)
        self.output = nn.Linear(hidden, findings)
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")
        nn.init.normal_(self.output.weight, std=0.01)
        nn.init.zeros_(self.output.bias)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Give logits (B, L) for pooled features (B, K)."""
        return self.output(F.hardswish(self.hidden(pooled)))

    def jacobian(self, pooled: torch.Tensor) -> torch.Tensor:
        """Give W2 diag(hardswish'(W1 pooled)) W1, (B, L, K)."""
        slope = hardswish_slope(self.hidden(pooled))  # (B, M)
        return (self.output.weight * slope.unsqueeze(1)) @ self.hidden.weight  # (B, L, M) @ (M, K)


def hardswish_slope(z: torch.Tensor) -> torch.Tensor:
    """Give the derivative of hardswish(z) = z relu6(z + 3) / 6: 0 below -3, 1 above 3, (2 z + 3) / 6 between."""
    inside = (2 * z + 3) / 6
    return torch.where(z <= -3, torch.zeros_like(z), torch.where(z >= 3, torch.ones_like(z), inside))

"""The weighted sum of named losses that a study asks for."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from cxr_kd.distill.losses import LOSSES, Loss, focal_bce
from cxr_kd.settings import LossName


class Objective:
    """Weights by loss name, such as `{"focal_bce": 1.0, "logit_mse": 0.5}`; a weight of 0 leaves its loss out."""

    def __init__(self, weights: Mapping[LossName, float], *, focusing: float = 2.0) -> None:
        unknown = set(weights) - set(LOSSES)
        if unknown:
            raise ValueError(f"unknown losses {sorted(unknown)}: allowed are {', '.join(LOSSES)}")
        losses: dict[LossName, Loss] = {**LOSSES, "focal_bce": partial(focal_bce, focusing=focusing)}
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        if not self.weights:
            raise ValueError(f"an objective needs a loss with a weight above 0, not {dict(weights)}")
        self._losses = {name: losses[name] for name in self.weights}

    def __call__(
        self, student: Tensor, teacher: Tensor | None, labels: Tensor, known: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each loss before its weight. Arguments as in `losses`."""
        terms = {name: loss(student, teacher, labels, known) for name, loss in self._losses.items()}
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}

"""What a network said of a batch: student, live teacher and kept answers all speak in it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cxr_kd.distill.map_losses import attention, on_one_grid, unit
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study.loss_table import Output

Need = Output  # an output besides logits, which is computed only if it is asked for


@dataclass(frozen=True, eq=False)
class Outputs:
    """Logits (B, L), and what else was asked for.

    `evidence` (B, L, h, w): evidence for and against each finding, before Grad-CAM's relu, in logits; `attention`
    (B, h, w): mean squared feature of each cell; `features` (B, K, h, w): the last feature map.
    """

    logits: Tensor
    evidence: Tensor | None = None
    attention: Tensor | None = None
    features: Tensor | None = None

    def part(self, need: Need) -> Tensor:
        """One of the optional parts; ValueError where it is not there."""
        part: Tensor | None = getattr(self, need)
        if part is None:
            raise ValueError(f"an answer without {need} can't be compared by its {need}: ask the network for them")
        return part

    def to(self, target: Any) -> "Outputs":
        """The same on another device, or in another dtype."""
        return self.each(lambda part: part.to(target))

    def in_full_precision(self) -> "Outputs":
        """The same, with half-precision parts (kept answers, automatic mixed precision) as float32."""
        return self.each(lambda part: part.float() if part.dtype in (torch.float16, torch.bfloat16) else part)

    def each(self, change: Callable[[Tensor], Tensor]) -> "Outputs":
        """The same, with every part changed."""
        optional = (None if part is None else change(part) for part in (self.evidence, self.attention, self.features))
        return Outputs(change(self.logits), *optional)


def observe(model: CxrClassifier, images: Tensor, needs: Collection[Need] = ()) -> Outputs:
    """What a network says of images (B, 1, S, S), in one forward pass; differentiable."""
    features = model.features(images)  # (B, K, h, w)
    pooled = model.pool(features)  # (B, K)
    return Outputs(
        model.head(pooled),
        evidence=model.evidence(features, pooled) if "evidence" in needs else None,
        attention=attention(features) if "attention" in needs else None,
        features=features if "features" in needs else None,
    )


def mean_outputs(answers: Sequence[Outputs]) -> Outputs:
    """Several teachers as one: the mean of their logits, and of their evidence and attention, each at unit norm.

    Maps of different grids meet on the smallest. Features have no mean, as each network's channels are its own: only
    a single teacher has them. What one teacher lacks, all of them lack.
    """
    if len(answers) == 1:
        return answers[0]
    return Outputs(
        torch.stack([answer.logits.float() for answer in answers]).mean(dim=0),
        evidence=_mean([answer.evidence for answer in answers]),
        attention=_mean([answer.attention for answer in answers]),
    )


def _mean(maps: Sequence[Tensor | None]) -> Tensor | None:
    present = [each.float() for each in maps if each is not None]
    if len(present) < len(maps):
        return None
    return torch.stack([unit(each) for each in on_one_grid(*present)]).mean(dim=0)

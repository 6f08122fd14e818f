"""A network's outputs for a batch of images. Students, live teachers and stored answers share this type."""

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
    """Logits (B, L), and the other outputs that were asked for.

    `evidence` (B, L, h, w): evidence for (above 0) and against (below 0) each finding, in logits, before Grad-CAM's
    relu. `attention` (B, h, w): the mean squared feature of each cell. `features` (B, K, h, w): the last feature map.
    """

    logits: Tensor
    evidence: Tensor | None = None
    attention: Tensor | None = None
    features: Tensor | None = None

    def part(self, need: Need) -> Tensor:
        """Return evidence, attention or features. Raises ValueError if these outputs do not have it."""
        part: Tensor | None = getattr(self, need)
        if part is None:
            raise ValueError(f"these outputs have no {need}: call observe(model, images, needs) with {need!r} in needs")
        return part

    def to(self, target: Any) -> "Outputs":
        """Return the same outputs on another device, or in another dtype."""
        return self.each(lambda part: part.to(target))

    def in_full_precision(self) -> "Outputs":
        """Return the same outputs with half-precision tensors as float32.

        Stored answers and automatic mixed precision have half precision.
        """
        return self.each(lambda part: part.float() if part.dtype in (torch.float16, torch.bfloat16) else part)

    def each(self, change: Callable[[Tensor], Tensor]) -> "Outputs":
        """Return the outputs with `change` applied to every tensor."""
        optional = (None if part is None else change(part) for part in (self.evidence, self.attention, self.features))
        return Outputs(change(self.logits), *optional)


def observe(model: CxrClassifier, images: Tensor, needs: Collection[Need] = ()) -> Outputs:
    """Return a network's outputs for images (B, 1, S, S) in one forward pass: logits and `needs`; differentiable."""
    features = model.features(images)  # (B, K, h, w)
    pooled = model.pool(features)  # (B, K)
    return Outputs(
        model.head(pooled),
        evidence=model.evidence(features, pooled) if "evidence" in needs else None,
        attention=attention(features) if "attention" in needs else None,
        features=features if "features" in needs else None,
    )


def mean_outputs(outputs: Sequence[Outputs]) -> Outputs:
    """Return the outputs of several teachers as one: the mean of their logits, evidence and attention.

    Evidence and attention are averaged at unit norm, on the smallest of their grids, so that no teacher counts more
    because its logits or features are larger. An output that one of the teachers lacks is None. Features are None too:
    channels of different networks do not correspond. A single teacher's outputs are returned unchanged.
    """
    if len(outputs) == 1:
        return outputs[0]
    return Outputs(
        torch.stack([each.logits.float() for each in outputs]).mean(dim=0),
        evidence=_mean([each.evidence for each in outputs]),
        attention=_mean([each.attention for each in outputs]),
    )


def _mean(maps: Sequence[Tensor | None]) -> Tensor | None:
    present = [each.float() for each in maps if each is not None]
    if len(present) < len(maps):
        return None
    return torch.stack([unit(each) for each in on_one_grid(*present)]).mean(dim=0)

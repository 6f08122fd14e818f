"""Maps of all findings in one forward pass: Grad-CAM at the last feature map, without a backward pass.

Every network here pools its last map globally and has a small head, so the gradient that Grad-CAM (Selvaraju et al.,
ICCV 2017, equations 1 and 2) averages over positions is the head's Jacobian, which is known in closed form.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.models.classifier import CxrClassifier


def maps(
    model: CxrClassifier, images: torch.Tensor, findings: Sequence[str] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give logits (B, L) and maps (B, F, h, w), one for each of `findings` (all of the model's, in its order).

    A map is relu(sum_k d logit / d pooled_k * A_k): h * w times Grad-CAM's, in logits, not stretched, so that maps of
    several images share one scale and "no evidence" stays zero. Differentiable in the model's weights and in the
    images; leaves no gradient behind. Raises ModelError for a finding that the model doesn't have.
    """
    features = model.features(images)  # (B, K, h, w)
    pooled = model.pool(features)  # (B, K)
    evidence = F.relu(model.evidence(features, pooled))  # (B, L, h, w)
    return model.head(pooled), evidence if findings is None else evidence[:, _positions(model, findings)]


def upsample(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Bring maps (B, L, h, w) to (B, L, size, size) bilinearly, each cell's value at the cell's centre."""
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def _positions(model: CxrClassifier, findings: Sequence[str]) -> list[int]:
    for finding in findings:
        if finding not in model.findings:
            raise ModelError(f"{model.name} has no finding {finding!r}; it has: {', '.join(model.findings)}")
    return [model.findings.index(finding) for finding in findings]

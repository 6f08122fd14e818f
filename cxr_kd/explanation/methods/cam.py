"""Maps of all findings in one forward pass: Grad-CAM at the last feature map, without a backward pass.

Every network here pools its last feature map globally and has a small head. The gradient that Grad-CAM (Selvaraju et
al., ICCV 2017, equations 1 and 2) averages over positions is therefore the head's Jacobian, which has a closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.models.classifier import CxrClassifier

# Images (B, 1, S, S), as a classifier takes them -> logits (B, L) and signed evidence (B, L, h, w), in the order of the
# model's findings. What measures maps takes any of these, so that every method and every grid is measured alike.
Explainer = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def of_pairs(
    explain: Explainer, images: torch.Tensor, rows: np.ndarray, columns: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (P,) and evidence (P, h, w) of P pairs: the image in a row of `images`, the finding in a column.

    An explainer for which every finding costs a backward pass can say how to do only these: its attribute `of_pairs`
    takes the pairs' images (P, 1, S, S) and columns.
    """
    own = getattr(explain, "of_pairs", None)
    if own is not None:
        found: tuple[torch.Tensor, torch.Tensor] = own(images[rows], columns)
        return found
    logits, evidence = explain(images)
    return logits[rows, columns], evidence[rows, columns]


def one_pass(model: CxrClassifier) -> Explainer:
    """Return the explainer of a model's own grid: logits and evidence of all findings in one forward pass."""

    def explain(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = model.features(images)
        pooled = model.pool(features)
        return model.head(pooled), model.evidence(features, pooled)

    return explain


def maps(
    model: CxrClassifier, images: torch.Tensor, findings: Sequence[str] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits (B, L) of all findings, and maps (B, F, h, w) of `findings` (default: all, in the model's order).

    A map is the relu of the finding's evidence, relu(sum_k d logit / d pooled_k * A_k): h * w times Grad-CAM's map, in
    logits. It is not stretched to its own maximum, so that the maps of several images share one scale and "no evidence"
    stays zero. Differentiable in the model's weights and in the images; no gradient is accumulated. Raises ModelError
    for a finding that the model does not have.
    """
    logits, evidence = one_pass(model)(images)
    found = F.relu(evidence)  # (B, L, h, w)
    return logits, found if findings is None else found[:, _positions(model, findings)]


def upsample(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Return maps (B, L, h, w) as (B, L, size, size): bilinear, each cell's value at the cell's centre."""
    return F.interpolate(maps, size=(size, size), mode="bilinear", align_corners=False)


def _positions(model: CxrClassifier, findings: Sequence[str]) -> list[int]:
    for finding in findings:
        if finding not in model.findings:
            raise ModelError(f"{model.name} has no finding {finding!r}; it has: {', '.join(model.findings)}")
    return [model.findings.index(finding) for finding in findings]

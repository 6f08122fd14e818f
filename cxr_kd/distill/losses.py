"""Losses of multi-label distillation: pure functions of logits, labels and a mask of known labels.

Each takes `(student, teacher, labels, known)`, all `(B, L)`: logits of the student, logits of the teacher (None where
the loss needs none), labels in {0, 1} (anything where unknown), and True where a label is known. Each gives the mean
over what it counts, as a scalar; a sigmoid a finding, never a softmax over findings.
"""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from cxr_kd.settings import LossName

Loss = Callable[[Tensor, Tensor | None, Tensor, Tensor], Tensor]


def bce(student: Tensor, teacher: Tensor | None, labels: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy a finding, against the labels."""
    return masked_mean(_cross_entropy(student, labels), known)


def focal_bce(
    student: Tensor, teacher: Tensor | None, labels: Tensor, known: Tensor, *, focusing: float = 2.0
) -> Tensor:
    """Focal binary cross-entropy `(1 - p_t)^focusing * BCE`, against the labels; focusing 0 is plain BCE.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4 (no class balancing).
    """
    # 1 - p_t as a sigmoid of the logit's wrong side: exact where p_t rounds to 1.
    missed = torch.sigmoid(torch.where(labels > 0.5, -student, student))
    return masked_mean(missed**focusing * _cross_entropy(student, labels), known)


def logit_mse(student: Tensor, teacher: Tensor | None, labels: Tensor, known: Tensor) -> Tensor:
    """Mean squared error of the logits against the teacher's, over every finding: a teacher answers unknown ones too.

    Ba and Caruana, "Do Deep Nets Really Need to be Deep?", NeurIPS 2014, equation 1 (without its 1/2); the
    distillation loss of arXiv 2305.06244.
    """
    if teacher is None:
        raise ValueError("logit_mse compares with a teacher's logits: give them, or leave this loss out")
    return F.mse_loss(student, teacher)


LOSSES: Mapping[LossName, Loss] = {"focal_bce": focal_bce, "bce": bce, "logit_mse": logit_mse}


def masked_mean(values: Tensor, known: Tensor) -> Tensor:
    """Mean of `values` where `known`; 0, with a gradient of 0, where nothing is known."""
    return torch.where(known, values, torch.zeros_like(values)).sum() / known.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    # An unknown label may be anything, a NaN too: it must not reach the gradient of the masked mean.
    return F.binary_cross_entropy_with_logits(logits, torch.nan_to_num(labels), reduction="none")

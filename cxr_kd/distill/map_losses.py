"""Losses of evidence, attention and features: where a network looks, besides what it answers.

The maps of two networks may have different grids: both are averaged down to the smaller grid. Evidence and attention
are then divided by their norms, so the scale of logits or features does not matter. Each loss is a scalar.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

NEGATIVE_SLOPE = 0.2  # map_cosine multiplies evidence against a finding (below 0) by this
# Root mean square of a map over its cells, in logits, below which map_cosine no longer scales the student's map up.
# The maps of fresh networks of the registry reach 0.0065 to 0.7 in training (14 findings, 64 px), trained ones more.
SMALLEST_RMS = 1e-3


def map_cosine(student: Tensor, teacher: Tensor, teacher_logits: Tensor) -> Tensor:
    """Return one minus the cosine of both networks' evidence, a weighted mean over images and findings.

    Evidence is (B, L, h, w), see `CxrClassifier.evidence`; logits are (B, L). The weights are `above_batch_mean` of the
    teacher's logits; maps of the teacher that are 0 everywhere are left out.

    Source: Parchami-Araghi et al., "Good Teachers Explain: Explanation-Enhanced Knowledge Distillation", ECCV 2024
    (e2KD), the explanation loss, here with the maps of all findings instead of the likeliest class only. It equals half
    the squared distance of the maps at unit norm, the loss of Guo et al., "Class Attention Transfer Based Knowledge
    Distillation", CVPR 2023.

    Two changes. Grad-CAM's relu is a leaky relu (`NEGATIVE_SLOPE`): most maps of rare findings are below 0 everywhere,
    and a map of zeros has no gradient. Two maps that agree before the relu also agree after it. And the gradient of a
    cosine grows as 1 / norm when a map goes to 0, so the norm that the student's map is divided by is at least
    `SMALLEST_RMS * sqrt(h * w)`. The gradient for one map then has at most the norm weight / (`SMALLEST_RMS` *
    sqrt(h * w)), and the loss is exactly the cosine for all larger maps.
    """
    weights = above_batch_mean(teacher_logits) * (teacher != 0).any(dim=-1).any(dim=-1)
    student, teacher = _comparable(student, teacher)
    smallest_norm = SMALLEST_RMS * (student.shape[-2] * student.shape[-1]) ** 0.5
    distance = 1 - (unit(student, smallest_norm) * unit(teacher)).sum(dim=(-2, -1))
    return (weights * distance).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine (B, L) of two networks' evidence (B, L, h, w) as in `map_cosine`; 0 for a map of zeros."""
    first, second = _comparable(first, second)
    return (unit(first) * unit(second)).sum(dim=(-2, -1))


def above_batch_mean(logits: Tensor) -> Tensor:
    """Return by how much each logit (B, L) exceeds the mean of its finding over the batch; 0 if it is below.

    `map_cosine` weighs maps by it: a map is worth learning where the teacher sees the finding. The probability is no
    measure of this: for a rare finding it is seldom above 0.5. The evidence is none either: its positive cells sum to
    as much in images without the finding. Relative to the batch, neither the rate of the finding nor the scale of the
    logits matters. A batch of one image gives 0.
    """
    return F.relu(logits - logits.mean(dim=0))


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the squared distance of both networks' attention (B, h, w) at unit norm, mean over images.

    Source: Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, equation 2 for the last feature
    map (without its beta / 2), with attention as the sum of squared features. The distance is squared, so that it is
    smooth where both agree.
    """
    student, teacher = on_one_grid(student, teacher)
    return (unit(student) - unit(teacher)).square().sum(dim=(-2, -1)).mean()


def hint(regressed: Tensor, teacher: Tensor) -> Tensor:
    """Return half the mean squared difference of the student's regressed and the teacher's features, both (B, K, h, w).

    Source: Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3, with a mean instead of the sum,
    so that a weight means the same at every size. The regressor from the student's channels to the teacher's is trained
    with the student (`Objective.module`).
    """
    regressed, teacher = on_one_grid(regressed, teacher)
    return 0.5 * F.mse_loss(regressed, teacher)


def attention(features: Tensor) -> Tensor:
    """Return the attention (B, h, w) of a feature map (B, K, h, w): the mean over channels of its squares.

    Source: Zagoruyko and Komodakis, section 3.1, F_sum^2. It is the mean, because a sum may exceed half precision.
    """
    return features.square().mean(dim=1)


def on_one_grid(*maps: Tensor) -> list[Tensor]:
    """Return maps (..., h, w), each averaged down to the smallest height and the smallest width among them."""
    grid = (min(each.shape[-2] for each in maps), min(each.shape[-1] for each in maps))
    return [each if each.shape[-2:] == grid else F.adaptive_avg_pool2d(each, grid) for each in maps]


def unit(maps: Tensor, smallest_norm: float = 1e-12) -> Tensor:
    """Return maps (..., h, w) divided by their norm over the cells, or by `smallest_norm` if that is larger."""
    return maps / torch.linalg.vector_norm(maps, dim=(-2, -1), keepdim=True).clamp(min=smallest_norm)


def _comparable(*evidence: Tensor) -> list[Tensor]:
    """Return evidence on one grid, with evidence against a finding reduced."""
    return [F.leaky_relu(each, NEGATIVE_SLOPE) for each in on_one_grid(*evidence)]

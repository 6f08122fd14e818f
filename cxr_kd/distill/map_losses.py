"""Losses of maps, attention and features: where a network looks, not only what it says.

Maps and attention of two networks may have different grids: both are averaged down to the smaller one. Both are then
brought to unit norm, so the scale of either side's logits or features doesn't matter. Each loss is a scalar.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

AGAINST = 0.2  # share of the evidence against a finding that map_cosine sees


def map_cosine(student: Tensor, teacher: Tensor, teacher_logits: Tensor) -> Tensor:
    """Explanation distillation: one minus the cosine of the two maps, mean over the findings that the teacher sees.

    Maps are evidence for and against (B, L, h, w) (`CxrClassifier.evidence`), logits (B, L). Parchami-Araghi et al.,
    "Good Teachers Explain: Explanation-Enhanced Knowledge Distillation", ECCV 2024 (e2KD), its explanation loss, with
    maps of all findings in place of the likeliest class's. Half the squared distance of the maps at unit norm, which
    is the loss of Guo et al., "Class Attention Transfer Based Knowledge Distillation", CVPR 2023, is the same number.

    In place of Grad-CAM's relu, evidence against a finding keeps a fifth (`AGAINST`): of rare findings most maps are
    below 0 everywhere, and an empty map could be pulled nowhere. Maps that agree so also agree after the relu.
    """
    weights = seen(teacher_logits) * (teacher != 0).any(dim=-1).any(dim=-1)
    distance = 1 - cosine(student, teacher)
    return (weights * distance).sum() / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """The cosine (B, L) of two networks' evidence (B, L, h, w), as `map_cosine` sees it; 0 for an empty map."""
    first, second = (unit(F.leaky_relu(maps, AGAINST)) for maps in on_one_grid(first, second))
    return (first * second).sum(dim=(-2, -1))


def seen(logits: Tensor) -> Tensor:
    """How much a network sees each finding (B, L): by how much its logit exceeds its mean over the images, else 0.

    Not the probability: of a rare finding it is hardly ever above one half, and what is much depends on the finding.
    Not the evidence in the map either: its positive cells add up to as much in images without the finding. Relative
    to the other images, neither the finding's rate nor the scale of the logits matters once the weights are divided by
    their sum; of a single image nothing can be said, and nothing is seen.
    """
    return F.relu(logits - logits.mean(dim=0))


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of the two networks' attention (B, h, w) at unit norm, mean over images.

    Zagoruyko and Komodakis, "Paying More Attention to Attention", ICLR 2017, equation 2 for the last feature map
    (without its beta / 2), with attention as the sum of squared features; squared, so that it is smooth at agreement.
    """
    student, teacher = on_one_grid(student, teacher)
    return (unit(student) - unit(teacher)).square().sum(dim=(-2, -1)).mean()


def hint(regressed: Tensor, teacher: Tensor) -> Tensor:
    """Half the mean squared difference of the student's regressed features and the teacher's, both (B, K, h, w).

    Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, equation 3 (a mean in place of the sum, so that a
    weight means the same at every size). The regressor from the student's channels to the teacher's is learned along
    (`Objective.module`).
    """
    regressed, teacher = on_one_grid(regressed, teacher)
    return 0.5 * F.mse_loss(regressed, teacher)


def attention(features: Tensor) -> Tensor:
    """Attention (B, h, w) of a feature map (B, K, h, w): the mean over channels of its squares.

    Zagoruyko and Komodakis, section 3.1, F_sum^2; the mean, whose scale fits half precision where a sum would not.
    """
    return features.square().mean(dim=1)


def on_one_grid(*maps: Tensor) -> list[Tensor]:
    """Maps (..., h, w), each averaged down to the smallest height and the smallest width among them."""
    grid = (min(each.shape[-2] for each in maps), min(each.shape[-1] for each in maps))
    return [each if each.shape[-2:] == grid else F.adaptive_avg_pool2d(each, grid) for each in maps]


def unit(maps: Tensor) -> Tensor:
    """Maps (..., h, w) divided by their norm over the cells; one of zeros stays what it is."""
    return maps / torch.linalg.vector_norm(maps, dim=(-2, -1), keepdim=True).clamp(min=1e-12)

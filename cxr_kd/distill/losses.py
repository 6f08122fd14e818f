"""Losses of logits: against the labels, and against a teacher's logits. Pure functions, a sigmoid a finding.

Logits and labels are `(B, L)`. A label is in {0, 1}, or anything where it is not `known`: what is not known changes
neither a loss nor its gradient. A teacher answers every finding, known or not, so its losses take no mask. Each loss
is a scalar, finite and with finite gradients for any finite logits; none is a softmax over findings, which would be
blind to a shift of all logits: findings don't exclude one another, and how likely each is must be seen.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# ---- against the labels ---------------------------------------------------------------------------------------------


def bce(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Binary cross-entropy a finding, mean over what is known."""
    return masked_mean(_cross_entropy(logits, labels), known)


def focal_bce(
    logits: Tensor, labels: Tensor, known: Tensor, *, focusing: float = 2.0, positive_rates: Tensor | None = None
) -> Tensor:
    """Focal binary cross-entropy `(1 - p_t)^focusing * BCE`, mean over what is known; focusing 0 is plain BCE.

    Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4. With `positive_rates` (L,), the share
    of positives of each finding in the training labels, it is balanced: equation 5 with alpha by inverse frequency
    (their section 3.1), `2 (1 - rate)` for positives and `2 rate` for negatives, so that over the training images both
    sides of a finding weigh the same, and a finding of every second image weighs as it does without balancing.
    """
    positive = labels > 0.5
    # 1 - p_t as a sigmoid of the logit's wrong side: exact where p_t rounds to 1.
    missed = torch.sigmoid(torch.where(positive, -logits, logits))
    loss = _power(missed, focusing) * _cross_entropy(logits, labels)
    if positive_rates is not None:
        rates = positive_rates.to(loss)
        loss = 2 * torch.where(positive, 1 - rates, rates) * loss
    return masked_mean(loss, known)


def positive_rates(labels: Tensor) -> Tensor:
    """The share of positives of each finding (L,) among its known labels, of training labels (N, L) with NaN unknown.

    One half, which balances nothing, where a finding has no known label.
    """
    return labels.double().nanmean(dim=0).nan_to_num(nan=0.5)


def asymmetric(
    logits: Tensor,
    labels: Tensor,
    known: Tensor,
    *,
    positive_focusing: float = 0.0,
    negative_focusing: float = 4.0,
    margin: float = 0.05,
) -> Tensor:
    """Asymmetric loss: negatives are focused harder than positives, and left out below a probability of `margin`.

    Ridnik et al., "Asymmetric Loss for Multi-Label Classification", ICCV 2021, equations 4 to 7, with the paper's
    settings; mean over what is known. With equal focusing and no margin it is `focal_bce`.
    """
    missed, wrong = torch.sigmoid(-logits), torch.sigmoid(logits)  # 1 - p and p, each exact where it is small
    positive = -_power(missed, positive_focusing) * F.logsigmoid(logits)
    # log(1 - p_m) with p_m = max(p - margin, 0), as log(1 - p + margin) and never above log 1.
    shift = torch.full_like(logits, math.log(margin) if margin > 0 else -math.inf)
    negative = -_power(wrong - margin, negative_focusing) * torch.logaddexp(F.logsigmoid(-logits), shift).clamp(max=0)
    return masked_mean(torch.where(labels > 0.5, positive, negative), known)


# ---- against a teacher ----------------------------------------------------------------------------------------------


def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of the logits.

    Ba and Caruana, "Do Deep Nets Really Need to be Deep?", NeurIPS 2014, equation 1 (without its 1/2); the
    distillation loss of arXiv 2305.06244.
    """
    return F.mse_loss(student, teacher)


def prob_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared error of the probabilities: what is certain on both sides costs nothing, however far the logits.

    Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, the consistency cost of section 2.
    """
    return F.mse_loss(student.sigmoid(), teacher.sigmoid())


def binary_kl(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Kullback-Leibler divergence of each finding's two outcomes, of teacher from student, mean over findings.

    Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2, with a sigmoid in place of the
    softmax: both logits are divided by the temperature, and the divergence is multiplied by its square, which keeps
    the size of the gradients. At high temperatures it is an eighth of `logit_mse` (their equation 4, for two outcomes).
    """
    return temperature**2 * _binary_kl(student / temperature, teacher / temperature).mean()


def l2d(student: Tensor, teacher: Tensor) -> Tensor:
    """Multi-label logits distillation (MLD): each finding's binary divergence, summed over findings, mean over images.

    Yang et al., "Multi-Label Knowledge Distillation", ICCV 2023, section "Multi-Label Logits Distillation", with the
    Kullback-Leibler divergence of their experiments: the part of L2D that is about logits. Its other part compares
    label-wise embeddings, which networks with one pooled vector don't have. L times `binary_kl` at temperature 1.
    """
    return _binary_kl(student, teacher).sum(dim=1).mean()


def correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """Relations instead of values: `1 - r` between findings of an image, plus `1 - r` between images of the batch.

    Huang et al., "Knowledge Distillation from A Stronger Teacher" (DIST), NeurIPS 2022: its inter-class and its
    intra-class relation with equal weights; r is Pearson's correlation of the student's probabilities with the
    teacher's, which are sigmoids here. A confident teacher and a hesitant student may agree. It compares probabilities:
    the correlation of logits would be blind to a shift of all of them. Where one side does not vary, r is 0.
    """
    student, teacher = student.sigmoid(), teacher.sigmoid()
    return 2 - _pearson(student, teacher, dim=1).mean() - _pearson(student, teacher, dim=0).mean()


# ---- what they share ------------------------------------------------------------------------------------------------


def masked_mean(values: Tensor, known: Tensor) -> Tensor:
    """Mean of `values` where `known`; 0, with a gradient of 0, where nothing is known."""
    return torch.where(known, values, torch.zeros_like(values)).sum() / known.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    # An unknown label may be anything, a NaN too: it must not reach the gradient of the masked mean.
    return F.binary_cross_entropy_with_logits(logits, torch.nan_to_num(labels), reduction="none")


def _power(probabilities: Tensor, exponent: float) -> Tensor:
    # Kept off 0, where an exponent below 1 has an infinite slope.
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny) ** exponent


def _binary_kl(student: Tensor, teacher: Tensor) -> Tensor:
    present = teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(student))
    absent = (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return present + absent


def _pearson(first: Tensor, second: Tensor, dim: int) -> Tensor:
    return (_standardised(first, dim) * _standardised(second, dim)).sum(dim)


def _standardised(values: Tensor, dim: int) -> Tensor:
    centred = values - values.mean(dim, keepdim=True)
    # What is left of equal values is rounding: it must not be blown up to unit length.
    rounding = 1e-6 * values.detach().norm(dim=dim, keepdim=True) + 1e-12
    return centred / centred.norm(dim=dim, keepdim=True).maximum(rounding)

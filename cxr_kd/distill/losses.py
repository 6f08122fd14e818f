"""Losses of logits: against the labels, and against a teacher's logits. Pure functions, one sigmoid per finding.

Logits and labels are `(B, L)`. A label is 0 or 1 where `known` is true, and may be anything elsewhere: unknown labels
change neither a loss nor its gradient. A teacher answers every finding, so its losses have no mask. Each loss is a
scalar; it and its gradient are finite for any finite logits. No loss is a softmax over findings: findings do not
exclude one another, and a softmax does not change when all logits shift by the same amount.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# ---- against the labels ---------------------------------------------------------------------------------------------


def bce(logits: Tensor, labels: Tensor, known: Tensor) -> Tensor:
    """Return the binary cross-entropy per finding, mean over known labels."""
    return masked_mean(_cross_entropy(logits, labels), known)


def bce_beyond_source(logits: Tensor, labels: Tensor, known: Tensor, *, source_log_odds: Tensor) -> Tensor:
    """Return `bce` of the logits plus `source_log_odds` (B, L): what the source of each image alone says.

    What the source explains is added in training only, so the network gains nothing by recognising the source, and its
    own logits say what the image says beyond it: a product of two experts, of which one is fixed (Clark et al., "Don't
    Take the Easy Way Out", EMNLP 2019, section 3.2.2: bias product). `image_sources.source_log_odds` computes them.
    """
    return bce(logits + source_log_odds, labels, known)


def focal_bce(
    logits: Tensor, labels: Tensor, known: Tensor, *, focusing: float = 2.0, positive_rates: Tensor | None = None
) -> Tensor:
    """Return focal binary cross-entropy `(1 - p_t)^focusing * BCE`, mean over known labels; focusing 0 is plain BCE.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, equation 4. With `positive_rates` (L,), the
    share of positives of each finding in the training labels, it is balanced: equation 5 with alpha by inverse
    frequency (their section 3.1), `2 (1 - rate)` for positives and `2 rate` for negatives. Positives and negatives of a
    finding then have the same total weight over the training images, and a rate of one half changes nothing.
    """
    positive = labels > 0.5
    # 1 - p_t as the sigmoid of a logit with the opposite sign: exact even if p_t rounds to 1.
    missed = torch.sigmoid(torch.where(positive, -logits, logits))
    loss = _power(missed, focusing) * _cross_entropy(logits, labels)
    if positive_rates is not None:
        rates = positive_rates.to(loss)
        loss = 2 * torch.where(positive, 1 - rates, rates) * loss
    return masked_mean(loss, known)


def positive_rates(labels: Tensor) -> Tensor:
    """Return the share of positives (L,) among the known labels of each finding, for labels (N, L) with NaN unknown.

    It is one half, which changes nothing, for a finding without a known label.
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
    """Return the asymmetric loss: easy negatives weigh less than easy positives, and nothing below `margin`.

    `margin` is a probability. Source: Ridnik et al., "Asymmetric Loss for Multi-Label Classification", ICCV 2021,
    equations 4 to 7, with the paper's settings; mean over known labels. With equal focusing and no margin it is
    `focal_bce`.
    """
    missed, wrong = torch.sigmoid(-logits), torch.sigmoid(logits)  # 1 - p and p, each exact when it is small
    positive = -_power(missed, positive_focusing) * F.logsigmoid(logits)
    # log(1 - p_m) with p_m = max(p - margin, 0), as log(1 - p + margin) and never above log 1.
    shift = torch.full_like(logits, math.log(margin) if margin > 0 else -math.inf)
    negative = -_power(wrong - margin, negative_focusing) * torch.logaddexp(F.logsigmoid(-logits), shift).clamp(max=0)
    return masked_mean(torch.where(labels > 0.5, positive, negative), known)


# ---- against a teacher ----------------------------------------------------------------------------------------------


def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared error of the logits.

    Source: Ba and Caruana, "Do Deep Nets Really Need to be Deep?", NeurIPS 2014, equation 1 (without its 1/2); the
    distillation loss of arXiv 2305.06244.
    """
    return F.mse_loss(student, teacher)


def prob_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared error of the probabilities; if both are certain, the distance of logits does not matter.

    Source: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, section 2, consistency cost.
    """
    return F.mse_loss(student.sigmoid(), teacher.sigmoid())


def binary_kl(student: Tensor, teacher: Tensor, *, temperature: float = 2.0) -> Tensor:
    """Return the Kullback-Leibler divergence of teacher from student, per finding (present or absent), as a mean.

    Source: Hinton et al., "Distilling the Knowledge in a Neural Network", 2015, section 2, with a sigmoid instead of
    the softmax. Both logits are divided by the temperature, and the divergence is multiplied by its square, which keeps
    the size of the gradients. At high temperatures it is an eighth of `logit_mse` (their equation 4, for two outcomes).
    """
    return temperature**2 * _binary_kl(student / temperature, teacher / temperature).mean()


def l2d(student: Tensor, teacher: Tensor) -> Tensor:
    """Return multi-label logits distillation: each finding's binary divergence, summed over findings, mean over images.

    Source: Yang et al., "Multi-Label Knowledge Distillation", ICCV 2023, section "Multi-Label Logits Distillation"
    (MLD), with the Kullback-Leibler divergence of their experiments. It is the part of L2D that compares logits; the
    other part compares label-wise embeddings, which networks with one pooled vector do not have. It equals L times
    `binary_kl` at temperature 1.
    """
    return _binary_kl(student, teacher).sum(dim=1).mean()


def correlation(student: Tensor, teacher: Tensor) -> Tensor:
    """Return `1 - r` over the findings of each image plus `1 - r` over the images of each finding, as means.

    Source: Huang et al., "Knowledge Distillation from A Stronger Teacher" (DIST), NeurIPS 2022: the inter-class and the
    intra-class relation with equal weights. r is Pearson's correlation of the student's probabilities with the
    teacher's, which are sigmoids here, so a confident teacher and a hesitant student can agree. It compares
    probabilities because the correlation of logits does not change when all of them shift. r is 0 if one side does not
    vary.
    """
    student, teacher = student.sigmoid(), teacher.sigmoid()
    return 2 - _pearson(student, teacher, dim=1).mean() - _pearson(student, teacher, dim=0).mean()


# ---- shared --------------------------------------------------------------------------------------------------------


def masked_mean(values: Tensor, known: Tensor) -> Tensor:
    """Return the mean of the known `values`; 0, with a gradient of 0, if none is known."""
    return torch.where(known, values, torch.zeros_like(values)).sum() / known.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    # An unknown label may be anything, even NaN: it must not reach the gradient of the masked mean.
    return F.binary_cross_entropy_with_logits(logits, torch.nan_to_num(labels), reduction="none")


def _power(probabilities: Tensor, exponent: float) -> Tensor:
    # Never 0, where an exponent below 1 has an infinite slope.
    return probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny) ** exponent


def _binary_kl(student: Tensor, teacher: Tensor) -> Tensor:
    present = teacher.sigmoid() * (F.logsigmoid(teacher) - F.logsigmoid(student))
    absent = (-teacher).sigmoid() * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return present + absent


def _pearson(first: Tensor, second: Tensor, dim: int) -> Tensor:
    return (_standardised(first, dim) * _standardised(second, dim)).sum(dim)


def _standardised(values: Tensor, dim: int) -> Tensor:
    centred = values - values.mean(dim, keepdim=True)
    # Equal values leave only rounding errors (up to about 1e-7 of the norm in float32), which must not be scaled up.
    rounding = 1e-5 * values.detach().norm(dim=dim, keepdim=True) + 1e-12
    return centred / centred.norm(dim=dim, keepdim=True).maximum(rounding)

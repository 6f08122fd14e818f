"""The table of losses: the one place, besides its function, where a loss is named.

To add a loss, write its function in `cxr_kd.distill` and add one line here. Everything else follows from this table:
the names that a study file may use, which losses need a teacher, what is stored of a teacher's outputs, and which
settings the function gets. Functions are given as text ("module:name"), because this package does not load torch.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Output = Literal["evidence", "attention", "features"]


@dataclass(frozen=True)
class Loss:
    """One loss.

    `against`: "labels" if it compares the student's logits with the labels, "teacher" if it compares the student's
    outputs with the teacher's. `needs`: the output it compares; None for logits. `settings`: the fields of
    `LossSettings` that its function takes as keyword arguments. `positive_rates`: whether the function also takes the
    share of positives of each finding in the training labels. `source_log_odds`: whether it also takes the log-odds of
    each finding among the training images of an image's source, which data sets without sources do not have.
    `compares_images`: whether it compares the images of a batch with each other, so that one image has no value of its
    own. `formula`: the loss in plain text; s and t are a finding's logits of student and teacher, p is sigmoid(s).
    """

    name: str
    against: Literal["labels", "teacher"]
    function: str
    source: str
    needs: Output | None = None
    settings: tuple[str, ...] = ()
    positive_rates: bool = False
    source_log_odds: bool = False
    compares_images: bool = False
    formula: str = ""


_LOGITS, _MAPS = "cxr_kd.distill.losses", "cxr_kd.distill.map_losses"
_ASYMMETRIC = ("positive_focusing", "negative_focusing", "margin")
_ALL = (
    Loss(
        "focal_bce",
        "labels",
        f"{_LOGITS}:focal_bce",
        "Lin et al., ICCV 2017, eq. 4",
        settings=("focusing",),
        formula="mean of (1 - p_t)^focusing * -log p_t; p_t is p if present, else 1 - p",
    ),
    Loss(
        "focal_bce_balanced",
        "labels",
        f"{_LOGITS}:focal_bce",
        "Lin et al., ICCV 2017, eq. 5",
        settings=("focusing",),
        positive_rates=True,
        formula="as focal_bce; positives times 2 (1 - rate), negatives times 2 rate",
    ),
    Loss(
        "asymmetric",
        "labels",
        f"{_LOGITS}:asymmetric",
        "Ridnik et al., ICCV 2021",
        settings=_ASYMMETRIC,
        formula="mean of (1 - p)^positive_focusing * -log p if present, else q^negative_focusing * -log"
        "(1 - q), q = max(p - margin, 0)",
    ),
    Loss(
        "bce",
        "labels",
        f"{_LOGITS}:bce",
        "binary cross-entropy",
        formula="mean of -log p if the finding is present, else -log(1 - p)",
    ),
    Loss(
        "bce_beyond_source",
        "labels",
        f"{_LOGITS}:bce_beyond_source",
        "Clark et al., EMNLP 2019, sec. 3.2.2",
        source_log_odds=True,
        formula="as bce, of s + the log-odds of the finding in the source of the image",
    ),
    Loss(
        "logit_mse",
        "teacher",
        f"{_LOGITS}:logit_mse",
        "Ba and Caruana, NeurIPS 2014; arXiv 2305.06244",
        formula="mean of (s - t)^2",
    ),
    Loss(
        "prob_mse",
        "teacher",
        f"{_LOGITS}:prob_mse",
        "Tarvainen and Valpola, NeurIPS 2017",
        formula="mean of (sigmoid s - sigmoid t)^2",
    ),
    Loss(
        "binary_kl",
        "teacher",
        f"{_LOGITS}:binary_kl",
        "Hinton et al., 2015",
        settings=("temperature",),
        formula="temperature^2 * mean of KL(sigmoid(t / temperature), sigmoid(s / temperature))",
    ),
    Loss(
        "l2d",
        "teacher",
        f"{_LOGITS}:l2d",
        "Yang et al., ICCV 2023",
        formula="sum of KL(sigmoid t, sigmoid s)",
    ),
    Loss(
        "correlation",
        "teacher",
        f"{_LOGITS}:correlation",
        "Huang et al. (DIST), NeurIPS 2022",
        compares_images=True,
        formula="(1 - r over the findings of an image) + (1 - r over the images of a finding)",
    ),
    Loss(
        "hint",
        "teacher",
        f"{_MAPS}:hint",
        "Romero et al. (FitNets), ICLR 2015",
        needs="features",
        formula="half the mean of (student features through a learned layer - teacher features)^2",
    ),
    Loss(
        "attention_transfer",
        "teacher",
        f"{_MAPS}:attention_transfer",
        "Zagoruyko and Komodakis, ICLR 2017",
        needs="attention",
        formula="squared distance of both attention maps at unit norm",
    ),
    Loss(
        "map_cosine",
        "teacher",
        f"{_MAPS}:map_cosine",
        "Parchami-Araghi et al., ECCV 2024",
        needs="evidence",
        compares_images=True,
        formula="1 - cosine of both evidence maps, weighted by max(0, t - mean of t over the batch)",
    ),
)

LOSSES: Mapping[str, Loss] = {loss.name: loss for loss in _ALL}
LABEL_LOSSES = frozenset(loss.name for loss in _ALL if loss.against == "labels")
TEACHER_LOSSES = frozenset(loss.name for loss in _ALL if loss.against == "teacher")
NEEDS_SOURCES = frozenset(loss.name for loss in _ALL if loss.source_log_odds)
# Features are too large to store for every image, so these losses need the teacher itself during training.
NEEDS_LIVE_TEACHER = frozenset(loss.name for loss in _ALL if loss.needs == "features")


def known_loss(name: str) -> str:
    """Return a loss's name unchanged. Raises ValueError if there is no such loss."""
    if name not in LOSSES:
        close = difflib.get_close_matches(name, LOSSES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ValueError(f"unknown loss {name!r}{hint} Allowed: {', '.join(LOSSES)}")
    return name

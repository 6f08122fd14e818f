"""The weighted sum of named losses that a study asks for."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from cxr_kd.distill import losses, map_losses
from cxr_kd.distill.outputs import Need, Outputs
from cxr_kd.study.loss_table import LOSSES
from cxr_kd.study.settings import LossName, LossSettings

LabelLoss = Callable[[Tensor, Tensor, Tensor], Tensor]  # the student's logits, labels, known
TeacherLoss = Callable[[Outputs, Outputs], Tensor]  # student, teacher
Given = TypeVar("Given")

NEEDS: Mapping[LossName, Need] = {"map_cosine": "evidence", "attention_transfer": "attention", "hint": "features"}


class Objective:
    """Weights by loss name, such as `{"focal_bce": 1.0, "logit_mse": 0.5}`; a weight of 0 leaves its loss out.

    `settings` are those of `LossSettings`. `focal_bce_balanced` needs the training labels' `positive_rates` (L,)
    (`losses.positive_rates`); `hint` needs `widths`, the channels of the student's and of the teacher's features.
    Raises ValueError for an unknown loss, for none, and where one lacks what it needs.

    `needs` is what student and teacher are asked beside their logits (`observe(model, images, objective.needs)`);
    `module` holds what is learned along: it goes to the student's device, and its parameters to the optimiser.
    """

    def __init__(
        self,
        weights: Mapping[LossName, float],
        *,
        positive_rates: Tensor | None = None,
        widths: tuple[int, int] | None = None,
        **settings: float,
    ) -> None:
        if unknown := set(weights) - set(LOSSES):
            raise ValueError(f"unknown losses {sorted(unknown)}: allowed are {', '.join(LOSSES)}")
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        if not self.weights:
            raise ValueError(f"an objective needs a loss with a weight above 0, not {dict(weights)}")
        self.needs: frozenset[Need] = frozenset(NEEDS[name] for name in self.weights if name in NEEDS)
        self.module = nn.ModuleDict()
        if "focal_bce_balanced" in self.weights:
            _given(positive_rates, "focal_bce_balanced", "positive_rates=losses.positive_rates(training labels)")
        if "hint" in self.weights:
            student, teacher = _given(widths, "hint", "widths=(the student's channels, the teacher's)")
            self.module["hint"] = nn.Conv2d(student, teacher, kernel_size=1)
        label_losses = _label_losses(LossSettings(**settings), positive_rates)
        teacher_losses = _teacher_losses(LossSettings(**settings), self.module)
        self._label_losses = {name: loss for name, loss in label_losses.items() if name in self.weights}
        self._teacher_losses = {name: loss for name, loss in teacher_losses.items() if name in self.weights}

    def __call__(
        self, student: Outputs, teacher: Outputs | None, labels: Tensor, known: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each loss before its weight, detached; labels and known (B, L) as in `losses`.

        In float32 (or float64), whatever the precision of the answers. Raises ValueError where an answer that is
        compared is not there, or lacks one of `needs`.
        """
        student = student.in_full_precision()
        with torch.autocast(student.logits.device.type, enabled=False):
            terms = {name: loss(student.logits, labels, known) for name, loss in self._label_losses.items()}
            if self._teacher_losses:
                teacher = _given(teacher, ", ".join(self._teacher_losses), "a teacher's answer").in_full_precision()
                terms |= {name: loss(student, teacher) for name, loss in self._teacher_losses.items()}
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}


def _label_losses(settings: LossSettings, positive_rates: Tensor | None) -> dict[LossName, LabelLoss]:
    focal = partial(losses.focal_bce, focusing=settings.focusing)
    return {
        "bce": losses.bce,
        "focal_bce": focal,
        "focal_bce_balanced": partial(focal, positive_rates=positive_rates),
        "asymmetric": partial(
            losses.asymmetric,
            positive_focusing=settings.positive_focusing,
            negative_focusing=settings.negative_focusing,
            margin=settings.margin,
        ),
    }


def _teacher_losses(settings: LossSettings, module: nn.ModuleDict) -> dict[LossName, TeacherLoss]:
    return {
        "logit_mse": _between_logits(losses.logit_mse),
        "prob_mse": _between_logits(losses.prob_mse),
        "binary_kl": _between_logits(partial(losses.binary_kl, temperature=settings.temperature)),
        "l2d": _between_logits(losses.l2d),
        "correlation": _between_logits(losses.correlation),
        "map_cosine": lambda student, teacher: map_losses.map_cosine(
            student.part("evidence"), teacher.part("evidence"), teacher.logits
        ),
        "attention_transfer": lambda student, teacher: map_losses.attention_transfer(
            student.part("attention"), teacher.part("attention")
        ),
        "hint": lambda student, teacher: map_losses.hint(
            module["hint"](student.part("features")), teacher.part("features")
        ),
    }


def _between_logits(loss: Callable[[Tensor, Tensor], Tensor]) -> TeacherLoss:
    return lambda student, teacher: loss(student.logits, teacher.logits)


def _given(value: Given | None, loss: str, what: str) -> Given:
    if value is None:
        raise ValueError(f"{loss} needs {what}")
    return value

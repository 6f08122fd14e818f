"""The weighted sum of the losses that a study asks for.

`study.loss_table` lists every loss with its function. A function gets tensors by what its loss compares:

| loss | arguments |
|---|---|
| against labels | the student's logits, labels, known; one also the log-odds of each image's source |
| against a teacher, logits | the student's and the teacher's logits |
| against a teacher, attention | the student's and the teacher's attention |
| against a teacher, features | the student's features through a learned layer, and the teacher's features |
| against a teacher, evidence | the student's and the teacher's evidence, and the teacher's logits |
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pkgutil import resolve_name
from typing import TypeVar

import torch
from torch import Tensor, nn

from cxr_kd.distill.outputs import Need, Outputs
from cxr_kd.study.loss_table import LOSSES, Loss, known_loss
from cxr_kd.study.settings import LossSettings

T = TypeVar("T")


class Objective:
    """Weights by loss name, such as `{"focal_bce": 1.0, "logit_mse": 0.5}`; losses of weight 0 are left out.

    `settings` are those of `LossSettings`. Losses that balance positives and negatives need `positive_rates` (L,), see
    `losses.positive_rates`. Losses that compare features need `widths`: the number of channels of the student's and of
    the teacher's features. Raises ValueError for an unknown loss, for no loss, and if one of these is missing.

    `needs`: the outputs that student and teacher must have besides logits, for `observe(model, images, needs)`.
    `module`: layers that are trained with the student. Move it to the student's device, and give its parameters to the
    optimiser.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        *,
        positive_rates: Tensor | None = None,
        widths: tuple[int, int] | None = None,
        **settings: float,
    ) -> None:
        named = {known_loss(name): weight for name, weight in weights.items()}
        self.weights = {name: weight for name, weight in named.items() if weight > 0}
        if not self.weights:
            raise ValueError(f"an objective needs a loss with a weight above 0, not {dict(weights)}")
        # In the order of the table, so that the order of a study file changes neither the sum nor its rounding.
        chosen = [loss for name, loss in LOSSES.items() if name in self.weights]
        self.needs = needs_of(self.weights)
        self.module = nn.ModuleDict()
        for loss in chosen:
            if loss.needs == "features":
                self.module[loss.name] = _regressor(loss.name, widths)
        values = LossSettings(**settings)
        self._functions = {loss: _function(loss, values, positive_rates) for loss in chosen}

    def __call__(
        self,
        student: Outputs,
        teacher: Outputs | None,
        labels: Tensor,
        known: Tensor,
        source_log_odds: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum, and each loss by name before its weight, detached.

        `labels`, `known` and `source_log_odds` are (B, L), as in `losses`. Losses are computed in float32 (or float64),
        whatever the precision of the outputs. Raises ValueError if a loss needs a teacher or the log-odds and there are
        none, or if the outputs lack one of `needs`.
        """
        student = student.in_full_precision()
        teacher = teacher.in_full_precision() if teacher else None
        with torch.autocast(student.logits.device.type, enabled=False):
            terms = {
                loss.name: function(
                    *self._arguments(loss, student, teacher, labels, known),
                    **_source_keyword(loss, source_log_odds),
                )
                for loss, function in self._functions.items()
            }
        total = torch.stack([self.weights[name] * term for name, term in terms.items()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}

    def _arguments(
        self, loss: Loss, student: Outputs, teacher: Outputs | None, labels: Tensor, known: Tensor
    ) -> tuple[Tensor, ...]:
        """Return what a loss's function gets, as in the table at the top of this module."""
        if loss.against == "labels":
            return student.logits, labels, known
        teacher = _required(teacher, loss.name, "a teacher's outputs")
        if loss.needs is None:
            return student.logits, teacher.logits
        ours, theirs = student.part(loss.needs), teacher.part(loss.needs)
        if loss.needs == "features":
            return self.module[loss.name](ours), theirs
        return (ours, theirs, teacher.logits) if loss.needs == "evidence" else (ours, theirs)


def needs_of(losses: Iterable[str]) -> frozenset[Need]:
    """Return the outputs besides logits that these losses compare. Raises ValueError for an unknown loss."""
    needs = (LOSSES[known_loss(name)].needs for name in losses)
    return frozenset(need for need in needs if need is not None)


def _function(loss: Loss, settings: LossSettings, positive_rates: Tensor | None) -> Callable[..., Tensor]:
    """Return the function of a loss with its settings filled in."""
    keywords = {field: getattr(settings, field) for field in loss.settings}
    if loss.positive_rates:
        advice = "positive_rates=losses.positive_rates(training labels)"
        keywords["positive_rates"] = _required(positive_rates, loss.name, advice)
    return partial(resolve_name(loss.function), **keywords)


def _source_keyword(loss: Loss, log_odds: Tensor | None) -> dict[str, Tensor]:
    if not loss.source_log_odds:
        return {}
    return {"source_log_odds": _required(log_odds, loss.name, "source_log_odds=Batch.source_log_odds")}


def _regressor(loss: str, widths: tuple[int, int] | None) -> nn.Module:
    """Return the layer that maps the student's channels to the teacher's."""
    student, teacher = _required(widths, loss, "widths=(the student's channels, the teacher's)")
    return nn.Conv2d(student, teacher, kernel_size=1)


def _required(value: T | None, loss: str, what: str) -> T:
    if value is None:
        raise ValueError(f"{loss} needs {what}")
    return value

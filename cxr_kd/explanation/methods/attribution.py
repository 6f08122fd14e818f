"""Values per pixel that should add up to a logit, and by how much they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cxr_kd.errors import ModelError
from cxr_kd.models.classifier import CxrClassifier


@dataclass(frozen=True, eq=False)
class Attribution:
    """Values of pixels for some findings, in logits, signed, and how well they add up.

    findings: F names. values: (B, F, S, S). logits: (B, F), the network's for the images. base: (B, F), the network's
    for what the images are compared with. Tensors are on the CPU.
    """

    method: str
    findings: tuple[str, ...]
    values: torch.Tensor
    logits: torch.Tensor
    base: torch.Tensor

    @property
    def gap(self) -> torch.Tensor:
        """Sum of the values minus (logit minus base), (B, F), in logits. 0 is best: the values then add up exactly."""
        return self.values.sum(dim=(2, 3)) - (self.logits - self.base)

    def gap_text(self) -> str:
        """Return one line per image: each finding's gap, beside the difference of logits that it belongs to."""
        lines = []
        for row, (gaps, differences) in enumerate(zip(self.gap, self.logits - self.base, strict=True)):
            each = (
                f"{finding} {float(gap):+.2g} of {float(difference):+.3g}"
                for finding, gap, difference in zip(self.findings, gaps, differences, strict=True)
            )
            lines.append(f"{self.method}, image {row + 1}: additivity gap (logits) {', '.join(each)}")
        return "\n".join(lines)


class ChosenLogits(torch.nn.Module):
    """A network's logits of chosen findings as a module that libraries can call: float images in [0, 1] -> (B, F).

    The network is not a submodule: SHAP sets the gradients of all parameters that it finds to zero.
    """

    def __init__(self, model: CxrClassifier, findings: Sequence[str]) -> None:
        super().__init__()
        self._model = (model,)
        self._columns = columns(model, findings)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, F) of the chosen findings."""
        return self._model[0](images)[:, self._columns]


def columns(model: CxrClassifier, findings: Sequence[str]) -> list[int]:
    """Return the columns of findings among a model's logits.

    Raises ModelError if there are none, if the model does not have one, or if the network is in training mode.
    """
    if model.training:
        raise ModelError(f"{model.name} is in training mode, where images of a batch affect each other: call eval()")
    if not findings:
        raise ModelError(f"no finding is chosen; {model.name} has: {', '.join(model.findings)}")
    for finding in findings:
        if finding not in model.findings:
            raise ModelError(f"{model.name} has no finding {finding!r}; it has: {', '.join(model.findings)}")
    return [model.findings.index(finding) for finding in findings]


def gray(model: CxrClassifier, images: torch.Tensor) -> torch.Tensor:
    """Return images (B, 1, S, S), 8-bit or float in [0, 1], as float32 in [0, 1] on the network's device."""
    scaled = images / 255.0 if images.dtype == torch.uint8 else images
    return scaled.detach().to(model.mean.device, torch.float32).clone()

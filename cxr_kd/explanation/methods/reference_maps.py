"""Integrated gradients and occlusion by the `captum` package: plain references for the other maps.

Both are explainers: images (B, 1, S, S) -> logits (B, L) and signed evidence per pixel, (B, L, S, S), in logits.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.attribution import Attribution, ChosenLogits, gray
from cxr_kd.explanation.methods.cam import Explainer
from cxr_kd.models.classifier import CxrClassifier


def integrated_gradients(model: CxrClassifier, *, baseline: float = 0.0, steps: int = 50) -> Explainer:
    """Return integrated gradients of all findings, per pixel; `path_attribution` also gives how well they add up.

    Raises ModelError as `path_attribution` does.
    """

    def explain(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = path_attribution(model, images, model.findings, baseline=baseline, steps=steps)
        return found.logits, found.values

    return explain


def path_attribution(
    model: CxrClassifier,
    images: torch.Tensor,
    findings: Sequence[str],
    *,
    baseline: float = 0.0,
    steps: int = 50,
    batch_size: int = 16,
) -> Attribution:
    """Return integrated gradients of chosen findings from an image of one gray value (`baseline`, 0 black to 1 white).

    The values add up to the logit minus the baseline image's, up to the error of the integral, which is the gap.
    `steps`: forward and backward passes per image and finding (Gauss-Legendre), `batch_size` of them at a time. Raises
    ModelError for an unknown finding, a baseline outside [0, 1], or no steps. Source: Sundararajan et al., ICML 2017,
    equation 1.
    """
    _check_gray(baseline)
    if steps < 1:
        raise ModelError(f"integrated gradients need at least 1 step, got {steps}")
    logits_of = ChosenLogits(model, findings)
    from captum.attr import IntegratedGradients

    with torch.inference_mode(False), torch.enable_grad():
        given = gray(model, images)
        method = IntegratedGradients(logits_of)
        values = [
            method.attribute(
                given, baselines=baseline, target=column, n_steps=steps, internal_batch_size=max(batch_size, len(given))
            )
            for column in range(len(findings))
        ]
    with torch.no_grad():
        logits, base = logits_of(given), logits_of(torch.full_like(given, baseline))
    return Attribution(
        "integrated gradients",
        tuple(findings),
        torch.stack([each[:, 0] for each in values], dim=1).detach().cpu(),
        logits.cpu(),
        base.cpu(),
    )


def occlusion(
    model: CxrClassifier, *, window: int | None = None, stride: int | None = None, baseline: float = 0.5
) -> Explainer:
    """Return occlusion maps of all findings: the fall of the logit when a square window is painted `baseline` gray.

    `window` is in pixels (default: a seventh of the image), and moves by `stride` (default: half a window). A pixel
    has the mean over the windows that cover it. One image takes one forward pass per window, for all findings together.
    Raises ModelError if the window does not fit into the image, the stride leaves gaps, or `baseline` is outside
    [0, 1]. Source: Zeiler and Fergus, ECCV 2014, section 4.2.
    """
    _check_gray(baseline)
    side = window if window is not None else max(model.image_size // 7, 1)
    if not 1 <= side <= model.image_size:
        raise ModelError(f"a window of {side} px does not fit into images of {model.image_size} px")
    step = stride if stride is not None else max(side // 2, 1)
    if not 1 <= step <= side:
        raise ModelError(f"windows of {side} px must move by 1 to {side} px, got {step}: pixels would be left out")
    logits_of = ChosenLogits(model, model.findings)
    from captum.attr import Occlusion

    @torch.no_grad()
    def explain(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        given = gray(model, images)
        logits = logits_of(given)
        # Each logit as an output of the whole batch: captum then takes one pass per window, not one per finding too.
        falls = Occlusion(lambda some: logits_of(some).flatten()).attribute(
            given, sliding_window_shapes=(1, side, side), strides=(1, step, step), baselines=baseline
        )  # (B * L, 1, S, S)
        return logits, falls[:, 0].unflatten(0, tuple(logits.shape))

    return explain


def _check_gray(baseline: float) -> None:
    if not 0 <= baseline <= 1:
        raise ModelError(f"the baseline is a gray value from 0 (black) to 1 (white), got {baseline}")

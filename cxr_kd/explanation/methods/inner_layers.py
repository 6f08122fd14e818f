"""LayerCAM at an inner layer of any network: finer cells than the last map has, for one backward pass per finding.

The layer is found by running the network, not by its name: the last one whose output has the wanted stride, and through
which everything that reaches the logits passes. A layer inside a residual branch is none: it would miss the shortcut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.cam import Explainer
from cxr_kd.models.classifier import CxrClassifier

PAIRS_AT_ONCE = 16  # pairs of an image and a finding in one pass: its graph holds every map above the layer


@dataclass(frozen=True)
class InnerLayer:
    """A layer whose output is a map of `side` x `side` cells: its name in the network, and how it lays out its output.

    layout: "channels first" (B, K, h, w), "channels last" (B, h, w, K) or "tokens" (B, prefix + h * w, K).
    """

    name: str
    side: int
    layout: str
    prefix: int = 0

    def as_map(self, output: torch.Tensor) -> torch.Tensor:
        """Return the layer's output, or a gradient of it, as a map (B, K, h, w)."""
        if self.layout == "channels last":
            return output.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            return output[:, self.prefix :].transpose(1, 2).unflatten(2, (self.side, self.side))
        return output


def layer_cam_at(model: CxrClassifier, stride: int) -> Explainer:
    """Return LayerCAM at the last layer of a stride, in logits: n sum_k relu(dy / dA_k) A_k, cell by cell.

    A is that layer's output with n cells. Only positive weights: at least 0 in every cell if the layer's features are.
    No gradient flows to the images or weights. Raises ModelError if the network has no layer of this stride. Source:
    Jiang et al., IEEE Transactions on Image Processing 30, 2021, section III; the factor n is ours, as in
    `last_map_cams`.
    """
    layer = find_layer(model, stride)

    def explain(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Gradients are needed here, also where the caller has turned them off.
        with torch.inference_mode(False), torch.enable_grad():
            logits, output = _from_layer(model, layer, images.clone())
            features = layer.as_map(output.detach())
            evidence = [
                (F.relu(layer.as_map(gradient)) * features).sum(dim=1) for gradient in _gradients(logits, output)
            ]
        return logits.detach(), layer.side**2 * torch.stack(evidence, dim=1)

    def of_pairs(images: torch.Tensor, columns: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        parts = [
            of_some(images[start : start + PAIRS_AT_ONCE], columns[start : start + PAIRS_AT_ONCE])
            for start in range(0, len(images), PAIRS_AT_ONCE)
        ]
        logits, evidence = zip(*parts, strict=True)
        return torch.cat(logits), torch.cat(evidence)

    def of_some(images: torch.Tensor, columns: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        # No image affects another, so the gradient of the sum holds each image's own: one backward pass for all pairs.
        with torch.inference_mode(False), torch.enable_grad():
            logits, output = _from_layer(model, layer, images.clone())
            own = logits[torch.arange(len(logits)), torch.as_tensor(columns)]
            (gradient,) = torch.autograd.grad(own.sum(), output)
            evidence = (F.relu(layer.as_map(gradient)) * layer.as_map(output.detach())).sum(dim=1)
        return own.detach(), layer.side**2 * evidence

    setattr(explain, "of_pairs", of_pairs)  # noqa: B010  (`cam.of_pairs`)
    return explain


def features_at(model: CxrClassifier, stride: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the function from images (B, 1, S, S) to the map (B, K, h, w) that `layer_cam_at` reads; differentiable.

    Raises ModelError if the network has no layer of this stride.
    """
    layer = find_layer(model, stride)

    def features(images: torch.Tensor) -> torch.Tensor:
        caught: list[torch.Tensor] = []
        hook = model.backbone.get_submodule(layer.name).register_forward_hook(lambda *seen: caught.append(seen[-1]))
        try:
            model(images)
        finally:
            hook.remove()
        return layer.as_map(caught[0])

    return features


def find_layer(model: CxrClassifier, stride: int) -> InnerLayer:
    """Return the last layer with one cell per `stride` pixels that all information passes. Raises ModelError if none.

    An odd number of cells is rounded up, as padded convolutions do.
    """
    side = -(-model.image_size // stride)
    image = torch.rand(1, 1, model.image_size, model.image_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(False), torch.enable_grad():
        image = image.to(model.mean.device)
        outputs = _outputs_in_order(model, image)
        for name, output in reversed(outputs):
            layer = _as_layer(model, name, output, side)
            if layer is not None and _all_passes(model, name, image):
                return layer
    sides = {output.shape[2] for _, output in outputs if output.ndim == 4 and output.shape[2] == output.shape[3]}
    listed = ", ".join(map(str, sorted(sides, reverse=True)))
    raise ModelError(
        f"{model.name} has no layer of stride {stride} ({side} x {side} cells at {model.image_size} px) that "
        f"everything passes; its layers have {listed} cells per side: use `layer_cam`, which takes the last map"
    )


def _outputs_in_order(model: CxrClassifier, image: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """Return the name and output of each layer of the backbone in the order in which they finish.

    Layers that run more than once are left out: their name does not say which output is meant.
    """
    outputs: dict[str, list[torch.Tensor]] = {}
    order: list[str] = []

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                order.append(name)
                outputs.setdefault(name, []).append(output.detach())

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in model.backbone.named_modules()]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for each in hooks:
            each.remove()
    return [(name, outputs[name][0]) for name in order if len(outputs[name]) == 1]


def _as_layer(model: CxrClassifier, name: str, output: torch.Tensor, side: int) -> InnerLayer | None:
    """Return the layer if its output, for one image, is a map of `side` x `side` cells."""
    if len(output) != 1:
        return None  # windows of an attention, not images
    shape = tuple(output.shape[1:])
    if len(shape) == 3 and shape[1:] == (side, side):
        return InnerLayer(name, side, "channels first")
    if len(shape) == 3 and shape[:2] == (side, side):
        return InnerLayer(name, side, "channels last")
    prefix = getattr(getattr(model.backbone, "network", None), "num_prefix_tokens", 0)
    if len(shape) == 2 and shape[0] - prefix == side * side and isqrt(shape[0] - prefix) == side:
        return InnerLayer(name, side, "tokens", prefix)
    return None


def _all_passes(model: CxrClassifier, name: str, image: torch.Tensor) -> bool:
    """Return whether the logits no longer depend on the image once this layer's output is cut off from it."""
    watched = image.clone().requires_grad_()
    with _replaced(model, name, lambda output: output.detach()):
        logits = model(watched)
    if not logits.requires_grad:
        return True
    (gradient,) = torch.autograd.grad(logits.sum(), watched, allow_unused=True)
    return gradient is None


def _from_layer(model: CxrClassifier, layer: InnerLayer, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits and the layer's output, from which gradients are recorded (nothing is stored below it)."""
    caught: list[torch.Tensor] = []

    def catch(output: torch.Tensor) -> torch.Tensor:
        # Nothing bypasses the layer, so the part of the network below it needs no gradients.
        caught.append(output.detach().requires_grad_())
        return caught[0]

    try:
        with _replaced(model, layer.name, catch):
            logits = model(images)
    except RuntimeError as error:
        if "in-place" not in str(error):
            raise
        raise ModelError(
            f"{model.name}: a layer changes the output of 'backbone.{layer.name}' in place, so the map would be of "
            f"other features; turn off the in-place operations of the network"
        ) from error
    return logits, caught[0]


def _gradients(logits: torch.Tensor, output: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield d logit / d output of each finding. In eval mode no image affects another, so a batch needs one pass."""
    for column in range(logits.shape[1]):
        last = column + 1 == logits.shape[1]
        yield torch.autograd.grad(logits[:, column].sum(), output, retain_graph=not last)[0]


@contextmanager
def _replaced(model: CxrClassifier, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Replace a layer's output by `change` of it while the block runs."""
    module = model.backbone.get_submodule(name)
    hook = module.register_forward_hook(lambda module, inputs, output: change(output))
    try:
        yield
    finally:
        hook.remove()

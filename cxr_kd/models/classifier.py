"""Radiograph in, one logit a finding out: the one shape that every network of a study has."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from cxr_kd.errors import ModelError
from cxr_kd.models.heads import Head

# Interpolating augmentations overshoot by a rounding error; a 0..255 image as floats overshoots by far more.
_RANGE_SLACK = 1e-3


class CxrClassifier(nn.Module):
    """A network as two parts, `features` and `head`, with its findings' names and its own preprocessing.

    `backbone` maps normalised images (B, 3, S, S) to the last feature map (B, K, h, w); `head` maps its global mean
    (B, K) to logits (B, L). Nothing in it works in place, so maps taken from it stay what they were.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        name: str,
        findings: Sequence[str],
        image_size: int,
        backbone: nn.Module,
        head: Head,
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        super().__init__()
        self.name = name
        self.findings = tuple(findings)
        self.image_size = image_size
        self.backbone = backbone
        self.head = head
        # Not persistent: they belong to the network's name, and every weights file carries that name.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._range_seen = False

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Give logits (B, L) for images (B, 1, S, S), 8-bit or float in [0, 1]; raises ModelError for others."""
        return self.head(self.pool(self.features(images)))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Give the last feature map (B, K, h, w), whose global mean is all that the head sees."""
        return self.backbone(self.normalise(images))

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Give the global mean (B, K) of a feature map (B, K, h, w)."""
        return features.mean(dim=(2, 3))

    def head_jacobian(self, pooled: torch.Tensor) -> torch.Tensor:
        """Give d logit / d pooled as (B, L, K) for pooled features (B, K), in closed form, differentiable."""
        return self.head.jacobian(pooled)

    def evidence(self, features: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Give what each cell says for (above 0) and against (below 0) each finding, (B, L, h, w), in logits.

        `sum_k d logit / d pooled_k * A_k` for a feature map A (B, K, h, w) and its pooled mean (B, K): Grad-CAM
        (Selvaraju et al., ICCV 2017, equations 1 and 2) before its relu, times h * w. Over a linear head its mean is
        the logit without the bias. Differentiable in the features and in the head's weights.
        """
        return torch.einsum("blk,bkhw->blhw", self.head_jacobian(pooled), features)

    def undecayed(self) -> frozenset[str]:
        """Return the names of the parameters that weight decay leaves out, as published recipes do.

        These are biases and scales of norms (at most one dimension), and what the backbone names in `no_weight_decay`:
        position embeddings, class tokens and tables of relative positions.
        """
        patterns = [f"backbone.{name}" for name in getattr(self.backbone, "no_weight_decay", frozenset)()]
        return frozenset(
            name
            for name, parameter in self.named_parameters()
            if parameter.ndim <= 1 or any(fnmatchcase(name, pattern) for pattern in patterns)
        )

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Give what the backbone sees, (B, 3, S, S): gray repeated to three channels, the network's statistics."""
        self._check(images)
        scale = 255.0 if images.dtype == torch.uint8 else 1.0
        gray = images.to(self.mean.dtype) / scale
        return (gray - self.mean) / self.std

    def _check(self, images: torch.Tensor) -> None:
        size = self.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (1, size, size):
            raise ModelError(
                f"{self.name} was built for images of shape (B, 1, {size}, {size}), got {tuple(images.shape)}: "
                f"resize them, or build it with another image_size"
            )
        if images.dtype == torch.uint8:
            return
        if not images.is_floating_point():
            raise ModelError(f"{self.name} takes uint8 images or floats in [0, 1], got {images.dtype}")
        self._check_range(images)

    def _check_range(self, images: torch.Tensor) -> None:
        # Off the CPU, reading the range waits for the device: there the first batch stands for the others.
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or images.is_meta:
            return
        if self._range_seen and images.device.type != "cpu":
            return
        low, high = (bound.item() for bound in torch.aminmax(images.detach()))
        if not (low >= -_RANGE_SLACK and high <= 1 + _RANGE_SLACK):
            raise ModelError(
                f"{self.name} takes uint8 images or floats in [0, 1], got floats from {low:.4g} to {high:.4g}: "
                f"give the 8-bit image as it is, or divide it by 255; don't normalise it, the classifier does"
            )
        self._range_seen = True

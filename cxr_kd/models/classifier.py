"""The shape of every network of a study: a radiograph in, one logit per finding out."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import torch
from torch import nn

from cxr_kd.errors import ModelError
from cxr_kd.models.heads import Head

# Interpolating augmentations leave [0, 1] by a rounding error; an image of floats from 0 to 255 leaves it by far more.
_RANGE_SLACK = 1e-3


class CxrClassifier(nn.Module):
    """A network in two parts, `backbone` and `head`, with the names of its findings and its own preprocessing.

    `backbone` maps normalised images (B, 3, S, S) to the last feature map (B, K, h, w); `head` maps the global mean of
    that map (B, K) to logits (B, L). No layer works in place, so a feature map is not changed by later layers. `start`
    says in words what the weights were before the network was trained. Raises ModelError for a layer that is
    set to work in place.
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
        self.start = "random weights"
        # Not persistent, because weights files hold them as metadata.
        self.register_buffer("mean", torch.empty(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.empty(1, 3, 1, 1), persistent=False)
        self.set_input_statistics(mean, std)
        self._range_checked = False
        self._check_in_place()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits (B, L) for images (B, 1, S, S), 8-bit or float in [0, 1]. Raises ModelError for others."""
        return self.head(self.pool(self.features(images)))

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Return the last feature map (B, K, h, w); the head sees only its global mean."""
        return self.backbone(self.normalise(images))

    def set_input_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set mean and standard deviation per colour channel that images in [0, 1] are normalised with.

        They belong to the weights: with other statistics than it was trained with, a network is silently worse.
        """
        self.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
        self.std.copy_(torch.tensor(std).view(1, 3, 1, 1))

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Return the global mean (B, K) of a feature map (B, K, h, w)."""
        return features.mean(dim=(2, 3))

    def head_jacobian(self, pooled: torch.Tensor) -> torch.Tensor:
        """Return d logit / d pooled as (B, L, K) for pooled features (B, K), in closed form, differentiable."""
        return self.head.jacobian(pooled)

    def evidence(self, features: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Return the evidence of each cell for (above 0) and against (below 0) each finding, (B, L, h, w), in logits.

        It is `sum_k d logit / d pooled_k * A_k` for a feature map A (B, K, h, w) and its pooled mean (B, K): Grad-CAM
        (Selvaraju et al., ICCV 2017, equations 1 and 2) before its relu, times h * w. With a linear head its mean is
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
        """Return the input of the backbone, (B, 3, S, S): gray repeated to three channels, then normalised.

        Each channel is normalised with the network's `mean` and `std`.
        """
        self._check(images)
        scale = 255.0 if images.dtype == torch.uint8 else 1.0
        gray = images.to(self.mean.dtype) / scale
        return (gray - self.mean) / self.std

    def _check_in_place(self) -> None:
        for name, module in self.named_modules():
            if getattr(module, "inplace", False):
                raise ModelError(
                    f"{self.name}: layer {name!r}, a {type(module).__name__}, works in place, so the maps would be of "
                    f"features that it has changed: set inplace=False"
                )

    def _check(self, images: torch.Tensor) -> None:
        size = self.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (1, size, size):
            raise ModelError(
                f"{self.name} was built for images of shape (B, 1, {size}, {size}), got {tuple(images.shape)}: "
                f"resize the images, or build the network with another image_size"
            )
        if images.dtype == torch.uint8:
            return
        if not images.is_floating_point():
            raise ModelError(f"{self.name} takes uint8 images or floats in [0, 1], got {images.dtype}")
        self._check_range(images)

    def _check_range(self, images: torch.Tensor) -> None:
        # Reading the range waits for the device, so only the first batch is checked on devices other than the CPU.
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or images.is_meta:
            return
        if self._range_checked and images.device.type != "cpu":
            return
        low, high = (bound.item() for bound in torch.aminmax(images.detach()))
        if not (low >= -_RANGE_SLACK and high <= 1 + _RANGE_SLACK):
            raise ModelError(
                f"{self.name} takes uint8 images or floats in [0, 1], got floats from {low:.4g} to {high:.4g}: "
                f"give 8-bit images unchanged, or divide them by 255; do not normalise them, the classifier does that"
            )
        self._range_checked = True

"""Networks that timm ships, cut to their last feature map and with every in-place operation turned off."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from timm.layers import resample_abs_pos_embed_nhwc
from torch import nn

from cxr_kd.models.registry import ModelError


class TimmFeatures(nn.Module):
    """A timm network up to the feature map that its global mean is taken of, after the final norm (and activation)."""

    network: Any  # timm's own type says nothing of `forward_features`, which all of its networks have

    def __init__(self, timm_name: str, **settings: Any) -> None:
        super().__init__()
        self.network = timm.create_model(timm_name, pretrained=False, num_classes=0, **settings)
        self.width: int = self.network.num_features
        for module in self.network.modules():
            if hasattr(module, "inplace"):
                module.inplace = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalised images (B, 3, S, S) to (B, width, h, w)."""
        return self.network.forward_features(x)


def hub_state(timm_name: str) -> dict[str, torch.Tensor]:
    """Give timm's published ImageNet weights, downloaded once into the hub's own cache; raises what the hub raises."""
    return timm.create_model(timm_name, pretrained=True).state_dict()


def load_timm(backbone: TimmFeatures, state: Mapping[str, torch.Tensor]) -> None:
    """Load weights in timm's layout: the 1000-way head is dropped, position embeddings are resampled to this size.

    Raises ModelError naming the keys that don't fit.
    """
    own = backbone.network.state_dict()
    fitted = {}
    for key, value in own.items():
        if key.endswith("num_batches_tracked") and key not in state:
            fitted[key] = value  # older files leave the counters out, and nothing here reads them
            continue
        if key not in state:
            raise ModelError(f"the weights have no {key!r}: are they those of another network?")
        given = state[key]
        if given.shape != value.shape and key.startswith("pos_embed"):
            given = _resample(given, value)
        if given.shape != value.shape:
            raise ModelError(f"the weights' {key!r} has shape {tuple(given.shape)} where {tuple(value.shape)} belongs")
        fitted[key] = given
    backbone.network.load_state_dict(fitted)


def _resample(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    height, width = wanted.shape[-2:]
    resampled = resample_abs_pos_embed_nhwc(given.permute(0, 2, 3, 1), [height, width])  # (1, h, w, C)
    return resampled.permute(0, 3, 1, 2).contiguous()

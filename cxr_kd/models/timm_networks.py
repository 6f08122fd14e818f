"""Networks that timm ships, cut to their last feature map and with every in-place operation turned off."""

import inspect
from collections.abc import Collection
from math import isqrt
from typing import Any, Literal

import timm
import torch
from torch import nn

from cxr_kd.errors import ModelError
from cxr_kd.models.heads import Head
from cxr_kd.models.info import NetworkInfo
from cxr_kd.models.timm_heads import take_head

Layout = Literal["channels first", "channels last", "tokens"]

# What asks others what they hold: a module with one of these attends.
_QUERIES = ("qkv", "qk", "q", "query", "q_proj")

# Parameters without weight decay in published recipes (DeiT, Swin, BEiT), although some of timm's networks, such as
# Visformer, do not list them: position embeddings, class tokens and tables of relative positions. fnmatch patterns.
_UNDECAYED = ("pos_embed*", "cls_token", "*relative_position_bias_table")


class TimmFeatures(nn.Module):
    """A timm network up to the feature map that its global mean is taken of, after the final norm (and activation).

    `layout` is how timm gives that map: (B, K, h, w), (B, h, w, K), or tokens (B, prefix + h * w, K) row by row, of
    which the first, such as a class token, are no part of the map. `taken`: layers that stand in the classifier's
    head instead, its name -> timm's name.
    """

    network: Any  # timm's own type says nothing of `forward_features`, which all of its networks have

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.layout: Layout = "channels first"
        self.taken: dict[str, str] = {}
        for module in network.modules():
            if hasattr(module, "inplace"):
                module.inplace = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalised images (B, 3, S, S) to (B, K, h, w)."""
        return self.as_map(self.network.forward_features(x))

    def as_map(self, features: torch.Tensor) -> torch.Tensor:
        """Give what timm's `forward_features` gives as a map (B, K, h, w)."""
        if self.layout == "channels last":
            return features.permute(0, 3, 1, 2)
        if self.layout == "tokens":
            cells = features[:, getattr(self.network, "num_prefix_tokens", 0) :]
            return cells.transpose(1, 2).unflatten(2, (isqrt(cells.shape[1]), -1))
        return features

    def no_weight_decay(self) -> frozenset[str]:
        """Return the names, or fnmatch patterns of names, of parameters that weight decay should leave out."""
        listed: Collection[str] = getattr(self.network, "no_weight_decay", frozenset)()
        return frozenset(f"network.{name}" for name in (*listed, *_UNDECAYED))


def build_timm(timm_name: str, image_size: int, findings: int) -> tuple[TimmFeatures, Head]:
    """Build a timm network for images of `image_size` px as its features and a head for `findings`.

    Both are held against timm's own forward: the head must see no more than the global mean of the features. Networks
    that ask their class token (ViT, DeiT) are built with timm's `global_pool="avg"`, so that they are asked about the
    mean of their image tokens, after the final norm. Swin's windows are no larger than its maps, as timm makes them.
    Raises ModelError with the reason for a network that can't serve, or not at this size.
    """
    try:
        backbone = TimmFeatures(_create(timm_name, image_size))
        head = _find(backbone, image_size, findings)
    except Exception as error:  # what timm can't build, or run, at a size fails in the network's own way
        size = _record(timm_name).input_size[-1]
        reason = str(error) or type(error).__name__
        raise ModelError(
            f"timm's {timm_name} can't serve for images of {image_size} px (timm made it for {size} px): {reason}"
        ) from error
    return backbone.train(), head.train()


def describe(timm_name: str) -> NetworkInfo:
    """Say what is known of any timm network: from timm's own record of it, and by building it without memory."""
    with torch.device("meta"):
        network: Any = timm.create_model(timm_name, num_classes=0)
    record = _record(timm_name)
    attends = any(hasattr(module, query) for module in network.modules() for query in _QUERIES)
    stem = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    return NetworkInfo(
        name=timm_name,
        title=timm_name,
        kind="transformer" if attends else "CNN",
        source=f"timm {timm.__version__}",
        library="timm",
        library_name=timm_name,
        published={},
        published_source="",
        counted=None,
        weights_file=_weights_file(record),
        size_step=stem.stride[0] if _cuts_patches(stem) else 1,
        mean=record.mean,
        std=record.std,
    )


def _record(timm_name: str) -> Any:
    """What timm keeps of a network: its input, its statistics, its weights."""
    return timm.get_pretrained_cfg(timm_name, allow_unregistered=False)


def _weights_file(record: Any) -> str:
    if record.hf_hub_id:
        return f"{record.hf_hub_filename or 'model.safetensors'} of {record.hf_hub_id} on the Hugging Face hub"
    return record.url


def _create(timm_name: str, image_size: int) -> Any:
    settings: dict[str, Any] = {"num_classes": 0}
    if _record(timm_name).fixed_input_size:
        settings["img_size"] = image_size
    network: Any = timm.create_model(timm_name, **settings)
    if getattr(network, "global_pool", None) != "token":
        return network
    if "fc_norm" in inspect.signature(type(network)).parameters:
        settings["fc_norm"] = False  # the final norm stays before the mean, where published weights have it
    return timm.create_model(timm_name, global_pool="avg", **settings)


@torch.no_grad()
def _find(backbone: TimmFeatures, image_size: int, findings: int) -> Head:
    """Find the layout of a network's last map, then its head, from one image of noise."""
    network = backbone.network.eval()
    image = _noise(1, 3, image_size, image_size).to(next(network.parameters()).device)
    hooks = [module.register_forward_pre_hook(_check_edge) for module in network.modules() if _cuts_patches(module)]
    features = network.forward_features(image)
    for hook in hooks:
        hook.remove()
    if not isinstance(features, torch.Tensor) or features.ndim not in (3, 4):
        raise ModelError("its features are not one map")
    if features.ndim == 3:
        backbone.layout = "tokens"
        _check_order(backbone, features, image)
    elif getattr(network, "output_fmt", "NCHW") == "NHWC":
        backbone.layout = "channels last"
    # Noise once more: what an untrained network gives may be too faint to tell two heads apart.
    features = _noise(*features.shape).to(features.device)
    head, backbone.taken = take_head(network, features, backbone.as_map(features).mean(dim=(2, 3)), findings)
    return head


def _cuts_patches(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == module.stride and module.padding == (0, 0)


def _check_edge(module: Any, inputs: tuple[torch.Tensor]) -> None:
    """Refuse a size that patches do not cover: the edge of the image would be left out without a word."""
    side, patch = inputs[0].shape[-1], module.stride[0]
    if side % patch:
        raise ModelError(f"it cuts a map of {side} cells into patches of {patch}, and would leave out the edge")


def _check_order(backbone: TimmFeatures, features: torch.Tensor, image: torch.Tensor) -> None:
    """Hold our order of the tokens against timm's own, or maps would show the wrong places."""
    network = backbone.network
    cells = features.shape[1] - getattr(network, "num_prefix_tokens", 0)
    if isqrt(cells) ** 2 != cells:
        raise ModelError(f"its {cells} last tokens are no square map")
    found = backbone.as_map(features)
    settings = {"indices": 1, "norm": hasattr(network, "norm"), "intermediates_only": True}
    (expected,) = network.forward_intermediates(image, **settings)
    if found.shape != expected.shape or not (found.is_meta or torch.allclose(found, expected, rtol=1e-3, atol=1e-4)):
        raise ModelError("timm does not say where in the image its last tokens are")


def _noise(*shape: int) -> torch.Tensor:
    # From a generator of its own: a network's weights must not depend on how its head was found.
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), device="cpu")

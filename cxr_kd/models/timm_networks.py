"""Build timm's networks up to their last feature map, with every in-place operation turned off."""

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
from cxr_kd.models.tensor_files import LIBRARY_ERRORS
from cxr_kd.models.timm_heads import extract_head

Layout = Literal["channels first", "channels last", "tokens"]

# Names of layers that compute an attention's queries: a network that has one of them is a transformer.
_QUERIES = ("qkv", "qk", "q", "query", "q_proj")
# Parameters without weight decay in published recipes (DeiT, Swin, BEiT), although some of timm's networks, such as
# Visformer, do not list them: position embeddings, class tokens and tables of relative positions. fnmatch patterns.
_UNDECAYED = ("pos_embed*", "cls_token", "*relative_position_bias_table")


class TimmFeatures(nn.Module):
    """A timm network without its head. It ends at the map that the head averages, after the final norm and activation.

    `layout` is how timm returns that map: (B, K, h, w), (B, h, w, K), or tokens (B, prefix + h * w, K) row by row. The
    prefix tokens, such as a class token, are not part of the map. `moved_layers`: layers of timm's head that are in
    the classifier's head instead, their name there -> timm's name.
    """

    network: Any  # timm's own type does not declare `forward_features`, which all of its networks have

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        self.layout: Layout = "channels first"
        self.moved_layers: dict[str, str] = {}
        for module in network.modules():
            if hasattr(module, "inplace"):
                module.inplace = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map normalised images (B, 3, S, S) to (B, K, h, w)."""
        return self.as_map(self.network.forward_features(x))

    def as_map(self, features: torch.Tensor) -> torch.Tensor:
        """Return the output of timm's `forward_features` as a map (B, K, h, w)."""
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

    Both are compared with timm's own forward: the head must see no more than the global mean of the features. Networks
    whose head sees a class token (ViT, DeiT) are built with timm's `global_pool="avg"`, so their head sees the mean of
    the image tokens, after the final norm. Swin's windows are at most as large as its maps, as timm makes them. Raises
    ModelError with the reason if the network, or this size, cannot be used.
    """
    try:
        backbone = TimmFeatures(_create(timm_name, image_size))
        head = _adapt(backbone, image_size, findings)
    except LIBRARY_ERRORS as error:
        size = _record(timm_name).input_size[-1]
        reason = str(error) or type(error).__name__
        raise ModelError(
            f"timm's {timm_name} cannot be used for images of {image_size} px (timm made it for {size} px): {reason}"
        ) from error
    return backbone.train(), head.train()


def timm_info(timm_name: str) -> NetworkInfo:
    """Return what is known of a timm network, from timm's record of it and from building it without memory."""
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
    """Return timm's record of a network: its input size, its image statistics, its weights."""
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
def _adapt(backbone: TimmFeatures, image_size: int, findings: int) -> Head:
    """Set the layout of a backbone's last map, and move its head's layers into a head, which is returned.

    Both are found by running the network on one image of noise.
    """
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
    # Noise again: the features of an untrained network may be too small to tell two heads apart.
    features = _noise(*features.shape).to(features.device)
    pooled = backbone.as_map(features).mean(dim=(2, 3))
    head, backbone.moved_layers = extract_head(network, features, pooled, findings)
    return head


def _cuts_patches(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == module.stride and module.padding == (0, 0)


def _check_edge(module: Any, inputs: tuple[torch.Tensor]) -> None:
    """Raise ModelError if patches do not cover the whole map: the edge of the image would be left out silently."""
    side, patch = inputs[0].shape[-1], module.stride[0]
    if side % patch:
        raise ModelError(f"it cuts a map of {side} cells into patches of {patch}, and would leave out the edge")


def _check_order(backbone: TimmFeatures, features: torch.Tensor, image: torch.Tensor) -> None:
    """Raise ModelError unless our order of the tokens is timm's own: otherwise maps would show the wrong places."""
    network = backbone.network
    cells = features.shape[1] - getattr(network, "num_prefix_tokens", 0)
    if isqrt(cells) ** 2 != cells:
        raise ModelError(f"its {cells} last tokens are not a square map")
    found = backbone.as_map(features)
    settings = {"indices": 1, "norm": hasattr(network, "norm"), "intermediates_only": True}
    (expected,) = network.forward_intermediates(image, **settings)
    if found.shape != expected.shape or not (found.is_meta or torch.allclose(found, expected, rtol=1e-3, atol=1e-4)):
        raise ModelError("timm does not say where in the image its last tokens are")


def _noise(*shape: int) -> torch.Tensor:
    # From a generator of its own: a network's weights must not depend on how its head was found.
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), device="cpu")

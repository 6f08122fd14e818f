"""Convert weights in timm's layout, in that of a network's authors if timm can convert it, or in that of a package."""

import sys
from collections.abc import Iterator, Mapping
from math import isqrt
from typing import Any

import timm
import torch
from timm.layers import resample_abs_pos_embed_nhwc
from torch import nn
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.registry import info
from cxr_kd.models.tensor_files import LIBRARY_ERRORS
from cxr_kd.models.timm_networks import TimmFeatures

State = Mapping[str, torch.Tensor]
PACKAGE_KEY = "_conv_stem.weight"  # only the weights packages (`imagenet_files.PACKAGES`) call a layer so


def hub_state(timm_name: str) -> dict[str, torch.Tensor]:
    """Return timm's published ImageNet weights, downloaded once into the hub's own cache; raises the hub's errors."""
    return timm.create_model(timm_name, pretrained=True).state_dict()


def from_timm(state: State, model: CxrClassifier, *, keep_head: bool) -> dict[str, torch.Tensor]:
    """Convert published weights to the keys of `model`, fitted to its image size; with `keep_head` also the last layer.

    Position embeddings are resampled to the model's map, and Swin's relative position biases to its windows, as timm
    does it: an embedding belongs to a place in the image, a bias to a distance in cells. Biases of LeViT's attention
    are taken for the same distance. Of a network with two heads (LeViT, RepViT) the last layer becomes their mean,
    which is timm's forward in evaluation mode. Raises ModelError naming the key that is missing or does not fit.
    """
    backbone = model.backbone
    assert isinstance(backbone, TimmFeatures)
    if PACKAGE_KEY in state:
        state = _renamed(state, info(model.name).library_name)
    published, own = _in_timms_layout(backbone.network, state), model.state_dict()
    sources, fitted = dict(_sources(model, backbone)), {}
    for key, source in sources.items():
        if source not in published and key.endswith("num_batches_tracked"):
            continue  # older files leave the counters out, and nothing here reads them
        fitted[key] = _fitted(source, _get(published, source), own[key])
    if keep_head:
        rest = {key: value for key, value in published.items() if key not in sources.values()}
        names = backbone.network.pretrained_cfg["classifier"]
        for key, value in _last_layer(rest, (names,) if isinstance(names, str) else names).items():
            fitted[f"head.output.{key}"] = _fitted(f"{names}.{key}", value, own[f"head.output.{key}"])
    return fitted


def _renamed(state: State, timm_name: str) -> State:
    """Return a weights package's tensors under timm's names: both list the same layers in the same order."""
    with torch.device("meta"):
        wanted = timm.create_model(timm_name).state_dict()
    same_kinds = [key.rpartition(".")[2] for key in state] == [key.rpartition(".")[2] for key in wanted]
    if not same_kinds or any(a.shape != b.shape for a, b in zip(state.values(), wanted.values(), strict=True)):
        raise ModelError(f"the layers of this file are not those of {timm_name}: are they those of another network?")
    return dict(zip(wanted, state.values(), strict=True))


def _in_timms_layout(network: nn.Module, state: State) -> State:
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        return convert(dict(state), network) if convert else state
    except LIBRARY_ERRORS as error:
        raise ModelError(f"the weights cannot be converted ({error}): are they those of another network?") from error


def _sources(model: CxrClassifier, backbone: TimmFeatures) -> Iterator[tuple[str, str]]:
    """Yield each key to load, except those of the last layer, and timm's name for it."""
    for key in backbone.network.state_dict():
        yield f"backbone.network.{key}", key
    for ours, timms in backbone.moved_layers.items():
        for leaf in model.head.get_submodule(ours).state_dict():
            yield f"head.{ours}.{leaf}", f"{timms}.{leaf}"


def _get(published: State, key: str) -> torch.Tensor:
    if key not in published:
        raise ModelError(f"the weights have no {key!r}: are they those of another network?")
    return published[key]


def _last_layer(published: State, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Return weight and bias of one linear layer that equals timm's last layer, or the mean of its two."""
    layers = [_linear(published, name) for name in names]
    if len(layers) == 1:
        return layers[0]
    return {key: torch.stack([layer[key] for layer in layers]).mean(dim=0) for key in ("weight", "bias")}


def _linear(published: State, name: str) -> dict[str, torch.Tensor]:
    """Return weight and bias of a last layer, with the batch norm before it, if there is one, folded in."""
    weight, bias = _get(published, f"{name}.weight"), _get(published, f"{name}.bias")
    norm = f"{name.rpartition('.')[0]}.bn"
    if f"{norm}.running_var" not in published:
        return {"weight": weight, "bias": bias}
    scale, shift, mean, variance = (
        _get(published, f"{norm}.{leaf}").double() for leaf in ("weight", "bias", "running_mean", "running_var")
    )
    scale = scale / (variance + nn.BatchNorm1d(1).eps).sqrt()  # timm's heads keep torch's epsilon
    folded_bias = bias.double() + weight.double() @ (shift - mean * scale)
    return {"weight": (weight.double() * scale).to(weight.dtype), "bias": folded_bias.to(bias.dtype)}


def _fitted(key: str, given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    if given.shape != wanted.shape:
        if key.startswith("pos_embed") and given.ndim == wanted.ndim == 4:
            return _resample(given, wanted)
        if key.endswith("attention_biases") and _is_square(given) and _is_square(wanted):
            return _same_distances(given, wanted)
        if given.ndim == 4 and wanted.ndim == 2:  # a convolution over one position is a linear layer
            given = given.flatten(1)
    if given.shape != wanted.shape:
        raise ModelError(
            f"the weights' {key!r} has shape {tuple(given.shape)} where {tuple(wanted.shape)} belongs: are they those "
            f"of another network?"
        )
    return given


def _resample(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    height, width = wanted.shape[-2:]
    resampled = resample_abs_pos_embed_nhwc(given.permute(0, 2, 3, 1), [height, width])  # (1, h, w, C)
    return resampled.permute(0, 3, 1, 2).contiguous()


def _is_square(biases: Any) -> bool:
    return biases.ndim == 2 and isqrt(biases.shape[1]) ** 2 == biases.shape[1] > 0


def _same_distances(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return biases (heads, distances) for a map of another size; row distance * side + column distance is the index.

    Distances beyond the given ones get the bias of the largest.
    """
    side, new = isqrt(given.shape[1]), isqrt(wanted.shape[1])
    table = given.unflatten(1, (side, side))[:, :new, :new]
    beyond = max(0, new - side)
    return F.pad(table.unsqueeze(0), (0, beyond, 0, beyond), mode="replicate").squeeze(0).flatten(1)

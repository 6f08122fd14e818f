"""Weights in timm's layout, or in that of a network's authors where timm converts it."""

import sys
from collections.abc import Iterator, Mapping

import timm
import torch
from timm.layers import resample_abs_pos_embed_nhwc

from cxr_kd.errors import ModelError
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.timm_networks import TimmFeatures


def hub_state(timm_name: str) -> dict[str, torch.Tensor]:
    """Give timm's published ImageNet weights, downloaded once into the hub's own cache; raises what the hub raises."""
    return timm.create_model(timm_name, pretrained=True).state_dict()


def load_timm(model: CxrClassifier, state: Mapping[str, torch.Tensor], *, keep_head: bool = False) -> None:
    """Load published weights, fitted to the model's image size; the last layer only with `keep_head`.

    Position embeddings are resampled to the model's map, and relative position biases to its windows, as timm does it:
    an embedding belongs to a place in the image, a bias to a distance in cells. Raises ModelError naming the key that
    doesn't fit.
    """
    backbone = model.backbone
    assert isinstance(backbone, TimmFeatures)
    published = _in_timms_layout(backbone.network, state)
    fitted = {}
    for key, source in _sources(model, backbone, keep_head=keep_head):
        value = model.state_dict()[key]
        if source not in published:
            if key.endswith("num_batches_tracked"):
                continue  # older files leave the counters out, and nothing here reads them
            raise ModelError(f"the weights have no {source!r}: are they those of another network?")
        fitted[key] = _fitted(source, published[source], value)
    model.load_state_dict({**model.state_dict(), **fitted})


def _in_timms_layout(network: torch.nn.Module, state: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    try:
        return convert(dict(state), network) if convert else state
    except (AttributeError, KeyError, RuntimeError) as error:
        raise ModelError(f"the weights can't be converted ({error}): are they those of another network?") from error


def _sources(model: CxrClassifier, backbone: TimmFeatures, *, keep_head: bool) -> Iterator[tuple[str, str]]:
    """Each key to load, and timm's name for it."""
    for key in backbone.network.state_dict():
        yield f"backbone.network.{key}", key
    heads = dict(backbone.taken)
    if keep_head:
        heads["output"] = backbone.network.pretrained_cfg["classifier"]
    for ours, timms in heads.items():
        for leaf in model.head.get_submodule(ours).state_dict():
            yield f"head.{ours}.{leaf}", f"{timms}.{leaf}"


def _fitted(key: str, given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    if key.startswith("pos_embed") and given.shape != wanted.shape and given.ndim == wanted.ndim == 4:
        return _resample(given, wanted)
    # A convolution over one position is a linear layer.
    if given.ndim == 4 and wanted.ndim == 2:
        given = given.flatten(1)
    if given.shape != wanted.shape:
        raise ModelError(f"the weights' {key!r} has shape {tuple(given.shape)} where {tuple(wanted.shape)} belongs")
    return given


def _resample(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    height, width = wanted.shape[-2:]
    resampled = resample_abs_pos_embed_nhwc(given.permute(0, 2, 3, 1), [height, width])  # (1, h, w, C)
    return resampled.permute(0, 3, 1, 2).contiguous()

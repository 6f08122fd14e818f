"""Load the ImageNet weights that others published: from a file on this machine or from timm's hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from cxr_kd.errors import ModelError
from cxr_kd.files import sha256_of
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.imagenet_files import check_imagenet, imagenet_advice, imagenet_file
from cxr_kd.models.ofa import from_published
from cxr_kd.models.registry import info
from cxr_kd.models.tensor_files import check_values, read_tensors
from cxr_kd.models.timm_weights import from_timm, hub_state


def load_imagenet(model: CxrClassifier) -> None:
    """Load a network's published ImageNet weights, all but the 1000-way last layer.

    They come from the first of these that has them: the weights folder (NAME.safetensors, NAME.pt or NAME.pth), an
    installed package (`imagenet_files.PACKAGES`), timm's hub. The input statistics are those of timm's record of the
    network, which belong to these weights. Raises ModelError that says what to install, or which file to put where.
    """
    path = imagenet_file(model.name)
    try:
        load_published(model, read_tensors(path) if path else _from_hub(model.name))
    except ModelError as error:
        raise ModelError(f"{path}: {error}" if path else str(error)) from error
    model.start = f"ImageNet weights ({_origin(path) if path else info(model.name).weights_file})"


def load_published(model: CxrClassifier, state: Mapping[str, torch.Tensor], *, keep_head: bool = False) -> None:
    """Load a state dict in its authors' layout (darmo's or timm's); with `keep_head` also its last layer.

    Raises ModelError naming the key that is missing, has another shape or type, or is not finite.
    """
    if info(model.name).library == "ours":
        converted = from_published(state, model.state_dict(), keep_head=keep_head)
    else:
        converted = from_timm(state, model, keep_head=keep_head)
    own = model.state_dict()
    check_values(converted, own)
    model.load_state_dict({**own, **converted})


def _origin(path: Path) -> str:
    return f"{path.name}, SHA-256 {sha256_of(path)[:12]}"


def _from_hub(name: str) -> dict[str, torch.Tensor]:
    check_imagenet(name)
    try:
        return hub_state(info(name).library_name)
    except Exception as error:  # the hub's client has a dozen unrelated errors, and all mean the same here
        raise ModelError(
            f"the ImageNet weights of {name} cannot be fetched ({type(error).__name__}): {imagenet_advice(name)}"
        ) from error

"""The ImageNet weights that others published: where they are found, read and loaded."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from cxr_kd.errors import ModelError
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.ofa import from_published
from cxr_kd.models.registry import info
from cxr_kd.models.timm_weights import hub_state, load_timm
from cxr_kd.models.weights_folder import check_imagenet, imagenet_advice, imagenet_file


def read_state(path: Path | str) -> dict[str, torch.Tensor]:
    """Read a published state dict, .safetensors or .pt/.pth (tensors only: no code in it is ever run)."""
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ModelError(f"no weights file at {path}") from error
    except (safetensors.SafetensorError, pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ModelError(f"{path} can't be read as a file of tensors only ({str(error).splitlines()[0]})") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f"{path} holds no state dict (names to tensors)")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_imagenet(model: CxrClassifier) -> None:
    """Load a network's published ImageNet weights, all but the 1000-way last layer.

    From the weights folder (NAME.safetensors, NAME.pt or NAME.pth) where it has them, else from timm's hub. Raises
    ModelError that says which file to put where.
    """
    path = imagenet_file(model.name)
    try:
        load_published(model, read_state(path) if path else _from_hub(model.name))
    except ModelError as error:
        raise ModelError(f"{path}: {error}" if path else str(error)) from error


def load_published(model: CxrClassifier, state: Mapping[str, torch.Tensor], *, keep_head: bool = False) -> None:
    """Load a state dict in its authors' layout (darmo's or timm's); `keep_head` loads its last layer, too."""
    if info(model.name).library == "ours":
        model.load_state_dict(from_published(state, model.state_dict(), keep_head=keep_head))
        return
    load_timm(model, state, keep_head=keep_head)


def _from_hub(name: str) -> dict[str, torch.Tensor]:
    check_imagenet(name)
    try:
        return hub_state(info(name).library_name)
    except Exception as error:  # the hub's client fails in a dozen unrelated ways, and all mean the same here
        raise ModelError(
            f"the ImageNet weights of {name} can't be fetched ({type(error).__name__}): {imagenet_advice(name)}"
        ) from error

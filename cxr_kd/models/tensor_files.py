"""Read files of named tensors (.safetensors, .pt and .pth), and check the tensors before a network gets them."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch

from cxr_kd.errors import ModelError

# What torch and timm raise for content or image sizes that they were not written for: torch's unpickler, timm's
# conversions of weights and timm's networks do not check what they are given.
LIBRARY_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    safetensors.SafetensorError,
    struct.error,
)

_AGAIN = "remove it and get it again, from its publisher or by training"


def read_tensors(path: Path | str) -> dict[str, torch.Tensor]:
    """Return the tensors of a file by name. No code in a .pt or .pth file is ever run.

    Names lose the prefix "module." of distributed training, and a state dict inside "state_dict" or "model" is
    unpacked. Raises ModelError if there is no such file, or if it holds anything but named tensors.
    """
    path = check_is_file(path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (*LIBRARY_ERRORS, OSError) as error:
        # Without torch's own message, which advises to run the code in the file.
        raise ModelError(
            f"{path} cannot be read as a file of tensors only: it is damaged or holds other objects "
            f"({type(error).__name__}); {_AGAIN}"
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not state:
        raise ModelError(f"{path} holds no state dict (names to tensors): {_AGAIN}")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ModelError(f"{path}: entry {str(key)[:80]!r} is no named tensor but {type(value).__name__}: {_AGAIN}")
    return {key.removeprefix("module."): value for key, value in state.items()}


def check_is_file(path: Path | str) -> Path:
    """Return the path. Raises ModelError if it is no file (but a folder, a pipe or nothing)."""
    path = Path(path)
    if path.is_file():
        return path
    raise ModelError(f"{path} is no regular file" if path.exists() else f"no weights file at {path}")


def check_values(state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    """Raise ModelError unless every tensor is finite and of the kind (float or integer) of the tensor in `wanted`."""
    for key, value in state.items():
        if value.is_floating_point() != wanted[key].is_floating_point() or value.is_complex() or value.is_meta:
            raise ModelError(f"{key!r} holds {value.dtype} where {wanted[key].dtype} belongs: {_AGAIN}")
        if not torch.isfinite(value).all():
            raise ModelError(
                f"{key!r} holds values that are not finite (NaN or infinity), which no image can be classified with: "
                f"replace the file, or train the network again with a lower learning rate"
            )

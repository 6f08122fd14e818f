"""Tensors and a JSON text in one safetensors file that knows its own SHA-256, so that any damage is noticed."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cxr_kd.errors import StorageError, TrainingError
from cxr_kd.files import check_room, written_whole


def write(path: Path, tensors: Mapping[str, Tensor], content: str, what: str) -> None:
    """Write tensors and a text, whole; raise StorageError if the disk has no room for `what`."""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    check_room(path.parent, sum(tensor.nbytes for tensor in stored.values()), what)
    with written_whole(path) as temporary:
        try:
            save_file(stored, temporary, {"content": content, "sha256": _sha256(stored, content)})
        except SafetensorError as error:  # raised instead of OSError when the disk is full
            raise StorageError(
                f"cannot write {what} to {path.parent} ({error}): make room, then run the same command again"
            ) from error


def read(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return a file's tensors and text; raise TrainingError, naming the file, if a single bit has changed."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise TrainingError(f"{path} is not a whole safetensors file ({error})") from error
    content = metadata.get("content", "")
    if metadata.get("sha256") != _sha256(tensors, content):
        raise TrainingError(f"{path} is damaged: its content does not have the SHA-256 that it names")
    return tensors, content


def _sha256(tensors: Mapping[str, Tensor], content: str) -> str:
    """Return the SHA-256 (hex) of a text and of the names, types, shapes and bytes of tensors."""
    digest = hashlib.sha256(content.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

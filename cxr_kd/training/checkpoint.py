"""A training that was stopped goes on from its last epoch, with the weights it would have had.

A checkpoint is a safetensors file (no pickle): the state of every module (the model, its average, what an objective
learns along) and of the optimiser as tensors, the rest (epochs done, history, what it belongs to) as JSON in its
metadata. The best weights so far lie beside it in a file of their own, written first: killed between the two, the epoch
is trained again and writes the same weights again.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cxr_kd.files import written_whole

Modules = Mapping[str, nn.Module]


@dataclass
class Progress:
    """How far a training came: one history row an epoch done, and the best score by validation so far."""

    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float = float("-inf")


def save(path: Path, modules: Modules, optimizer: torch.optim.Optimizer, progress: Progress, belongs_to: str) -> None:
    """Write a checkpoint, whole: killed at any moment, the one before is still there."""
    tensors = {
        f"{part}.{name}": tensor for part, module in modules.items() for name, tensor in module.state_dict().items()
    }
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    told = {"history": progress.history, "best_score": progress.best_score, "belongs_to": belongs_to}
    _write(path, tensors, {"progress": json.dumps(told)})


def restore(path: Path, modules: Modules, optimizer: torch.optim.Optimizer, belongs_to: str) -> Progress:
    """Put a checkpoint's state back and tell how far it came: nowhere where there is none of these settings."""
    if not path.is_file():
        return Progress()
    with safe_open(path, framework="pt") as file:
        told: Mapping[str, Any] = json.loads(file.metadata()["progress"])
        if told["belongs_to"] != belongs_to:
            return Progress()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    for part, module in modules.items():
        module.load_state_dict(_part(tensors, f"{part}."))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, "optimizer.").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = _laid_out_as(parameters[int(index)], tensor)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(list(told["history"]), told["best_score"])


def save_best(path: Path, model: nn.Module) -> None:
    """Write the weights that are the best so far beside the checkpoint `path`, whole."""
    _write(_best(path), dict(model.state_dict()))


def load_best(path: Path, model: nn.Module) -> None:
    """Put the best weights back."""
    model.load_state_dict(load_file(_best(path)))


def remove(path: Path) -> None:
    """Remove a checkpoint, its best weights, and what a process that was killed left half-written."""
    for file in (path, _best(path), *path.parent.glob(f".{path.stem}*")):
        file.unlink(missing_ok=True)


def _best(path: Path) -> Path:
    return path.with_name(f"{path.stem}-best{path.suffix}")


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    with written_whole(path) as temporary:
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, temporary, metadata)


def _laid_out_as(parameter: Tensor, tensor: Tensor) -> Tensor:
    """The state of a parameter in its memory layout: the fused AdamW reads both in the order of memory."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

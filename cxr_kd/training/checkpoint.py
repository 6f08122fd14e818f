"""A training that was stopped goes on from its last epoch, with the weights it would have had.

A checkpoint is one safetensors file (no pickle): the model, the optimiser's state and the best weights so far as
tensors, the rest (epochs done, history, what it belongs to) as JSON in its metadata.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cxr_kd.files import written_whole

Weights = dict[str, Tensor]


@dataclass
class Progress:
    """How far a training came: one history row an epoch done, and the best weights by validation."""

    history: list[dict[str, float]]
    best: Weights
    best_score: float


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress, belongs_to: str) -> None:
    """Write a checkpoint, whole: killed at any moment, the one before is still there."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in progress.best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    told = {"history": progress.history, "best_score": progress.best_score, "belongs_to": belongs_to}
    with written_whole(path) as temporary:
        # clone: safetensors refuses tensors that share memory, as the best weights of a first epoch may
        save_file(
            {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={"progress": json.dumps(told)},
        )


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, belongs_to: str) -> Progress | None:
    """Put a checkpoint's state back and tell how far it came; None where there is none, or it is of other settings."""
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        told: Mapping[str, Any] = json.loads(file.metadata()["progress"])
        if told["belongs_to"] != belongs_to:
            return None
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    model.load_state_dict(_part(tensors, "model."))
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _part(tensors, "optimizer.").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    return Progress(list(told["history"]), _part(tensors, "best."), told["best_score"])


def _part(tensors: Weights, prefix: str) -> Weights:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

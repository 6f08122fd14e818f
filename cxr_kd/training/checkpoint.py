"""Checkpoints: an interrupted training resumes after its last finished epoch and ends with the same weights.

A checkpoint is a safetensors file (no pickle): the state of every module (the model, its moving average, what the
objective learns) and of the optimiser as tensors, the rest (history, best score, identity) as JSON in its metadata. The
best weights so far are in a file of their own beside it, written first: if the process is killed between the two, the
epoch is trained again and writes the same weights again.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from cxr_kd.errors import TrainingError
from cxr_kd.training import checkpoint_file
from cxr_kd.training.train_step import TrainStep

_USED = ("validation_auroc", "seconds")  # the columns of earlier epochs that the loop reads


class Progress(BaseModel):
    """How far a training came: one history row per finished epoch, and the best validation score so far."""

    model_config = ConfigDict(strict=True, ser_json_inf_nan="constants")

    history: list[dict[str, int | float]] = Field(default_factory=list)
    best_score: float = -math.inf
    identity: str = ""

    def add(self, row: dict[str, float]) -> bool:
        """Add an epoch; return whether its weights are the best so far.

        Of equally good epochs the later one is the best. If AUROC is not defined, because no finding has both positives
        and negatives in validation, the last epoch is the best.
        """
        self.history.append(row)
        score = -math.inf if math.isnan(row["validation_auroc"]) else row["validation_auroc"]
        is_best = score >= self.best_score
        self.best_score = max(score, self.best_score)
        return is_best


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The checkpoint of a training.

    Attributes:
        file: where it is written.
        identity: of the training's settings and data; a checkpoint of another identity counts as none.
        learner: the state that is written and restored.
    """

    file: Path
    identity: str
    learner: TrainStep

    def set_aside_if_damaged(self) -> None:
        """Rename the checkpoint and its best weights if one of them is damaged, and print what is wrong.

        Training then starts from the first epoch.
        """
        try:
            self._read()
        except TrainingError as error:
            aside = [file.replace(_set_aside(file)) for file in (self.file, _best(self.file)) if file.exists()]
            names = " and ".join(file.name for file in aside)
            print(f"{error}. It is set aside as {names}; training starts from the first epoch", flush=True)

    def restore(self) -> Progress:
        """Put the checkpoint's state back and return its progress; an empty one if there is nothing to resume.

        Raises TrainingError if the checkpoint is damaged.
        """
        tensors, progress = self._read()
        if not progress.history:
            return progress
        for part, module in self.learner.modules.items():
            module.load_state_dict(_part(tensors, f"{part}."))
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(tensors, "optimizer.").items():
            index, key = name.split(".", 1)
            parameter = self._optimized[int(index)]
            state.setdefault(int(index), {})[key] = _in_layout_of(parameter, tensor)
        optimizer = self.learner.optimizer
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return progress

    def save(self, progress: Progress, *, is_best: bool) -> None:
        """Write the state, whole: if the process is killed at any moment, the previous checkpoint is still there.

        Raises StorageError if the disk has no room.
        """
        if is_best:
            weights = self.learner.best_candidate.state_dict()
            checkpoint_file.write(_best(self.file), weights, self.identity, "the best weights so far")
        content = progress.model_copy(update={"identity": self.identity}).model_dump_json()
        checkpoint_file.write(self.file, self._state(), content, "the checkpoint")

    def load_best(self, model: nn.Module) -> None:
        """Put the best weights into the model."""
        model.load_state_dict(checkpoint_file.read(_best(self.file))[0])

    def _read(self) -> tuple[dict[str, Tensor], Progress]:
        if not self.file.is_file():
            return {}, Progress()
        tensors, content = checkpoint_file.read(self.file)
        try:
            progress = Progress.model_validate_json(content)
        except ValidationError as error:
            raise TrainingError(f"{self.file} is damaged: {error.errors()[0]['msg']}") from error
        if progress.identity != self.identity:
            return {}, Progress()
        if not all(column in row for row in progress.history for column in _USED):
            raise TrainingError(f"{self.file} is damaged: its history lacks {' or '.join(_USED)}")
        self._check_tensors(tensors)
        best = _best(self.file)
        _check_same(best, checkpoint_file.read(best)[0], self.learner.best_candidate.state_dict())
        return tensors, progress

    def _check_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise TrainingError unless these are the tensors of the learner's modules and of AdamW's state."""
        expected = self._module_tensors()
        for index, parameter in enumerate(self._optimized):
            names = {"step": torch.zeros(()), "exp_avg": parameter, "exp_avg_sq": parameter}
            state = {f"optimizer.{index}.{name}": tensor for name, tensor in names.items()}
            if state.keys() & tensors.keys():  # a parameter that never had a gradient has no state
                expected |= state
        _check_same(self.file, tensors, expected)

    @property
    def _optimized(self) -> list[nn.Parameter]:
        return [parameter for group in self.learner.optimizer.param_groups for parameter in group["params"]]

    def _module_tensors(self) -> dict[str, Tensor]:
        return {
            f"{part}.{name}": tensor
            for part, module in self.learner.modules.items()
            for name, tensor in module.state_dict().items()
        }

    def _state(self) -> dict[str, Tensor]:
        tensors = self._module_tensors()
        for index, state in self.learner.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        return tensors


def remove(file: Path) -> None:
    """Remove a checkpoint, its best weights, and damaged ones that were set aside."""
    for each in (file, _best(file)):
        each.unlink(missing_ok=True)
        _set_aside(each).unlink(missing_ok=True)


def _best(file: Path) -> Path:
    return file.with_name(f"{file.stem}-best{file.suffix}")


def _set_aside(file: Path) -> Path:
    return file.with_name(f"{file.name}.damaged")


def _check_same(file: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise TrainingError, naming the file, unless tensors have the names, shapes and types expected and no NaN."""
    if odd := sorted(tensors.keys() ^ expected.keys()):
        raise TrainingError(f"{file} is not of this network: {odd[0]!r} is {_missing_or_unknown(odd[0], tensors)}")
    for name, tensor in tensors.items():
        wanted = expected[name]
        if (tensor.shape, tensor.dtype) != (wanted.shape, wanted.dtype):
            raise TrainingError(
                f"{file} is not of this network: {name!r} is {tensor.dtype} {tuple(tensor.shape)}, not {wanted.dtype} "
                f"{tuple(wanted.shape)}"
            )
        if tensor.isnan().any():
            raise TrainingError(f"{file} is damaged: {name!r} holds NaN")


def _missing_or_unknown(name: str, tensors: Mapping[str, Tensor]) -> str:
    return "unknown" if name in tensors else "missing"


def _in_layout_of(parameter: Tensor, tensor: Tensor) -> Tensor:
    """Return a parameter's state in the parameter's memory layout: the fused AdamW reads both in memory order."""
    return torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

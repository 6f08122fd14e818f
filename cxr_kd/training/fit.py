"""The training loop, for teachers and students alike: it reads from top to bottom."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from cxr_kd.data.loader import Batch, Batches
from cxr_kd.distill.objective import Objective
from cxr_kd.distill.outputs import observe
from cxr_kd.distill.teacher import Teacher
from cxr_kd.files import write_json
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.settings import Training
from cxr_kd.training import checkpoint
from cxr_kd.training.average import WeightAverage

Validate = Callable[[CxrClassifier], float]
NOT_FINITE = "not-finite.json"  # beside the checkpoint: the batch at which a training stopped


class TrainingError(Exception):
    """A training that can't go on; the message names the batch."""


@dataclass
class _Learner:
    """What changes while it is trained. `kept` is what is validated and saved: the average of weights, if there is."""

    model: CxrClassifier
    objective: Objective
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None

    @property
    def kept(self) -> CxrClassifier:
        return self.average.network if self.average else self.model

    @property
    def modules(self) -> dict[str, nn.Module]:
        """Everything with weights, by its name in a checkpoint."""
        averaged: dict[str, nn.Module] = {"average": self.average.network} if self.average else {}
        return {"model": self.model, "objective": self.objective.module, **averaged}

    @property
    def parameters(self) -> list[nn.Parameter]:
        modules = (self.model, self.objective.module)
        return [each for module in modules for each in module.parameters() if each.requires_grad]

    def start_step(self, learning_rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, number: int) -> None:
        self.optimizer.step()
        if self.average:
            self.average.update(self.model, number)


def fit(
    model: CxrClassifier,
    batches: Batches,
    objective: Objective,
    training: Training,
    validate: Validate,
    *,
    name: str,
    seed: int,
    resume: Path,
    belongs_to: str,
    answers: Teacher | None = None,
    device: str = "cpu",
) -> list[dict[str, float]]:
    """Train `model` in place and leave it with its best weights by `validate`; give the history, one row an epoch.

    After every epoch the state is written to `resume`; where that file is of the same `belongs_to`, training goes on
    from it, with the weights that it would have had: an epoch is a function of the state before it, the seed, and its
    number. Raises TrainingError where the loss is not a number; the batch's images then stand in `not-finite.json`.
    """
    model.to(device).to(memory_format=torch.channels_last)  # convolutions run up to twice as fast in it
    learner = _learner(model, objective, training, device)
    progress = checkpoint.restore(resume, learner.modules, learner.optimizer, belongs_to)
    if progress.history:
        print(f"{name}: going on after epoch {len(progress.history)} of {training.epochs}", flush=True)
    if training.precision == "bf16" and not _has_bf16(device):
        print(f"{name}: this device has no bf16, so it is trained in float32", flush=True)

    for epoch in range(len(progress.history), training.epochs):
        if _has_stopped_improving(progress.history, training.patience):
            print(f"{name}: no better validation AUROC in {training.patience} epochs, stopping early", flush=True)
            break
        # Whatever a network draws (dropout, stochastic depth) is a function of (seed, epoch): going on changes nothing.
        torch.manual_seed(seed * 100_003 + epoch)
        began = time.perf_counter()
        row = _epoch(learner, batches, training, epoch, answers, device, name, resume.with_name(NOT_FINITE))
        row["images_per_second"] = row.pop("images") / (time.perf_counter() - began)
        row["validation_auroc"] = validate(learner.kept)
        row["seconds"] = time.perf_counter() - began
        progress.history.append(row)
        # AUROC is not defined where validation holds one side of every finding: then the last epoch is the best.
        score = -math.inf if math.isnan(row["validation_auroc"]) else row["validation_auroc"]
        if score >= progress.best_score:
            progress.best_score = score
            checkpoint.save_best(resume, learner.kept)
        checkpoint.save(resume, learner.modules, learner.optimizer, progress, belongs_to)
        print(_line(name, progress.history, training.epochs), flush=True)

    checkpoint.load_best(resume, model)
    return progress.history


def _epoch(
    learner: _Learner,
    batches: Batches,
    training: Training,
    epoch: int,
    answers: Teacher | None,
    device: str,
    name: str,
    not_finite: Path,
) -> dict[str, float]:
    """One pass over the images: one optimiser step every `accumulate` batches."""
    learner.model.train()
    sums: dict[str, float] = {}
    images, steps = 0, math.ceil(len(batches) / training.accumulate)
    bar = tqdm(batches.epoch(epoch), total=len(batches), desc=f"{name} {epoch + 1}/{training.epochs}", leave=False)
    for number, batch in enumerate(bar):
        step, first = epoch * steps + number // training.accumulate, number - number % training.accumulate
        if number == first:
            rate = training.learning_rate * schedule(step / (training.epochs * steps), training.warmup_share)
            learner.start_step(rate)
        with _precision(training.precision, device):
            student = observe(learner.model, batch.images.to(device), learner.objective.needs)
        teacher = None if answers is None else answers.of(batch).to(device)
        loss, terms = learner.objective(student, teacher, batch.labels.to(device), batch.known.to(device))
        of_step = min(training.accumulate, len(batches) - first)
        (loss / of_step).backward()
        values = _finite({"loss": loss.detach(), **terms}, batch, epoch, not_finite)
        for key, value in values.items():
            sums[key] = sums.get(key, 0.0) + value * len(batch.image_ids)
        images += len(batch.image_ids)
        if number == first + of_step - 1:
            norm = nn.utils.clip_grad_norm_(learner.parameters, training.gradient_clip)
            _finite({"norm of the gradient": norm}, batch, epoch, not_finite)
            learner.step(step)
    means = {key: value / images for key, value in sums.items()}
    return {"epoch": epoch + 1, "learning_rate": rate, **means, "images": images}


def schedule(done: float, warmup_share: float) -> float:
    """The learning rate's factor after a share `done` of all steps: linear warm-up, then cosine decay to 0."""
    if done < warmup_share:
        return (done + 1e-3) / (warmup_share + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup_share) / (1 - warmup_share)))


def _learner(model: CxrClassifier, objective: Objective, training: Training, device: str) -> _Learner:
    objective.module.to(device)
    parameters = [each for module in (model, objective.module) for each in module.parameters() if each.requires_grad]
    # Weight decay for matrices and kernels only: decaying a norm's scale or a bias regularises nothing.
    groups = [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": training.weight_decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=training.learning_rate)
    average = WeightAverage(model, training.ema_decay) if training.ema_decay else None
    return _Learner(model, objective, optimizer, average)


def _precision(precision: str, device: str) -> torch.autocast:
    """Automatic mixed precision where it is asked for and the device has it."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16" and _has_bf16(device))


def _has_bf16(device: str) -> bool:
    """A CPU always has it, if only emulated, which a test can use; a graphics card from Ampere on."""
    return device != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def _finite(values: dict[str, Tensor], batch: Batch, epoch: int, file: Path) -> dict[str, float]:
    """The values as numbers, in one wait for the device; TrainingError, with the batch in a file, where one is not."""
    numbers = dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))
    if all(math.isfinite(number) for number in numbers.values()):
        return numbers
    found = {key: str(number) for key, number in numbers.items()}
    write_json(file, {"epoch": epoch + 1, **found, "view": batch.view, "image_ids": batch.image_ids})
    what, number = next((key, number) for key, number in numbers.items() if not math.isfinite(number))
    raise TrainingError(
        f"the {what} is {number} in epoch {epoch + 1}: lower the learning rate, or look at the images of this batch, "
        f"which {file} names: {', '.join(batch.image_ids[:3])}, ..."
    )


def _has_stopped_improving(history: list[dict[str, float]], patience: int) -> bool:
    """Whether the last `patience` epochs brought no better validation AUROC; never where it is not defined."""
    scores = [-math.inf if math.isnan(row["validation_auroc"]) else row["validation_auroc"] for row in history]
    if not patience or max(scores, default=-math.inf) == -math.inf:
        return False
    return len(scores) - 1 - scores.index(max(scores)) >= patience


def _line(name: str, history: list[dict[str, float]], epochs: int) -> str:
    row = history[-1]
    left = (epochs - len(history)) * sum(past["seconds"] for past in history) / len(history)
    return (
        f"{name}: epoch {len(history)}/{epochs}  loss {row['loss']:.4f}  validation AUROC {row['validation_auroc']:.3f}"
        f"  {row['images_per_second']:.0f} images/s  {int(left // 60)}:{int(left % 60):02d} left"
    )

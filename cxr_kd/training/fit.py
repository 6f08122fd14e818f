"""The training loop, for teachers and students alike: it reads from top to bottom."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from cxr_kd.data.loader import Batch, Batches
from cxr_kd.distill.objective import Objective
from cxr_kd.distill.outputs import Outputs, observe
from cxr_kd.distill.teacher import Answers
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.settings import Training
from cxr_kd.training import checkpoint

Validate = Callable[[CxrClassifier], float]


class TrainingError(Exception):
    """A training that can't go on; the message names the batch."""


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
    answers: Answers | None = None,
    device: str = "cpu",
) -> list[dict[str, float]]:
    """Train `model` in place and leave it with its best weights by `validate`; give the history, one row an epoch.

    After every epoch the state is written to `resume`; where that file is of the same `belongs_to`, training goes on
    from it, with the weights that it would have had. Raises TrainingError where the loss is not a number.
    """
    model.to(device).to(memory_format=torch.channels_last)  # convolutions run up to twice as fast in it
    optimizer = torch.optim.AdamW(_groups(model, training.weight_decay), lr=training.learning_rate)
    progress = checkpoint.restore(resume, model, optimizer, belongs_to)
    if progress.history:
        print(f"{name}: going on after epoch {len(progress.history)} of {training.epochs}", flush=True)

    for epoch in range(len(progress.history), training.epochs):
        # Whatever a network draws (dropout, stochastic depth) is a function of (seed, epoch): going on changes nothing.
        torch.manual_seed(seed * 100_003 + epoch)
        began = time.perf_counter()
        row = _epoch(model, batches, objective, training, optimizer, epoch, answers, device, name)
        row["images_per_second"] = row.pop("images") / (time.perf_counter() - began)
        row["validation_auroc"] = validate(model)
        row["seconds"] = time.perf_counter() - began
        progress.history.append(row)
        # AUROC is not defined where validation holds one side of every finding: then the last epoch is the best.
        score = -math.inf if math.isnan(row["validation_auroc"]) else row["validation_auroc"]
        if score >= progress.best_score:
            progress.best_score = score
            checkpoint.save_best(resume, model)
        checkpoint.save(resume, model, optimizer, progress, belongs_to)
        print(_line(name, progress.history, training.epochs), flush=True)

    checkpoint.load_best(resume, model)
    return progress.history


def _epoch(
    model: CxrClassifier,
    batches: Batches,
    objective: Objective,
    training: Training,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    answers: Answers | None,
    device: str,
    name: str,
) -> dict[str, float]:
    """One pass over the images: one optimiser step a batch."""
    model.train()
    sums: dict[str, float] = {}
    images, steps = 0, len(batches)
    bar = tqdm(batches.epoch(epoch), total=steps, desc=f"{name} {epoch + 1}/{training.epochs}", leave=False)
    for step, batch in enumerate(bar):
        rate = training.learning_rate * schedule(
            (epoch * steps + step) / (training.epochs * steps), training.warmup_share
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        student = observe(model, batch.images.to(device), objective.needs)
        teacher = None if answers is None else Outputs(answers.of(batch)).to(device)
        loss, terms = objective(student, teacher, batch.labels.to(device), batch.known.to(device))
        _check(loss, batch, epoch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), training.gradient_clip)
        optimizer.step()
        for key, value in {"loss": loss.detach(), **terms}.items():
            sums[key] = sums.get(key, 0.0) + float(value) * len(batch.image_ids)
        images += len(batch.image_ids)
    means = {key: value / images for key, value in sums.items()}
    return {"epoch": epoch + 1, "learning_rate": rate, **means, "images": images}


def schedule(done: float, warmup_share: float) -> float:
    """The learning rate's factor after a share `done` of all steps: linear warm-up, then cosine decay to 0."""
    if done < warmup_share:
        return (done + 1e-3) / (warmup_share + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup_share) / (1 - warmup_share)))


def _groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Weight decay for matrices and kernels only: decaying a norm's scale or a bias regularises nothing."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def _check(loss: Tensor, batch: Batch, epoch: int) -> None:
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss is {loss.item()} in epoch {epoch + 1}: lower the learning rate, or look at these images: "
            f"{', '.join(batch.image_ids)}"
        )


def _line(name: str, history: list[dict[str, float]], epochs: int) -> str:
    row = history[-1]
    left = (epochs - len(history)) * sum(past["seconds"] for past in history) / len(history)
    return (
        f"{name}: epoch {len(history)}/{epochs}  loss {row['loss']:.4f}  validation AUROC {row['validation_auroc']:.3f}"
        f"  {row['images_per_second']:.0f} images/s  {int(left // 60)}:{int(left % 60):02d} left"
    )

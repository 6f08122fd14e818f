"""The training loop, for teachers and students alike: it reads from top to bottom."""

import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm.auto import tqdm

from cxr_kd.data.loader import Batch, Batches
from cxr_kd.distill.objective import Objective
from cxr_kd.distill.teacher import Teacher
from cxr_kd.errors import TrainingError
from cxr_kd.files import write_json
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study.settings import Training
from cxr_kd.training import checkpoint
from cxr_kd.training.distributed import ALONE, Processes
from cxr_kd.training.train_step import TrainStep, has_bf16

Validate = Callable[[CxrClassifier], float]
NOT_FINITE = "not-finite.json"  # beside the checkpoint: the batch at which a training stopped


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
    processes: Processes = ALONE,
) -> list[dict[str, float]]:
    """Train `model` in place and leave it with its best weights by `validate`; give the history, one row an epoch.

    After every epoch the state is written to `resume`; where that file is of the same `belongs_to`, training goes on
    from it, with the weights that it would have had: an epoch is a function of the state before it, the seed, and its
    number. Several `processes` share each batch; the first of them validates and writes. Raises TrainingError where
    the loss is not a number; the batch's images then stand in `not-finite.json`.
    """
    batches = batches.for_process(processes.rank, processes.count)
    learner = TrainStep(model, objective, training, processes)
    progress = checkpoint.restore(resume, learner.modules, learner.optimizer, belongs_to)
    if progress.history:
        processes.say(f"{name}: going on after epoch {len(progress.history)} of {training.epochs}")
    if training.precision == "bf16" and not has_bf16(processes.device):
        processes.say(f"{name}: this device has no bf16, so it is trained in float32")

    for epoch in range(len(progress.history), training.epochs):
        if _has_stopped_improving(progress.history, training.patience):
            processes.say(f"{name}: no better validation AUROC in {training.patience} epochs, stopping early")
            break
        # Whatever a network draws (dropout, stochastic depth) is a function of (seed, epoch, process): going on changes
        # nothing.
        torch.manual_seed(seed * 100_003 + epoch + 1_000_003 * processes.rank)
        began = time.perf_counter()
        row = _epoch(learner, batches, epoch, answers, name, resume.with_name(NOT_FINITE))
        row["images_per_second"] = row.pop("images") / (time.perf_counter() - began)
        row["validation_auroc"] = processes.first(lambda: validate(learner.kept))
        row["seconds"] = time.perf_counter() - began
        progress.history.append(row)
        # AUROC is not defined where validation holds one side of every finding: then the last epoch is the best.
        score = -math.inf if math.isnan(row["validation_auroc"]) else row["validation_auroc"]
        is_best = score >= progress.best_score
        progress.best_score = max(score, progress.best_score)
        processes.first(lambda best=is_best: _keep(resume, learner, progress, belongs_to, best))  # type: ignore[misc]
        processes.say(_line(name, progress.history, training.epochs))

    checkpoint.load_best(resume, model)
    return progress.history


def _keep(resume: Path, learner: TrainStep, progress: checkpoint.Progress, belongs_to: str, is_best: bool) -> None:
    if is_best:
        checkpoint.save_best(resume, learner.kept)
    checkpoint.save(resume, learner.modules, learner.optimizer, progress, belongs_to)


def _epoch(
    learner: TrainStep, batches: Batches, epoch: int, answers: Teacher | None, name: str, not_finite: Path
) -> dict[str, float]:
    """One pass over the images: one optimiser step every `accumulate` batches."""
    training, processes = learner.training, learner.processes
    sums: dict[str, float] = {}
    images, steps = 0, math.ceil(len(batches) / training.accumulate)
    shown = {"desc": f"{name} {epoch + 1}/{training.epochs}", "leave": False, **processes.one_bar}
    bar = tqdm(batches.epoch(epoch), total=len(batches), **shown)
    with learner.training_mode():
        for number, batch in enumerate(bar):
            step, first = epoch * steps + number // training.accumulate, number - number % training.accumulate
            if number == first:
                rate = training.learning_rate * schedule(step / (training.epochs * steps), training.warmup_share)
                learner.start_step(rate)
            of_step = min(training.accumulate, len(batches) - first)
            is_last = number == first + of_step - 1
            teacher = None if answers is None else answers.of(batch)
            values = learner.backward(batch, teacher, parts=of_step, last=is_last)
            for key, value in _finite(values, batch, epoch, not_finite, processes).items():
                sums[key] = sums.get(key, 0.0) + value * batch.images_of_all
            images += batch.images_of_all
            if is_last:
                _finite({"norm of the gradient": learner.clip()}, batch, epoch, not_finite, processes)
                learner.step(step)
    means = {key: value / images for key, value in sums.items()}
    return {"epoch": epoch + 1, "learning_rate": rate, **means, "images": images}


def schedule(done: float, warmup_share: float) -> float:
    """The learning rate's factor after a share `done` of all steps: linear warm-up, then cosine decay to 0."""
    if done < warmup_share:
        return (done + 1e-3) / (warmup_share + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup_share) / (1 - warmup_share)))


def _finite(values: dict[str, Tensor], batch: Batch, epoch: int, file: Path, processes: Processes) -> dict[str, float]:
    """The values as numbers, in one wait for the device; TrainingError, with the batch in a file, where one is not."""
    numbers = dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))
    if all(math.isfinite(number) for number in numbers.values()):
        return numbers
    found, images = {key: str(number) for key, number in numbers.items()}, processes.listed(batch.image_ids)
    told = {"epoch": epoch + 1, **found, "view": batch.view, "image_ids": images}
    processes.first(lambda: write_json(file, told))
    what, number = next((key, number) for key, number in numbers.items() if not math.isfinite(number))
    raise TrainingError(
        f"the {what} is {number} in epoch {epoch + 1}: lower the learning rate, or look at the images of this batch, "
        f"which {file} names: {', '.join(images[:3])}, ..."
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

"""The training loop, for teachers and students alike."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cxr_kd.data.loader import Batch, Batches
from cxr_kd.distill.answer_source import AnswerSource
from cxr_kd.distill.objective import Objective
from cxr_kd.errors import TrainingError
from cxr_kd.files import write_json
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study.settings import Training
from cxr_kd.training.checkpoint import Checkpoint
from cxr_kd.training.distributed import ALONE, Processes
from cxr_kd.training.train_step import TrainStep, has_bf16

Validate = Callable[[CxrClassifier], float]
NOT_FINITE = "not-finite.json"  # in the run folder: the batch at which a training stopped


@dataclass(frozen=True)
class Plan:
    """What the training loop must know besides the network, its images and its objective.

    Attributes:
        name: the run's name, for messages.
        seed: of dropout and stochastic depth.
        training: epochs, learning rate and the other training settings.
        checkpoint: the file that an interrupted training resumes from.
        identity: of the settings and data; a checkpoint with another identity is not resumed.
        processes: those that share each batch.
    """

    name: str
    seed: int
    training: Training
    checkpoint: Path
    identity: str
    processes: Processes = ALONE


def fit(
    model: CxrClassifier,
    batches: Batches,
    objective: Objective,
    plan: Plan,
    validate: Validate,
    source: AnswerSource | None = None,
) -> list[dict[str, float]]:
    """Train `model` in place, leave it with its best weights by `validate`, and return one history row per epoch.

    `source` gives the teacher's answers, if the objective needs them. After every epoch the state is written to the
    checkpoint. The same call resumes from it and ends with the same weights as without an interruption, because an
    epoch is a function of the state before it, the seed and its number. Only the first process validates and writes.

    Raises:
        TrainingError: if the loss or a gradient is not finite; `not-finite.json` names the batch's images.
        StorageError: if the disk has no room.
    """
    training, processes = plan.training, plan.processes
    batches = batches.for_process(processes.rank, processes.count)
    learner = TrainStep(model, objective, training, processes)
    checkpoint = Checkpoint(plan.checkpoint, plan.identity, learner)
    processes.on_first(checkpoint.set_aside_if_damaged)
    progress = checkpoint.restore()
    if progress.history:
        processes.say(f"{plan.name}: resuming after epoch {len(progress.history)} of {training.epochs}")
    if training.precision == "bf16" and not has_bf16(processes.device):
        processes.say(f"{plan.name}: this device has no bf16, so it is trained in float32")

    for epoch in range(len(progress.history), training.epochs):
        if _has_stopped_improving(progress.history, training.patience):
            processes.say(f"{plan.name}: no better validation AUROC in {training.patience} epochs, stopping early")
            break
        torch.manual_seed(epoch_seed(plan.seed, epoch, processes.rank))
        began = time.perf_counter()
        row = _epoch(learner, batches, epoch, source, plan)
        row["images_per_second"] = row.pop("images") / (time.perf_counter() - began)
        row["validation_auroc"] = processes.on_first(lambda: validate(learner.best_candidate))
        row["seconds"] = time.perf_counter() - began
        is_best = progress.add(row)
        processes.on_first(lambda best=is_best: checkpoint.save(progress, is_best=best))  # type: ignore[misc]
        processes.say(_line(plan.name, progress.history, training.epochs))

    checkpoint.load_best(model)
    return progress.history


def epoch_seed(seed: int, epoch: int, rank: int) -> int:
    """Return the seed of torch's generator for one epoch of one process, in [0, 2^64).

    A network's random draws (dropout, stochastic depth) then depend on nothing before the epoch, so that resuming
    changes nothing. `spawn_key` keeps (seed, epoch, rank) apart for seeds of any size.
    """
    sequence = np.random.SeedSequence(seed, spawn_key=(epoch, rank))
    return int(sequence.generate_state(1, np.uint64)[0])


def _epoch(
    learner: TrainStep, batches: Batches, epoch: int, source: AnswerSource | None, plan: Plan
) -> dict[str, float]:
    """Go through the images once, with one optimiser step every `accumulate` batches; return the epoch's means."""
    training, sums = plan.training, dict[str, float]()
    images, steps = 0, math.ceil(len(batches) / training.accumulate)
    shown = {"desc": f"{plan.name} {epoch + 1}/{training.epochs}", **plan.processes.progress_bar_settings}
    bar = tqdm(batches.epoch(epoch), total=len(batches), leave=False, **shown)
    with learner.training_mode():
        for number, batch in enumerate(bar):
            step, first = epoch * steps + number // training.accumulate, number - number % training.accumulate
            if number == first:
                rate = training.learning_rate * schedule(step / (training.epochs * steps), training.warmup_share)
                learner.start_step(rate)
            of_step = min(training.accumulate, len(batches) - first)
            is_last = number == first + of_step - 1
            answers = None if source is None else source.of(batch)
            values = learner.backward(batch, answers, parts=of_step, last=is_last)
            for key, value in _finite(values, batch, epoch, plan).items():
                sums[key] = sums.get(key, 0.0) + value * batch.images_of_all
            images += batch.images_of_all
            if is_last:
                _finite({"norm of the gradient": learner.clip()}, batch, epoch, plan)
                learner.step(step)
    means = {key: value / images for key, value in sums.items()}
    return {"epoch": epoch + 1, "learning_rate": rate, **means, "images": images}


def schedule(done: float, warmup_share: float) -> float:
    """Return the learning rate's factor after a share `done` of all steps: linear warm-up, then cosine decay to 0."""
    if done < warmup_share:
        return (done + 1e-3) / (warmup_share + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (done - warmup_share) / (1 - warmup_share)))


def _finite(values: dict[str, Tensor], batch: Batch, epoch: int, plan: Plan) -> dict[str, float]:
    """Return the values as numbers, waiting for the device once.

    Raises TrainingError if one is not finite, after writing the batch's images to `not-finite.json`.
    """
    numbers = dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))
    if all(math.isfinite(number) for number in numbers.values()):
        return numbers
    file, images = plan.checkpoint.with_name(NOT_FINITE), plan.processes.gather_texts(batch.image_ids)
    found = {key: str(number) for key, number in numbers.items()}
    content = {"epoch": epoch + 1, **found, "view": batch.view, "image_ids": images}
    plan.processes.on_first(lambda: write_json(file, content))
    what, number = next((key, number) for key, number in numbers.items() if not math.isfinite(number))
    raise TrainingError(
        f"the {what} is {number} in epoch {epoch + 1}: lower the learning rate, or look at the images of this batch, "
        f"listed in {file}: {', '.join(images[:3])}, ..."
    )


def _has_stopped_improving(history: list[dict[str, float]], patience: int) -> bool:
    """Return whether the last `patience` epochs had no better validation AUROC; False if it is never defined."""
    scores = [-math.inf if math.isnan(row["validation_auroc"]) else row["validation_auroc"] for row in history]
    if not patience or max(scores, default=-math.inf) == -math.inf:
        return False
    return len(scores) - 1 - scores.index(max(scores)) >= patience


def _line(name: str, history: list[dict[str, float]], epochs: int) -> str:
    """Return the line that is printed after an epoch."""
    row = history[-1]
    left = (epochs - len(history)) * sum(past["seconds"] for past in history) / len(history)
    return (
        f"{name}: epoch {len(history)}/{epochs}  loss {row['loss']:.4f}  validation AUROC {row['validation_auroc']:.3f}"
        f"  {row['images_per_second']:.0f} images/s  {int(left // 60)}:{int(left % 60):02d} left"
    )

"""One run of a study: trained once, kept in its folder with its card, never trained twice for the same settings."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout

from cxr_kd.data.loader import Batches
from cxr_kd.data.prepare import Prepared
from cxr_kd.data.trained_on import TrainedOn
from cxr_kd.distill.losses import positive_rates
from cxr_kd.distill.objective import Objective, needs_of
from cxr_kd.distill.outputs import Need
from cxr_kd.distill.teacher import Answers, LiveTeacher, Teacher, TeacherEnsemble, ask, kept, only_training_images
from cxr_kd.errors import TeacherError
from cxr_kd.files import read_json, sha256_of, write_csv, write_json
from cxr_kd.models import weights
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study import Study
from cxr_kd.study.loss_table import NEEDS_LIVE_TEACHER
from cxr_kd.study.runs import Run
from cxr_kd.study.settings import digest
from cxr_kd.training import checkpoint
from cxr_kd.training.distributed import Processes
from cxr_kd.training.fit import fit
from cxr_kd.training.run_card import card_of
from cxr_kd.training.scoring import SCORED_SIDES, one_pair, predictions_of, validation_auroc

SAME_AUROC = 1e-3
RUN_FILES: tuple[str, ...] = (
    "card.json",
    "model.safetensors",
    "history.csv",
    *(f"predictions-{side}.parquet" for side in SCORED_SIDES),
)


def train(study: Study, run: Run, data: Prepared) -> Path:
    """Train a run, its teacher first where that is not there, and give its folder.

    A run that is there with these settings and this data is left as it is; one of other settings is replaced; one
    that was killed goes on from its last epoch. A second process that wants the same run waits for the first.
    """
    folder, processes = study.run_folder(run), Processes.here()
    folder.mkdir(parents=True, exist_ok=True)
    identity = study.identity(run, data.identity)
    with processes.holding(_alone(folder) if processes.is_first else nullcontext()):
        if processes.first(lambda: is_done(folder, identity)):
            processes.say(f"{run.name}: trained already, on {read_json(folder / 'card.json')['finished']}")
            return folder
        # The card first: what follows replaces what it speaks of.
        processes.first(lambda: (folder / "card.json").unlink(missing_ok=True))
        _train(study, run, data, folder, identity, processes)
    return folder


def is_done(folder: Path, identity: str) -> bool:
    """Whether a run's folder holds a finished run of these settings and data."""
    complete = all((folder / name).is_file() for name in RUN_FILES)
    return complete and read_json(folder / "card.json")["settings_sha256"] == identity


def load_run(study: Study, run: Run, data: Prepared) -> CxrClassifier:
    """The network of a finished run, in eval mode, to be scored on `data`'s validation or test side.

    DataError where it, or its teacher, was trained on images of these: what it says of them would look like a result.
    """
    path = study.run_folder(run) / "model.safetensors"
    trained_on = read_trained_on(path)
    for side in SCORED_SIDES:
        trained_on.check_unseen(str(path), data.table, getattr(data.split, side), side)
    return weights.load(path)


def read_trained_on(path: Path) -> TrainedOn:
    """The images that the network in a weights file was trained on, its teacher's included; DataError."""
    return TrainedOn.from_card(weights.read_metadata(path).get("trained_on"), str(path))


def _train(study: Study, run: Run, data: Prepared, folder: Path, identity: str, processes: Processes) -> None:
    training = study.teacher_training if run.role == "teacher" else study.student_training
    batches, resume = _training_batches(study, run, data), folder / "resume.safetensors"
    teacher = _teacher(study, run, data, batches, processes) if run.teacher else None
    torch.manual_seed(run.seed)
    model = build(
        run.network, data.table.findings, image_size=study.image_size, pretrained=study.pretrained is not None
    )
    history = fit(
        model,
        batches,
        _objective(study, run, data, model, teacher),
        training,
        lambda network: validation_auroc(network, data, processes.device),
        name=run.name,
        seed=run.seed,
        resume=resume,
        belongs_to=identity,
        answers=teacher,
        processes=processes,
    )
    processes.first(lambda: _write(study, run, data, identity, model.cpu(), history, processes))


def _write(
    study: Study,
    run: Run,
    data: Prepared,
    identity: str,
    model: CxrClassifier,
    history: list[dict[str, float]],
    processes: Processes,
) -> None:
    """Everything that a finished run keeps, its card last; then the checkpoint goes."""
    folder = study.run_folder(run)
    write_csv(folder / "history.csv", pd.DataFrame(history))
    weights.save(model, folder / "model.safetensors", _told(study, run, data))
    for side in SCORED_SIDES:
        predictions = predictions_of(model, study, run, data, side, processes.device)
        predictions.write(folder / f"predictions-{side}.parquet")
    write_json(folder / "card.json", card_of(study, run, data, identity, history, model, processes))
    checkpoint.remove(folder / "resume.safetensors")


def _objective(study: Study, run: Run, data: Prepared, model: CxrClassifier, teacher: Teacher | None) -> Objective:
    labels = torch.from_numpy(data.table.select(data.split.train).labels())
    widths = (_channels(model), _channels(teacher.network)) if isinstance(teacher, LiveTeacher) else None
    return Objective(run.objective, positive_rates=positive_rates(labels), widths=widths, **study.losses.model_dump())


def _channels(network: CxrClassifier) -> int:
    image = torch.zeros(1, 1, network.image_size, network.image_size, dtype=torch.uint8, device=network.mean.device)
    with torch.no_grad():
        return network.eval().features(image).shape[1]


def _teacher(study: Study, run: Run, data: Prepared, batches: Batches, processes: Processes) -> Teacher:
    """Who answers for the teachers, trained first where they are not."""
    only_training_images(batches.image_ids, data.split)
    answering = [_answers(study, run, teacher, data, processes) for teacher in study.teacher_runs(run)]
    return answering[0] if len(answering) == 1 else TeacherEnsemble(answering)


def _answers(study: Study, run: Run, teacher: Run, data: Prepared, processes: Processes) -> Teacher:
    """What was kept of one teacher of a run, asked first where it was not; or itself where a loss needs that."""
    folder, device = train(study, teacher, data), processes.device
    if used := NEEDS_LIVE_TEACHER & run.losses:
        processes.say(f"{run.name}: {', '.join(sorted(used))} needs more than can be kept, the teacher is asked live")
        return LiveTeacher(_checked(study, teacher, data, device), _needs(run), device=device)
    # For all of its students at once: the next one's objective or views would have it asked again.
    taught = [run, *(each for each in study.runs_of(run.seed) if teacher.network in each.teachers)]
    views = max(each.views for each in taught)
    weights_sha256 = sha256_of(folder / "model.safetensors")
    key = digest([weights_sha256, data.identity, study.augmentation.model_dump(), views, run.seed])

    def ask_where_needed() -> None:
        if kept(folder, key, _needs(run)) is None:
            batches, needs = _training_batches(study, run, data, views=views), _needs(*taught) - {"features"}
            ask(_checked(study, teacher, data, device), batches, folder, key, needs=needs, device=device)

    with processes.holding(FileLock(folder / ".answers.lock")):
        processes.first(ask_where_needed)
        return Answers(folder, _needs(run))


def _checked(study: Study, run: Run, data: Prepared, device: str) -> CxrClassifier:
    """A finished teacher, which reads validation images as well as it did when it was trained; TeacherError."""
    network, history = load_run(study, run, data), pd.read_csv(study.run_folder(run) / "history.csv")
    then, now = history["validation_auroc"].max(), validation_auroc(network, data, device)
    # Layouts and devices round differently, which may change the order of images that are as good as equal.
    if not np.isclose(now, then, rtol=0, atol=max(SAME_AUROC, 3 * one_pair(data)), equal_nan=True):
        raise TeacherError(
            f"{study.run_folder(run)}: the validation AUROC of this teacher is {now:.4f}, and was {then:.4f} when it "
            f"was trained: these are not its weights, or not its data. Delete the folder, and it is trained again"
        )
    return network


def _needs(*runs: Run) -> frozenset[Need]:
    return needs_of(name for run in runs for name in run.losses)


def _training_batches(study: Study, run: Run, data: Prepared, *, views: int | None = None) -> Batches:
    """Every student of a seed sees the same images in the same order, taught or alone; a teacher has no fixed views."""
    training = study.teacher_training if run.role == "teacher" else study.student_training
    return data.batches(
        "train",
        training.batch_size,
        seed=run.seed,
        shuffle=True,
        views=run.views if views is None else views,
        augment=study.augmentation,
    )


def _told(study: Study, run: Run, data: Prepared) -> dict[str, Any]:
    """What travels in the weights file."""
    teachers = [study.run_folder(teacher) / "model.safetensors" for teacher in study.teacher_runs(run)]
    return {
        "study": study.name,
        "run": run.name,
        "split": data.split.name,
        "split_sha256": data.split.sha256,
        "split_sides": data.split.counts(data.table),
        "dataset": data.table.dataset,
        "kind": data.table.kind,
        "trained_on": TrainedOn.of(data.table, data.split.train, *map(read_trained_on, teachers)).to_card(),
    }


def _alone(folder: Path) -> FileLock:
    """A lock on the folder, given back by the system when its holder dies."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{folder.name}: another process is at it; waiting for it to finish", flush=True)
    else:
        lock.release()
    return lock

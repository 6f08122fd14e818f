"""Training one run of a study: once per settings and data, resumable, with its results and card in its folder."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.data.trained_on import TrainedOn
from cxr_kd.distill.answer_source import AnswerSource, LiveTeacher
from cxr_kd.distill.losses import positive_rates
from cxr_kd.distill.objective import Objective
from cxr_kd.errors import DataError
from cxr_kd.files import locked, write_csv, write_json
from cxr_kd.models import weights
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.registry import info
from cxr_kd.study import Study
from cxr_kd.study.loss_table import NEEDS_SOURCES
from cxr_kd.study.runs import Run
from cxr_kd.training import checkpoint, published_teacher
from cxr_kd.training.distributed import Processes
from cxr_kd.training.finished_run import HISTORY, WEIGHTS, hash_files, is_done, read_trained_on
from cxr_kd.training.fit import NOT_FINITE, fit
from cxr_kd.training.job import Job
from cxr_kd.training.predict import SCORED_SIDES, predictions_of, validation_auroc
from cxr_kd.training.run_card import CARD, card_of, read_card
from cxr_kd.training.teacher_answers import answer_source


def train(study: Study, run: Run, data: Prepared) -> Path:
    """Train a run, after its teachers if they are not trained yet, and return its folder.

    A finished run with the same settings and data is not trained again; one with other settings is replaced; an
    interrupted one resumes after its last finished epoch. A second process that wants the same run waits for the first.
    The folder of a teacher that is published weights is filled from their file.

    Raises:
        ModelError: if there is no network of this name or it does not take the study's image size; no folder is made.
        DataError: if published weights were trained on the data set of the study.
        TrainingError: if training cannot continue, or if a file of the finished run has changed since.
        TeacherError: if a teacher cannot be used.
        StorageError: if the disk has no room; the same call resumes when there is.
    """
    for network in (run.network, *run.teachers):
        info(network).check_size(study.image_size)  # before anything is written
    return _train(Job(study, run, data, Processes.here()))


def _train(job: Job) -> Path:
    processes, busy = job.processes, f"{job.run.name}: another process is training it; waiting for it"
    with processes.hold(locked(job.folder / ".lock", busy)):
        if processes.on_first(lambda: is_done(job.folder, job.identity)):
            processes.say(f"{job.run.name}: trained already, on {read_card(job.folder).finished}")
        else:
            # The card is removed first, because what follows replaces the files that it describes.
            processes.on_first(lambda: (job.folder / CARD).unlink(missing_ok=True))
            for teacher in job.teachers:
                _train(teacher)
            if job.published:
                job.processes.on_first(lambda: _write(job, *published_teacher.load(job)))
            else:
                _train_now(job)
        processes.on_first(lambda: _remove_leftovers(job))
    return job.folder


def _train_now(job: Job) -> None:
    run, data, batches = job.run, job.data, job.batches()
    source = answer_source(job, batches)
    torch.manual_seed(run.seed)
    pretrained = run.pretrained is not None
    model = build(run.network, data.table.findings, image_size=job.study.image_size, pretrained=pretrained)

    def validate(network: CxrClassifier) -> float:
        return validation_auroc(network, data, job.processes.device)

    history = fit(model, batches, objective_of(job, model, source), job.plan, validate, source)
    job.processes.on_first(lambda: _write(job, model.cpu(), history))


def _write(job: Job, model: CxrClassifier, history: list[dict[str, float]]) -> None:
    """Write the files of a finished run, its card last."""
    write_csv(job.folder / HISTORY, pd.DataFrame(history))
    weights.save(model, job.folder / WEIGHTS, _metadata(job))
    for side in SCORED_SIDES:
        predictions_of(model, job, side).write(job.folder / f"predictions-{side}.parquet")
    write_json(job.folder / CARD, card_of(job, model, history, hash_files(job.folder)).model_dump())


def _remove_leftovers(job: Job) -> None:
    """Remove what only an unfinished training needs; after an interruption here, the next start does it."""
    checkpoint.remove(job.plan.checkpoint)
    (job.folder / NOT_FINITE).unlink(missing_ok=True)


def objective_of(job: Job, model: CxrClassifier, source: AnswerSource | None) -> Objective:
    """Return the objective of a run; DataError if one of its losses needs the sources of images and there are none."""
    if (needed := job.run.losses & NEEDS_SOURCES) and not job.data.table.image_sources:
        raise DataError(
            f"{job.run.name}: the loss {min(needed)} needs the source of each image, and {job.data.table.dataset} has "
            f"none: choose another loss in {job.study.file}, or give the images sources (sources.csv beside the labels "
            f"of chestxray14, `image_source:` of your own folder)"
        )
    labels = torch.tensor(job.data.table.select(job.data.split.train).labels())
    widths = (_channels(model), _channels(source.network)) if isinstance(source, LiveTeacher) else None
    settings = job.study.losses.model_dump()
    return Objective(job.run.objective, positive_rates=positive_rates(labels), widths=widths, **settings)


def _channels(network: CxrClassifier) -> int:
    """Return the number of channels of a network's last feature map."""
    image = torch.zeros(1, 1, network.image_size, network.image_size, dtype=torch.uint8, device=network.mean.device)
    with torch.no_grad():
        return network.eval().features(image).shape[1]


def _metadata(job: Job) -> dict[str, Any]:
    """Return the metadata of the weights file: study, run, split, and the images it was trained on."""
    data, teachers = job.data, [teacher.folder / WEIGHTS for teacher in job.teachers]
    learned = (
        published_teacher.trained_on(job.published)
        if job.published
        else (TrainedOn.of(data.table, data.split.train, *map(read_trained_on, teachers)))
    )
    return {
        "study": job.study.name,
        "run": job.run.name,
        "split": data.split.name,
        "split_sha256": data.split.sha256,
        "split_sides": data.split.counts(data.table),
        "dataset": data.table.dataset,
        "kind": data.table.kind,
        "keep_aspect": job.study.keep_aspect,  # how images become its input (data.images.decode)
        "intensity": job.study.intensity,
        "trained_on": learned.to_metadata(),
    }

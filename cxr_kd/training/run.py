"""One run of a study: trained once, kept in its folder with its card, never trained twice for the same settings."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from filelock import FileLock, Timeout

from cxr_kd.data.loader import Batches
from cxr_kd.data.prepare import Prepared
from cxr_kd.data.splits import Side
from cxr_kd.data.trained_on import TrainedOn
from cxr_kd.distill.objective import Objective
from cxr_kd.distill.teacher import Answers, ask
from cxr_kd.evaluation.metrics import auroc
from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata
from cxr_kd.files import read_json, sha256_of, write_csv, write_json
from cxr_kd.models import registry, weights
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.settings import digest
from cxr_kd.study import Run, Study
from cxr_kd.training import checkpoint
from cxr_kd.training.card import card_of
from cxr_kd.training.fit import fit

INFERENCE_BATCH = 64
ScoredSide = Literal["validation", "test"]
SCORED_SIDES: tuple[ScoredSide, ...] = ("validation", "test")
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
    folder = study.folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    identity = study.identity(run, data.identity)
    with _alone(folder):
        if is_done(folder, identity):
            print(f"{run.name}: trained already, on {read_json(folder / 'card.json')['finished']}", flush=True)
            return folder
        (folder / "card.json").unlink(missing_ok=True)  # first: what follows replaces what the card speaks of
        _train(study, run, data, folder, identity)
    return folder


def is_done(folder: Path, identity: str) -> bool:
    """Whether a run's folder holds a finished run of these settings and data."""
    complete = all((folder / name).is_file() for name in RUN_FILES)
    return complete and read_json(folder / "card.json")["settings_sha256"] == identity


def load(study: Study, run: Run, data: Prepared) -> CxrClassifier:
    """The network of a finished run, in eval mode, to be scored on `data`'s validation or test side.

    DataError where it, or its teacher, was trained on images of these: what it says of them would look like a result.
    """
    path = study.folder(run) / "model.safetensors"
    trained_on = read_trained_on(path)
    for side in SCORED_SIDES:
        trained_on.check_unseen(str(path), data.table, getattr(data.split, side), side)
    return weights.load(path)


def read_trained_on(path: Path) -> TrainedOn:
    """The images that the network in a weights file was trained on, its teacher's included; DataError."""
    return TrainedOn.from_card(weights.read_metadata(path).get("trained_on"), str(path))


def predict(model: CxrClassifier, data: Prepared, side: Side, device: str = "cpu") -> np.ndarray:
    """The logits (N, L) of one side's images, in the order of the split's ids."""
    batches = data.batches(side, INFERENCE_BATCH, augment=None, shuffle=False)
    model.to(device).eval()
    with torch.inference_mode():
        logits = [model(batch.images.to(device)).float().cpu().numpy() for batch in batches.epoch(0)]
    return np.concatenate(logits)


def _train(study: Study, run: Run, data: Prepared, folder: Path, identity: str) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    training = study.teacher_training if run.role == "teacher" else study.student_training
    answers = _answers(study, run, data, device) if run.teacher else None
    torch.manual_seed(run.seed)
    model = registry.build(
        run.network, data.table.findings, image_size=study.image_size, pretrained=study.pretrained is not None
    )
    known, resume = data.table.select(data.split.validation).labels(), folder / "resume.safetensors"
    history = fit(
        model,
        _training_batches(study, run, data),
        Objective(run.objective, focusing=study.focusing),
        training,
        lambda network: _mean_auroc(known, predict(network, data, "validation", device)),
        name=run.name,
        seed=run.seed,
        resume=resume,
        belongs_to=identity,
        answers=answers,
        device=device,
    )
    model.cpu()
    write_csv(folder / "history.csv", pd.DataFrame(history))
    weights.save(model, folder / "model.safetensors", _told(study, run, data))
    for side in SCORED_SIDES:
        _predictions(study, run, data, side, predict(model, data, side, device)).write(
            folder / f"predictions-{side}.parquet"
        )
    write_json(folder / "card.json", card_of(study, run, data, identity, history, model, device))
    checkpoint.remove(resume)


def _answers(study: Study, run: Run, data: Prepared, device: str) -> Answers:
    """The teacher's answers to the views that this student will see; the teacher is trained first where it is not."""
    assert run.teacher is not None
    teacher = study.teacher_run(run.teacher, run.seed)
    folder = train(study, teacher, data)
    weights_sha256 = sha256_of(folder / "model.safetensors")
    key = digest([weights_sha256, data.identity, study.augmentation.model_dump(), study.teacher_views, run.seed])
    with FileLock(folder / ".answers.lock"):
        return ask(load(study, teacher, data), _training_batches(study, run, data), folder, key, device=device)


def _training_batches(study: Study, run: Run, data: Prepared) -> Batches:
    """Every student of a seed sees the same views in the same order, taught or alone; a teacher has no fixed views."""
    training = study.teacher_training if run.role == "teacher" else study.student_training
    views = 0 if run.role == "teacher" else study.teacher_views
    return data.batches(
        "train",
        training.batch_size,
        seed=run.seed,
        shuffle=True,
        views=views,
        augment=study.augmentation,
    )


def _predictions(study: Study, run: Run, data: Prepared, side: ScoredSide, logits: np.ndarray) -> Predictions:
    table = data.table.select(getattr(data.split, side))
    metadata = PredictionsMetadata(
        study=study.name,
        dataset=table.dataset,
        kind=table.kind,
        run=run.name,
        network=run.network,
        split=data.split.name,
        split_sha256=data.split.sha256,
        split_sides=data.split.counts(data.table),
        side=side,
        findings=table.findings,
    )
    return Predictions.from_arrays(
        list(table.frame["image_id"]), list(table.frame["patient_id"]), table.labels(), logits, metadata
    )


def _mean_auroc(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean AUROC over the findings that have both sides in validation; NaN where none has."""
    scores = auroc(labels, logits)
    defined = scores[np.isfinite(scores)]
    return float(defined.mean()) if len(defined) else float("nan")


def _told(study: Study, run: Run, data: Prepared) -> dict[str, Any]:
    """What travels in the weights file."""
    teacher = study.folder(study.teacher_run(run.teacher, run.seed)) / "model.safetensors" if run.teacher else None
    taught = read_trained_on(teacher) if teacher else None
    return {
        "study": study.name,
        "run": run.name,
        "split": data.split.name,
        "split_sha256": data.split.sha256,
        "split_sides": data.split.counts(data.table),
        "dataset": data.table.dataset,
        "kind": data.table.kind,
        "trained_on": TrainedOn.of(data.table, data.split.train, taught).to_card(),
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

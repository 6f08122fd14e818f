"""A trained network's outputs for the images that it is selected by (validation) and scored on (test)."""

from typing import Literal

import numpy as np
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.data.splits import Side
from cxr_kd.data.table import CxrTable
from cxr_kd.evaluation.metrics import auroc_within, pairs_within
from cxr_kd.evaluation.predictions import ABOUT_IMAGES, Predictions, PredictionsMetadata
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study import Study
from cxr_kd.study.runs import Run
from cxr_kd.training.job import Job

INFERENCE_BATCH = 64
ScoredSide = Literal["validation", "test"]
SCORED_SIDES: tuple[ScoredSide, ...] = ("validation", "test")


def predict(model: CxrClassifier, data: Prepared, side: Side, device: str = "cpu") -> np.ndarray:
    """Return the logits (N, L) of one side's images, float32, in the order of the split's ids."""
    batches = data.batches(side, INFERENCE_BATCH, augment=None, shuffle=False)
    model.to(device).eval()
    with torch.inference_mode():
        logits = [model(batch.images.to(device)).float().cpu().numpy() for batch in batches.epoch(0)]
    return np.concatenate(logits)


def validation_auroc(model: CxrClassifier, data: Prepared, device: str = "cpu") -> float:
    """Return the mean AUROC over the findings with both positives and negatives in validation; NaN if there is none.

    If the images have sources, only images of one source are compared with each other: an epoch is not chosen for
    recognising the source.
    """
    table = data.table.select(data.split.validation)
    scores = auroc_within(table.labels(), predict(model, data, "validation", device), _sources(table))
    defined = scores[np.isfinite(scores)]
    return float(defined.mean()) if len(defined) else float("nan")


def one_pair(data: Prepared) -> float:
    """Return the largest change of `validation_auroc` when two images swap ranks: large if validation is small."""
    table = data.table.select(data.split.validation)
    pairs = pairs_within(table.labels(), _sources(table)).sum(axis=0)
    defined = pairs[pairs > 0]
    return float(1 / defined.min() / len(defined)) if len(defined) else 0.0


def _sources(table: CxrTable) -> np.ndarray:
    """The source of each image (N,), "" if the data set has none."""
    return table.frame["source"].to_numpy(str)


def predictions_of(model: CxrClassifier, job: Job, side: ScoredSide) -> Predictions:
    """Return the content of a run's predictions file for one side."""
    return predictions_on(job.data, model, job.study, job.run, side, job.processes.device)


def predictions_on(
    data: Prepared, model: CxrClassifier, study: Study, run: Run, side: ScoredSide, device: str = "cpu"
) -> Predictions:
    """Return the predictions of a run's network for one side of `data`: of its findings, which the network has."""
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
    images, patients = list(table.frame["image_id"]), list(table.frame["patient_id"])
    logits = predict(model, data, side, device)[:, [model.findings.index(finding) for finding in table.findings]]
    sources = table.frame["source"].tolist() if table.image_sources else None
    about = {name: table.frame[name].tolist() for name in ABOUT_IMAGES}
    return Predictions.from_arrays(images, patients, table.labels(), logits, metadata, sources, about)

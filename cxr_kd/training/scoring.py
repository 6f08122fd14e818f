"""What a trained network says of the images that it is chosen by and scored on."""

from typing import Literal

import numpy as np
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.data.splits import Side
from cxr_kd.evaluation.metrics import auroc
from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study import Study
from cxr_kd.study.runs import Run

INFERENCE_BATCH = 64
ScoredSide = Literal["validation", "test"]
SCORED_SIDES: tuple[ScoredSide, ...] = ("validation", "test")


def predict(model: CxrClassifier, data: Prepared, side: Side, device: str = "cpu") -> np.ndarray:
    """The logits (N, L) of one side's images, float32, in the order of the split's ids."""
    batches = data.batches(side, INFERENCE_BATCH, augment=None, shuffle=False)
    model.to(device).eval()
    with torch.inference_mode():
        logits = [model(batch.images.to(device)).float().cpu().numpy() for batch in batches.epoch(0)]
    return np.concatenate(logits)


def validation_auroc(model: CxrClassifier, data: Prepared, device: str = "cpu") -> float:
    """Mean AUROC over the findings that have both sides in validation; NaN where none has."""
    labels = data.table.select(data.split.validation).labels()
    scores = auroc(labels, predict(model, data, "validation", device))
    defined = scores[np.isfinite(scores)]
    return float(defined.mean()) if len(defined) else float("nan")


def one_pair(data: Prepared) -> float:
    """The most that two validation images in the other order change `validation_auroc`: large where there are few."""
    labels = data.table.select(data.split.validation).labels()
    pairs = (labels == 1).sum(axis=0) * (labels == 0).sum(axis=0)
    defined = pairs[pairs > 0]
    return float(1 / defined.min() / len(defined)) if len(defined) else 0.0


def predictions_of(
    model: CxrClassifier, study: Study, run: Run, data: Prepared, side: ScoredSide, device: str = "cpu"
) -> Predictions:
    """The content of a run's predictions file of one side."""
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
    return Predictions.from_arrays(images, patients, table.labels(), predict(model, data, side, device), metadata)

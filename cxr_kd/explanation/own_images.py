"""A user's own radiographs and one trained network: find the run, decode images as in training, map them, in numbers.

No label takes part, and nothing here says how good the network is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import expit

from cxr_kd.data.images.decode import INTENSITY_RULES, decode
from cxr_kd.errors import DataError, ModelError, TrainingError
from cxr_kd.evaluation.probability import recalibration
from cxr_kd.evaluation.probability.recalibration import Recalibration
from cxr_kd.explanation.methods.cam import Explainer
from cxr_kd.models import weights
from cxr_kd.study.data_settings import Intensity
from cxr_kd.training.finished_run import WEIGHTS

BATCH_SIZE = 16


@dataclass(frozen=True)
class RunOnDisk:
    """A run's weights file with its metadata, and its recalibration, or None if none was fitted."""

    file: Path
    metadata: dict[str, Any]
    recalibration: Recalibration | None

    @property
    def name(self) -> str:
        """The run's name, or that of the file if its metadata have none."""
        return str(self.metadata.get("run", self.file.stem))

    @property
    def intensity(self) -> Intensity:
        """How greys became 8 bit in training; "fixed", the default of studies, for older files, which do not say."""
        told: Intensity = self.metadata.get("intensity", "fixed")
        if told not in INTENSITY_RULES:
            raise ModelError(f"{self.file}: intensity {told!r} of its metadata is none of {', '.join(INTENSITY_RULES)}")
        return told

    @property
    def keep_aspect(self) -> bool:
        """Whether images were padded to a square in training; False, the default, for older files."""
        return self.metadata.get("keep_aspect", False) is True

    @property
    def says_how_to_decode(self) -> bool:
        """Whether the file says how images are decoded."""
        return {"intensity", "keep_aspect"} <= set(self.metadata)


def find_run(run: Path) -> RunOnDisk:
    """Return the run in a folder runs/STUDY/RUN, or of a weights file.

    Raises TrainingError if there is no such run, ModelError for a damaged weights file, PredictionsError for a damaged
    `recalibration.json`, and DataError if that was fitted on another run or split.
    """
    file = run / WEIGHTS if run.is_dir() else run
    if not file.is_file():
        there = sorted(path.parent.name for path in (run if run.is_dir() else run.parent).glob(f"*/{WEIGHTS}"))
        hint = f"; runs there: {', '.join(there)}" if there else "; name a folder such as runs/STUDY/RUN"
        raise TrainingError(f"{run}: no finished run (no {WEIGHTS}){hint}")
    metadata = weights.read_metadata(file)
    beside = file.with_name(recalibration.FILE)
    fitted = Recalibration.read(beside) if beside.is_file() else None
    if fitted and (fitted.run, fitted.split_sha256) != (metadata.get("run"), metadata.get("split_sha256")):
        raise DataError(f"{beside}: fitted on the run {fitted.run}, or on another split; remove it, or fit it again")
    return RunOnDisk(file, metadata, fitted)


def read_images(files: Sequence[Path], run: RunOnDisk) -> np.ndarray:
    """Return the images as the run's networks saw theirs, uint8 (N, S, S). DataError names a file that is no image."""
    size = run.metadata["image_size"]
    return np.stack([decode(file, size, keep_aspect=run.keep_aspect, intensity=run.intensity) for file in files])


def explain_images(explain: Explainer, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits (N, L) and signed evidence (N, L, h, w) of images, uint8 (N, S, S)."""
    with torch.no_grad():  # methods that need gradients switch them on
        parts = [explain(batch.unsqueeze(1)) for batch in torch.from_numpy(images).split(BATCH_SIZE)]
    logits, evidence = (torch.cat(each).detach().numpy() for each in zip(*parts, strict=True))
    return logits, evidence


def numbers(findings: Sequence[str], logits: np.ndarray, evidence: np.ndarray, run: RunOnDisk) -> pd.DataFrame:
    """Return one row per finding for an image's logits (L,) and evidence (L, h, w).

    Columns:
        finding, logit.
        raw_sigmoid: sigmoid of the logit, which is not a probability of the finding unless the run is calibrated.
        recalibrated: probability by Platt scaling fitted on the run's validation side, at its prevalence; NaN without.
        positive_share: positive evidence / (positive + negative evidence), 0 to 1; NaN if there is no evidence.
        peak_x, peak_y: centre of the cell with the most evidence, as fractions of the image that the network saw, from
            the left and from the top; NaN if no cell is positive.
    """
    positive, total = evidence.clip(min=0).sum((1, 2)), np.abs(evidence).sum((1, 2))
    rows, columns = evidence.shape[1:]
    row, column = np.unravel_index(evidence.reshape(len(evidence), -1).argmax(axis=1), (rows, columns))
    empty = evidence.max(axis=(1, 2)) <= 0
    with np.errstate(invalid="ignore", divide="ignore"):
        share = positive / total
    return pd.DataFrame(
        {
            "finding": list(findings),
            "logit": logits,
            "raw_sigmoid": expit(logits.astype(np.float64)),
            "recalibrated": [_recalibrated(run, *each) for each in zip(findings, logits, strict=True)],
            "positive_share": share,
            "peak_x": np.where(empty, np.nan, (column + 0.5) / columns),
            "peak_y": np.where(empty, np.nan, (row + 0.5) / rows),
        }
    )


def _recalibrated(run: RunOnDisk, finding: str, logit: np.floating) -> float:
    maps = run.recalibration.maps if run.recalibration else ()
    found = next((each for each in maps if (each.finding, each.method) == (finding, "platt")), None)
    if found is None or found.left_out:
        return float("nan")
    return float(expit(found.apply(np.array([logit], np.float64)))[0])

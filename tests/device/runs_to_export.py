"""Runs on disk that can be exported: a tiny network with random weights, its calibration and operating points."""

from functools import cache
from pathlib import Path

import numpy as np
import torch

from cxr_kd.data.images.resize import resized
from cxr_kd.device import familiar
from cxr_kd.device.familiar import Familiar
from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata
from cxr_kd.evaluation.probability import operating_points, recalibration
from cxr_kd.evaluation.probability.operating_points import OperatingPoint, OperatingPoints
from cxr_kd.evaluation.probability.recalibration import LogitMap, Recalibration
from cxr_kd.models import weights
from cxr_kd.models.build import build
from cxr_kd.phantoms.draw import draw
from cxr_kd.study.data_settings import PhantomSettings

FINDINGS = ("Mass", "Edema", "Effusion", "Pleural_Thickening")
METADATA = {
    "study": "tiny",
    "run": "net-seed0",
    "dataset": "phantom",
    "split": "random-70-10-20",
    "split_sha256": "0" * 64,
    "intensity": "fixed",
    "keep_aspect": True,
}


def write_run(folder: Path, network: str = "eeea_net_c2", size: int = 64) -> Path:
    """Write a run's weights file: a network with random weights, and statistics of batch norms that are not 0 and 1."""
    torch.manual_seed(0)
    model = build(network, FINDINGS, image_size=size)
    with torch.no_grad():
        model.train()
        for _ in range(3):
            model(torch.rand(4, 1, size, size))
    weights.save(model.eval(), folder / "model.safetensors", METADATA)
    return folder


def write_fits(folder: Path, run: str = "net-seed0") -> None:
    """Write a calibration of two findings, and operating points of one."""
    maps = (
        LogitMap(method="platt", finding="Mass", intercept=-1, slope=2),
        LogitMap(method="platt", finding="Edema", left_out="no positive"),
        LogitMap(method="platt", finding="Effusion", intercept=0.5, slope=0.25),
        LogitMap(method="platt", finding="Pleural_Thickening", left_out="no positive"),
    )
    of = {"study": "tiny", "run": run, "split_sha256": "0" * 64}
    Recalibration(**of, maps=maps).write(folder / recalibration.FILE)
    reached = {"positives": 5, "negatives": 9, "sensitivity": 0.8, "specificity": 0.7}
    points = (
        OperatingPoint(finding="Mass", rule="youden", logit=-100, **reached),
        OperatingPoint(finding="Effusion", rule="youden", logit=100, **reached),
        OperatingPoint(finding="Edema", rule="youden", positives=0, negatives=9, left_out="no positive"),
    )
    OperatingPoints(**of, points=points).write(folder / operating_points.FILE)


@cache
def phantoms(count: int = 160, size: int = 64) -> np.ndarray:
    """Return phantoms of 128 px, made smaller, uint8 (count, size, size); read-only, for several tests."""
    settings = PhantomSettings(images=count, size=128, seed=5)
    return np.stack([resized(draw(settings, index).image, size) for index in range(count)])


def fitted_familiar(run: str = "net-seed0", split_sha256: str = "0" * 64) -> Familiar:
    """Return the detector that was fitted on 100 phantoms, with the limit of 40 others; 20 are the test side."""
    images = phantoms()
    sides = {"train": images[:100], "validation": images[100:140], "test": images[140:]}
    found = {side: familiar.features(each) for side, each in sides.items()}
    metadata = {
        "study": "tiny", "dataset": "phantom", "kind": "phantom", "run": run, "network": "eeea_net_c2",
        "split": "random-70-10-20", "split_sha256": split_sha256, "side": "validation", "split_sides": {},
        "findings": FINDINGS,
    }  # fmt: skip
    empty = np.zeros((1, len(FINDINGS)))
    predictions = Predictions.from_arrays(["i"], ["p"], empty, empty, PredictionsMetadata.model_validate(metadata))
    ages = np.array([7.0, np.nan, *np.full(98, 50.0)])
    return familiar.fit(found, ages, images.shape[1], predictions)

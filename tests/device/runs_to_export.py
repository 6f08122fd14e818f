"""Runs on disk that can be exported: a tiny network with random weights, its calibration and operating points."""

from pathlib import Path

import torch

from cxr_kd.evaluation.probability import operating_points, recalibration
from cxr_kd.evaluation.probability.operating_points import OperatingPoint, OperatingPoints
from cxr_kd.evaluation.probability.recalibration import LogitMap, Recalibration
from cxr_kd.models import weights
from cxr_kd.models.build import build

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

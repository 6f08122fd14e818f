"""Shared by the three benchmarks of training: a tiny data set at 224 px, networks, and a clock."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cache_build import write_files

from cxr_kd.data.cache import build_cache
from cxr_kd.data.loader import Batches
from cxr_kd.data.table import CxrTable
from cxr_kd.distill.objective import Objective
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study.settings import Augmentation, LossName, Training
from cxr_kd.training.distributed import Processes
from cxr_kd.training.train_step import TrainStep

SIZE, BATCH_SIZE, TEACHER = 224, 16, "densenet161"
FINDINGS = tuple(f"finding {number}" for number in range(14))
DISTILLED: dict[LossName, float] = {"focal_bce": 1.0, "logit_mse": 0.5, "map_cosine": 0.1}
ALONE: dict[LossName, float] = {"focal_bce": 1.0}
HERE = Processes.here()


def files(root: Path, images: int) -> CxrTable:
    """Write 1024 x 1024 PNG phantoms, as large as ChestX-ray14 images; return their table with random labels."""
    root.mkdir()
    table = write_files(root, images, min(images, 8))
    random = np.random.default_rng(0)
    labels = {finding: (random.random(images) < 0.1).astype(float) for finding in FINDINGS}
    return replace(table, frame=table.frame.drop(columns="Mass").assign(**labels), findings=FINDINGS)


def batches(table: CxrTable, folder: Path) -> Batches:
    """Return training batches from a cache, as a study makes them."""
    cache = build_cache(table, folder, SIZE, progress=False)
    ids = list(table.frame["image_id"])
    return Batches(cache, table, ids, batch_size=BATCH_SIZE, augment=Augmentation(), shuffle=True, views=1)


def network(name: str = "eeea_net_c2") -> CxrClassifier:
    """Return a network with the same random weights every time."""
    torch.manual_seed(0)
    return build(name, FINDINGS, image_size=SIZE).to(HERE.device)


def learner(weights: dict[LossName, float], precision: str = "float32") -> TrainStep:
    """Return a student in training mode, with its objective and optimiser, as `training.fit` makes it."""
    training = Training.model_validate({"epochs": 1, "batch_size": BATCH_SIZE, "precision": precision})
    learning = TrainStep(network(), Objective(weights), training, HERE)
    learning.model.train()
    return learning


def step(learning: TrainStep, batch, source=None) -> float:
    """Take one step as `training.fit` does, including the wait for its numbers."""
    learning.start_step(1e-3)
    values = learning.backward(batch, None if source is None else source.of(batch))
    total = float(torch.stack(list(values.values())).sum()) + float(learning.clip())
    learning.step(0)
    return total


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes, including the work that it leaves to a graphics card."""
    start = time.perf_counter()
    call()
    if HERE.device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def machine() -> dict[str, object]:
    """Return what a result depends on besides the code."""
    from cxr_kd.device.latency import cpu_name

    card = {} if HERE.device == "cpu" else {"gpu": torch.cuda.get_device_name()}
    return {"batch_size": BATCH_SIZE, "size": SIZE, "threads": torch.get_num_threads(), "cpu": cpu_name(), **card}

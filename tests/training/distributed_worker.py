"""A distillation for several processes, which `test_distributed.py` starts with one of Accelerate's launchers.

Usage: python distributed_worker.py FOLDER CASE (with tests/data on the path)
"""

import json
import sys
from pathlib import Path

import torch
from squares import FINDINGS, squares

from cxr_kd.data.cache import build_cache
from cxr_kd.data.loader import Batches
from cxr_kd.distill.answer_source import LiveTeacher
from cxr_kd.distill.compute_answers import compute_answers
from cxr_kd.distill.objective import Objective
from cxr_kd.models import weights
from cxr_kd.models.build import build
from cxr_kd.study.settings import Augmentation, Training
from cxr_kd.training.distributed import Processes
from cxr_kd.training.fit import Plan, fit
from cxr_kd.training.train_step import TrainStep

# Case -> losses. With 48 images and batches of 14, the last batch is smaller.
CASES = {
    "stored": {"focal_bce": 1.0, "logit_mse": 0.5, "map_cosine": 0.1, "correlation": 0.1, "attention_transfer": 0.1},
    "live": {"asymmetric": 1.0, "l2d": 0.5, "hint": 0.1},
    "breaks": {"focal_bce": 1.0},
}
TRAINING = Training(epochs=2, batch_size=14, accumulate=2, ema_decay=0.9)


def distil(folder: Path, case: str) -> None:
    """Train in float64, so that rounding is far smaller than a defect; write weights, history and the images seen."""
    torch.set_num_threads(1)
    processes = Processes.here()
    processes.on_first(lambda: build_cache(squares(folder), folder / "cache", 32, progress=False) and None)
    table = squares(folder)
    cache = build_cache(table, folder / "cache", 32, progress=False)
    images, seen = list(table.frame["image_id"]), []
    batches = Batches(cache, table, images, batch_size=14, seed=1, augment=Augmentation(), shuffle=True, views=1)
    batches._labels[::5, 0], batches._known[::5, 0] = 0, False  # some labels are unknown, so means are masked
    torch.manual_seed(3)
    teacher, student = (build("eeea_net_c2", FINDINGS, image_size=32) for _ in range(2))
    student.double()
    widths = (960, 960) if case == "live" else None
    objective = Objective(CASES[case], widths=widths)
    objective.module.double()
    if case == "live":
        source = LiveTeacher(teacher.double(), objective.needs)
    else:
        settings = (teacher, batches, folder, "key")
        processes.on_first(lambda: compute_answers(*settings, needs=objective.needs) and None)
        source = compute_answers(*settings, needs=objective.needs)

    def of(batch):
        seen.extend(batch.image_ids)
        if case == "breaks" and processes.rank == 1:
            raise RuntimeError("this process breaks")
        return source.of(batch)

    norms, clip = [], TrainStep.clip
    TrainStep.clip = lambda learner: norms.append(clip(learner)) or norms[-1]  # AdamW hides a gradient's scale
    watched = type("Watched", (), {"of": staticmethod(of)})()
    plan = Plan("test", 0, TRAINING, folder / "resume.safetensors", "identity", processes)
    history = fit(student, batches, objective, plan, lambda _: 0.5, watched)
    (folder / f"seen-{processes.rank}.json").write_text(json.dumps(seen))
    if processes.is_first:
        (folder / "norms.json").write_text(json.dumps([float(norm) for norm in norms]))
        (folder / "history.json").write_text(json.dumps(history))
        weights.save(student, folder / "final.safetensors", {})


if __name__ == "__main__":
    distil(Path(sys.argv[1]), sys.argv[2])

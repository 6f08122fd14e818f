"""A distillation for several processes to share: what `test_processes.py` starts, by one of Accelerate's launchers.

usage: python distributed_worker.py FOLDER CASE (with tests/data on the path)
"""

import json
import sys
from pathlib import Path

import torch
from squares import FINDINGS, squares

from cxr_kd.data.cache import build_cache
from cxr_kd.data.loader import Batches
from cxr_kd.distill.objective import Objective
from cxr_kd.distill.teacher import LiveTeacher, ask
from cxr_kd.models import weights
from cxr_kd.models.build import build
from cxr_kd.study.settings import Augmentation, Training
from cxr_kd.training.distributed import Processes
from cxr_kd.training.fit import fit
from cxr_kd.training.train_step import TrainStep

# case -> losses; in each, batches of 14 of 48 images end with an uneven one.
CASES = {
    "kept": {"focal_bce": 1.0, "logit_mse": 0.5, "map_cosine": 0.1, "correlation": 0.1, "attention_transfer": 0.1},
    "live": {"asymmetric": 1.0, "l2d": 0.5, "hint": 0.1},
    "breaks": {"focal_bce": 1.0},
}
TRAINING = Training(epochs=2, batch_size=14, accumulate=2, ema_decay=0.9)


def distil(folder: Path, case: str) -> None:
    """Train in float64, so that agreement can be told from rounding; write weights, history, and who saw what."""
    torch.set_num_threads(1)
    processes = Processes.here()
    processes.first(lambda: build_cache(squares(folder), folder / "cache", 32, progress=False) and None)
    table = squares(folder)
    cache = build_cache(table, folder / "cache", 32, progress=False)
    images, seen = list(table.frame["image_id"]), []
    batches = Batches(cache, table, images, batch_size=14, seed=1, augment=Augmentation(), shuffle=True, views=1)
    batches._labels[::5, 0], batches._known[::5, 0] = 0, False  # of some, nobody said: masked means
    torch.manual_seed(3)
    teacher, student = (build("eeea_net_c2", FINDINGS, image_size=32) for _ in range(2))
    student.double()
    widths = (960, 960) if case == "live" else None
    objective = Objective(CASES[case], widths=widths)
    objective.module.double()
    if case == "live":
        answers = LiveTeacher(teacher.double(), objective.needs)
    else:
        processes.first(lambda: ask(teacher, batches, folder, "key", needs=objective.needs) and None)
        answers = ask(teacher, batches, folder, "key", needs=objective.needs)

    def of(batch):
        seen.extend(batch.image_ids)
        if case == "breaks" and processes.rank == 1:
            raise RuntimeError("this process breaks")
        return type(answers).of(answers, batch)

    norms, clip = [], TrainStep.clip
    TrainStep.clip = lambda learner: norms.append(clip(learner)) or norms[-1]  # AdamW does not see a gradient's scale
    watched = type("Watched", (), {"of": staticmethod(of)})()
    history = fit(
        student,
        batches,
        objective,
        TRAINING,
        lambda _: 0.5,
        name="test",
        seed=0,
        resume=folder / "resume.safetensors",
        belongs_to="these settings",
        answers=watched,
        processes=processes,
    )
    (folder / f"seen-{processes.rank}.json").write_text(json.dumps(seen))
    if processes.is_first:
        (folder / "norms.json").write_text(json.dumps([float(norm) for norm in norms]))
        (folder / "history.json").write_text(json.dumps(history))
        weights.save(student, folder / "final.safetensors", {})


if __name__ == "__main__":
    distil(Path(sys.argv[1]), sys.argv[2])

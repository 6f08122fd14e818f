"""A distillation killed (`kill -9`) at random moments ends with the same bits as an undisturbed one; memory stays flat.

Everything that a checkpoint must hold is switched on: stored answers with maps, several views, a moving average of
weights, accumulated gradients, batch normalisation, dropout. CXR_KD_KILLS=20 kills it twenty times.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from squares import FINDINGS, squares

from cxr_kd.data.cache import build_cache
from cxr_kd.data.loader import Batches
from cxr_kd.distill.compute_answers import compute_answers
from cxr_kd.distill.objective import Objective
from cxr_kd.models import weights
from cxr_kd.models.build import build
from cxr_kd.study.settings import Augmentation, Training
from cxr_kd.training.fit import Plan, fit

KILLS = int(os.environ.get("CXR_KD_KILLS", "3"))
TRAINING = Training(epochs=5, batch_size=8, accumulate=2, ema_decay=0.9)
VIEWS = 2


def distil(folder: Path, training: Training = TRAINING, validate=None) -> None:
    """Compute answers and train a student, resuming from what is in `folder`, and write its weights there."""
    torch.set_num_threads(1)
    table = squares(folder)
    cache = build_cache(table, folder / "cache", 32, progress=False)
    images, augment = list(table.frame["image_id"]), Augmentation()
    batches = Batches(
        cache, table, images, batch_size=training.batch_size, seed=1, augment=augment, shuffle=True, views=VIEWS
    )
    objective = Objective({"focal_bce": 1.0, "logit_mse": 0.5, "map_cosine": 0.1})
    torch.manual_seed(3)
    teacher = build("eeea_net_c2", FINDINGS, image_size=32)
    student = build("eeea_net_c2", FINDINGS, image_size=32)
    student.backbone = torch.nn.Sequential(student.backbone, torch.nn.Dropout(0.2))
    print("ready", flush=True)  # everything is imported
    source = compute_answers(teacher, batches, folder, "key", needs=objective.needs)
    plan = Plan("test", 0, training, folder / "resume.safetensors", "settings")
    fit(student, batches, objective, plan, validate or (lambda _: 0.5), source)  # of equals, the last is the best
    weights.save(student, folder / "final.safetensors", {})


def started(function: str, folder: Path) -> subprocess.Popen:
    """Start `function(folder)` of this file in its own process and wait until it prints that it is ready."""
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "data")]
    program = f"import sys; sys.path[:0] = {places}; from pathlib import Path; import test_kill"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{program}; test_kill.{function}(Path(sys.argv[1]))", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen, seconds: float | None = None) -> int | None:
    """Return the exit status, or None if the process is still running after so many seconds."""
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    return process.returncode


def end_of(folder: Path) -> dict[str, torch.Tensor]:
    """Return the best weights and the whole checkpoint, by file and name."""
    files = [folder / name for name in ("final.safetensors", "resume.safetensors")]
    return {f"{file.name} {name}": tensor for file in files for name, tensor in load_file(file).items()}


def epochs_of(folder: Path) -> int:
    """Return the number of epochs in the checkpoint, 0 if there is none."""
    if not (folder / "resume.safetensors").exists():
        return 0
    with safe_open(folder / "resume.safetensors", framework="pt") as file:
        return len(json.loads(file.metadata()["content"])["history"])


def test_a_distillation_killed_at_random_moments_ends_with_the_same_bits(tmp_path):
    process, began = started("distil", tmp_path / "undisturbed"), time.perf_counter()
    assert ended(process) == 0
    lasts, moments = time.perf_counter() - began, random.Random(0)
    expected = end_of(tmp_path / "undisturbed")
    assert any(name.startswith("resume.safetensors ema.") for name in expected)

    def is_as_undisturbed(folder):
        end = end_of(folder)
        return end.keys() == expected.keys() and all(torch.equal(end[name], expected[name]) for name in expected)

    kills, resumed, round_, folder = 0, False, 0, tmp_path / "round-0"
    while kills < KILLS or not resumed:
        process, began = started("distil", folder), time.perf_counter()
        if ended(process, moments.uniform(0, 0.6 * lasts)) is None:
            process.send_signal(signal.SIGKILL)
            assert ended(process) == -signal.SIGKILL
            kills += 1
            resumed |= 0 < epochs_of(folder) < TRAINING.epochs
        else:  # it ended before it was killed: start a new round
            assert is_as_undisturbed(folder)
            lasts = min(lasts, time.perf_counter() - began)  # the machine may be less busy than at first
            round_ += 1
            folder = tmp_path / f"round-{round_}"
    assert ended(started("distil", folder)) == 0
    assert is_as_undisturbed(folder)


def resident_mb() -> float:
    """Return this process's resident memory in MB (2**20 bytes)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def measured(folder: Path) -> None:
    """Distil for eight epochs and write the resident memory after each (called in a subprocess)."""
    memory: list[float] = []
    training = TRAINING.model_copy(update={"epochs": 8})
    distil(folder, training, lambda _: memory.append(resident_mb()) or 0.5)
    (folder / "memory.txt").write_text("\n".join(map(str, memory)))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from Linux's /proc")
def test_memory_stays_flat_over_epochs(tmp_path):
    assert ended(started("measured", tmp_path)) == 0
    memory = [float(line) for line in (tmp_path / "memory.txt").read_text().split()]
    assert len(memory) == 8
    assert memory[7] - memory[1] < 6

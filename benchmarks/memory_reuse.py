"""EEEA-Net-C2's training step at 128 px on one thread, with and without the settings of glibc in `workflow/start.py`.

By default, glibc gives large blocks back to the system as soon as they are free; the kernel then clears new pages for
the next batch. Both sides are processes of their own, in turn. `ratio` is the default's median time of a step divided
by ours. `limit` is the default's time divided by its time in user mode: clearing pages is work of the kernel. `detail`
holds page faults per step and the peak memory of both.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

BAR = 1.1
WORKFLOW = Path(__file__).parents[1] / "workflow"
SIZE, BATCH_SIZE, STEPS = 128, 16, 10


def measure() -> None:
    """Print the time of a step, its user-mode time, its page faults, and the peak memory of this process."""
    import torch

    from cxr_kd.models.build import build

    torch.set_num_threads(1)
    model = build("eeea_net_c2", [f"finding {number}" for number in range(14)], image_size=SIZE).train()
    optimizer = torch.optim.AdamW(model.to(memory_format=torch.channels_last).parameters(), fused=True)
    images = torch.rand(BATCH_SIZE, 1, SIZE, SIZE)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(images).square().mean().backward()
        optimizer.step()

    step()
    step()
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    for _ in range(STEPS):
        step()
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    faults = after.ru_minflt - before.ru_minflt
    print(wall / STEPS, (after.ru_utime - before.ru_utime) / STEPS, faults / STEPS, after.ru_maxrss / 1024)


def in_a_process(settings: dict[str, str]) -> list[float]:
    """Return what `measure` prints in a process with these environment variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, __file__, "--measure"]
    answer = subprocess.run(command, env=environment | settings, capture_output=True, text=True, check=True)
    return [float(number) for number in answer.stdout.split()]


def main(rounds: int) -> None:
    """Measure both sides in turn and print the result as JSON."""
    sys.path.insert(0, str(WORKFLOW))
    from start import KEEP_MEMORY

    sides: dict[str, list[list[float]]] = {"default": [], "ours": []}
    for _ in range(rounds):
        sides["default"].append(in_a_process({}))
        sides["ours"].append(in_a_process(KEEP_MEMORY))
    (wall, user, faults, peak), ours = (
        [median(column) for column in zip(*rows, strict=True)] for rows in sides.values()
    )
    detail = {
        "ms": {"default": 1e3 * wall, "ours": 1e3 * ours[0]},
        "page_faults": {"default": faults, "ours": ours[2]},
        "peak_mib": {"default": peak, "ours": ours[3]},
    }
    result = {"name": "memory_reuse", "ratio": wall / ours[0], "better": "higher", "bar": BAR, "limit": wall / user}
    print(json.dumps({**result, "detail": detail}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three rounds instead of nine")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    measure() if given.measure else main(3 if given.quick else 9)

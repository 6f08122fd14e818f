"""How long one image takes on this machine."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from cxr_kd.models.classifier import CxrClassifier


@dataclass(frozen=True)
class Latency:
    """Percentiles over repeated single-image passes, in milliseconds, and what they were measured on."""

    median: float
    p5: float
    p25: float
    p75: float
    p95: float
    repeats: int
    threads: int
    cpu: str

    @property
    def iqr(self) -> float:
        """The width of the middle half, in milliseconds: how much to trust the median."""
        return self.p75 - self.p25


def latency_ms(
    model: CxrClassifier, image_size: int | None = None, *, repeats: int = 50, threads: int = 1, warm_up: int = 5
) -> Latency:
    """Time `model` on one random radiograph of `image_size` px (its own size), on the CPU, in float32 and eval mode.

    The thread count and the model's mode are as before afterwards. Raises ModelError for a size not the model's own.
    """
    size = image_size or model.image_size
    image = torch.randint(0, 256, (1, 1, size, size), dtype=torch.uint8)
    was_training, threads_before = model.training, torch.get_num_threads()
    model.eval()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            milliseconds = _time(lambda: model(image), repeats, warm_up)
    finally:
        torch.set_num_threads(threads_before)
        model.train(was_training)
    p5, p25, median, p75, p95 = (float(p) for p in np.percentile(milliseconds, (5, 25, 50, 75, 95)))
    return Latency(median, p5, p25, p75, p95, repeats, threads, cpu_name())


def cpu_name() -> str:
    """Name this machine's processor, as well as the system says it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or "unknown processor"


def _time(call: Callable[[], object], repeats: int, warm_up: int) -> list[float]:
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    for _ in range(warm_up):
        call()
    milliseconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        milliseconds.append((time.perf_counter() - start) * 1e3)
    return milliseconds

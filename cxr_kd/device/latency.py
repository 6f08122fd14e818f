"""How long one image takes on this machine's processor, for several networks measured in turn.

A machine that is busy for a while slows whatever runs then. Measured one after the other, the slowed network would look
worse than the others. Here every round times each network once, so that a busy minute slows all of them, and the ratio
of two networks is taken within each round.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from cxr_kd.evaluation.resampling import interval
from cxr_kd.models.classifier import CxrClassifier

if TYPE_CHECKING:
    from torch.utils.benchmark import Timer

RESAMPLES = 1000  # of the rounds, for the interval of a ratio


def latencies_ms(models: Mapping[str, CxrClassifier], *, repeats: int = 50, threads: int = 1) -> dict[str, np.ndarray]:
    """Return the milliseconds (repeats,) that each model needs for one image, in rounds that time every model once.

    Entry r of each array is from round r. Each model reads one random radiograph of its own image size, on the CPU, in
    float32 and eval mode, with `threads` threads. `Timer` makes two passes before each timed one, so that the model
    before has left no trace in the processor's caches. Thread count and modes are restored. Raises ValueError for
    fewer than one repeat.
    """
    with _in_eval_mode(models.values()), torch.inference_mode():
        calls = {name: partial(model, _image(model)) for name, model in models.items()}
        return calls_in_turn_ms(calls, repeats=repeats, threads=threads)


def calls_in_turn_ms(
    calls: Mapping[str, Callable[[], object]], *, repeats: int = 50, threads: int = 1
) -> dict[str, np.ndarray]:
    """Return the milliseconds (repeats,) of each call, in rounds that make every call once; see `latencies_ms`.

    `threads` are those of PyTorch; another runtime's are its own. Raises ValueError for fewer than one repeat.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    timers = {name: _timer(call, threads) for name, call in calls.items()}
    rounds = [[timer.timeit(1).median * 1e3 for timer in timers.values()] for _ in range(repeats)]
    return dict(zip(timers, np.array(rounds).T, strict=True))


def latency_ratio(slower: np.ndarray, faster: np.ndarray, *, seed: int = 0) -> tuple[float, float, float]:
    """Return the latency of one model divided by that of another, with the bounds of its 95 % interval.

    Both are milliseconds (R,) from the same rounds of `latencies_ms`. The estimate is the median of the R ratios within
    a round; the interval is the percentile interval of that median over RESAMPLES bootstrap resamples of the rounds.
    """
    ratios = slower / faster
    drawn = np.random.default_rng(seed).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = interval(np.median(ratios[drawn], axis=1))
    return float(np.median(ratios)), float(low), float(high)


def faster(slower: np.ndarray, faster: np.ndarray) -> dict[str, float]:
    """Return `latency_ratio` as the columns faster, faster_low and faster_high of a table."""
    return dict(zip(("faster", "faster_low", "faster_high"), latency_ratio(slower, faster), strict=True))


def cpu_name() -> str:
    """Return the name of this machine's processor, as exactly as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine() or "unknown processor"


def _image(model: CxrClassifier) -> torch.Tensor:
    return torch.randint(0, 256, (1, 1, model.image_size, model.image_size), dtype=torch.uint8)


def _timer(call: Callable[[], object], threads: int) -> Timer:
    # This import warns on a machine with a CUDA compiler and no GPU, although nothing is compiled here.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    return Timer("call()", globals={"call": call}, num_threads=threads)


@contextmanager
def _in_eval_mode(models: Iterable[CxrClassifier]) -> Iterator[None]:
    """Put the models into eval mode, and back into the mode they had before."""
    before = [(model, model.training) for model in models]
    try:
        for model, _ in before:
            model.eval()
        yield
    finally:
        for model, training in before:
            model.train(training)

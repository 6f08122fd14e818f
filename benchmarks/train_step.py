"""EEEA-Net-C2's training step at 224 px, compared with a plain one: eager, NCHW, float32, torch's default AdamW.

Both take turns on the same batch; ours is the step of `training.train_step` (channels-last, fused AdamW). `ratio` is
the plain step's median time divided by ours. `detail` holds what each of the two measures gains alone, what
torch.compile would gain besides (not with `--quick`, because compiling takes a minute), and where our time goes: the
7 x 7 depthwise layers alone, forward and backward, with their arithmetic and memory throughput next to those of a
matrix product and a copy on this machine. `limit` is the plain step's time divided by the larger of two times: its
arithmetic at the speed of the matrix product, and its memory traffic at the speed of the copy.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from _training import ALONE, BATCH_SIZE, HERE, SIZE, batches, files, learner, machine, network, seconds, step
from torch import nn

from cxr_kd.distill.losses import focal_bce
from cxr_kd.models.cost import macs

BAR = 1.2


def plain(layout: torch.memory_format, *, fused: bool, compiled: bool = False) -> Callable[[object], float]:
    """Return a function that takes one plain step with a batch."""
    model = network().train().to(memory_format=layout)
    forward = torch.compile(model, dynamic=False) if compiled else model
    optimizer = torch.optim.AdamW(model.parameters(), fused=fused or None)

    def take(batch) -> float:
        optimizer.zero_grad()
        images, labels, known = (part.to(HERE.device) for part in (batch.images, batch.labels, batch.known))
        loss = focal_bce(forward(images), labels, known)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach()) + float(norm)

    return take


def fastest(call: Callable[[], object], rounds: int = 5) -> float:
    """Return the shortest time of a call in seconds."""
    return min(seconds(call) for _ in range(rounds + 1))


def depthwise_profile(rounds: int) -> list[dict[str, object]]:
    """Return ms, GFLOP/s and GB/s of the three parts of each 7 x 7 depthwise layer, channels-last, at its own input."""
    model, inputs = network().train().to(memory_format=torch.channels_last), {}
    layers = [each for each in model.modules() if isinstance(each, nn.Conv2d) and each.groups > 1]
    layers = [each for each in layers if each.kernel_size == (7, 7)]
    for layer in layers:
        layer.register_forward_pre_hook(lambda layer, given: inputs.update({layer: given[0].detach()}))
    model(torch.rand(BATCH_SIZE, 1, SIZE, SIZE, device=HERE.device))
    rows = []
    for layer in layers:
        x, weight = inputs[layer].contiguous(memory_format=torch.channels_last), layer.weight.detach()
        y = nn.functional.conv2d(x, weight, None, layer.stride, layer.padding, 1, layer.groups)
        gradient = torch.rand_like(y)

        def backward(mask: list[bool], x=x, weight=weight, layer=layer, gradient=gradient) -> object:
            return torch.ops.aten.convolution_backward(
                gradient, x, weight, None, layer.stride, layer.padding, (1, 1), False, (0, 0), layer.groups, mask
            )

        parts = {
            "forward": lambda x=x, weight=weight, layer=layer: nn.functional.conv2d(
                x, weight, None, layer.stride, layer.padding, 1, layer.groups
            ),
            "of_the_input": lambda backward=backward: backward([True, False, False]),
            "of_the_weight": lambda backward=backward: backward([False, True, False]),
        }
        spent = {part: fastest(call, rounds) for part, call in parts.items()}
        flops, moved = 2 * 49 * y.numel(), 4 * (x.numel() + y.numel())
        rows.append(
            {
                "channels": layer.in_channels,
                "side": x.shape[-1],
                "stride": layer.stride[0],
                **{f"ms_{part}": round(1e3 * value, 2) for part, value in spent.items()},
                **{f"gflops_{part}": round(flops / value / 1e9, 1) for part, value in spent.items()},
                **{f"gbytes_{part}": round(moved / value / 1e9, 1) for part, value in spent.items()},
            }
        )
    return rows


def activations_bytes() -> int:
    """Return the bytes that convolutions, norms, activations and linear layers write in one forward pass."""
    model, counted = network().train(), []
    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda *given: counted.append(4 * given[2].numel()))
    model(torch.rand(BATCH_SIZE, 1, SIZE, SIZE, device=HERE.device))
    return sum(counted)


def machine_speed() -> tuple[float, float]:
    """Return this machine's FLOP/s in a matrix product, and the bytes/s that a copy reads and writes."""
    a, b = (torch.rand(2048, 2048, device=HERE.device) for _ in range(2))
    source = torch.rand(2**26, device=HERE.device)
    target = torch.empty_like(source)
    return 2 * 2048**3 / fastest(lambda: a @ b), 2 * 4 * 2**26 / fastest(lambda: target.copy_(source))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and no torch.compile, under a minute")
    quick = parser.parse_args().quick
    rounds = 8 if quick else 40
    with tempfile.TemporaryDirectory() as folder:
        (batch, *_) = batches(files(Path(folder, "source"), BATCH_SIZE), Path(folder, "cache")).epoch(0)
    nchw, nhwc = torch.contiguous_format, torch.channels_last
    takes: dict[str, Callable[[object], float]] = {
        "plain": plain(nchw, fused=False),
        "channels_last": plain(nhwc, fused=False),
        "fused": plain(nchw, fused=True),
        "ours": partial(step, learner(ALONE)),
    }
    if HERE.device != "cpu":
        takes["ours_bf16"] = partial(step, learner(ALONE, "bf16"))
    compiling = {}
    if not quick:
        takes["ours_compiled"] = plain(nhwc, fused=True, compiled=True)
        compiling = {"seconds_to_compile": round(seconds(lambda: takes["ours_compiled"](batch)), 1)}
    times: dict[str, list[float]] = {side: [] for side in takes}
    for number in range(-2, rounds):
        for side, take in takes.items():
            spent = seconds(partial(take, batch))
            if number >= 0:
                times[side].append(spent)
    medians = {side: median(spent) for side, spent in times.items()}
    flops, copied = machine_speed()
    profile = depthwise_profile(3 if quick else 10)
    depthwise = sum(row[key] for row in profile for key in row if key.startswith("ms_"))
    arithmetic = 3 * 2 * macs(network().cpu(), SIZE) * BATCH_SIZE / flops
    # Forward: written once and read once. Backward: gradient written and read once, activation read again.
    traffic = 5 * activations_bytes() / copied
    detail = {
        "step_ms": {side: round(1e3 * value, 1) for side, value in medians.items()},
        "images_per_second": {side: round(BATCH_SIZE / value, 1) for side, value in medians.items()},
        "times_plain": {side: round(medians["plain"] / value, 3) for side, value in medians.items()},
        **compiling,
        "depthwise_7x7_share_of_our_step": round(depthwise / 1e3 / medians["ours"], 3),
        "depthwise_7x7": profile,
        "machine_gflops": round(flops / 1e9, 1),
        "machine_copy_gbytes": round(copied / 1e9, 1),
        "ms_of_arithmetic_at_machine_speed": round(1e3 * arithmetic, 1),
        "ms_of_traffic_at_machine_speed": round(1e3 * traffic, 1),
        "rounds": rounds,
        **machine(),
    }
    ratio, limit = medians["plain"] / medians["ours"], medians["plain"] / max(arithmetic, traffic)
    result = {"name": "train_step", "ratio": round(ratio, 3), "better": "higher", "bar": BAR, "limit": round(limit, 2)}
    print(json.dumps({**result, "detail": detail}))


if __name__ == "__main__":
    main()

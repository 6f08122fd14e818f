"""Time maps of 14 findings on one image in several ways: EEEA-Net-C2 (or --network), 224 px, one thread.

The ways, in turn within each round, so that a slow moment of the machine affects all of them: a forward pass, the one
pass with all maps, 14 runs of pytorch-grad-cam, the best that backward passes can do (one forward pass, then 14 of them
through head and pooling only), and finer grids.

The last line printed is one JSON object: `ratio` of medians (14 runs over one pass) with its `bar`, and in `detail` the
time of one pass as a multiple of a forward pass with its bar, the backward passes', and for each finer grid its cells,
milliseconds, multiple of a forward pass and multiply-accumulates of network, head and maps; `logits_moved` is how far
the dense networks' own logits are from the plain ones on 8 images of noise (untrained weights; the explainers return
the plain ones).
`limit` is the ratio if maps took no longer than the forward pass that they explain.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch.utils.flop_counter import FlopCounterMode

from cxr_kd.device.latency import cpu_name
from cxr_kd.explanation.methods.cam import Explainer, maps
from cxr_kd.explanation.methods.dense import atrous, logit_movement
from cxr_kd.explanation.methods.grids import explainer
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier

FINDINGS = tuple(f"finding {i}" for i in range(14))
SIZE = 224
BAR = 50
BAR_IN_FORWARD_PASSES = 1.3
GRIDS = ("atrous2", "atrous4", "shift2")


def forward(model: CxrClassifier, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(image)


def one_pass(model: CxrClassifier, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return maps(model, image)[1]


def fourteen_runs(grad_cam: GradCAM, image: torch.Tensor) -> np.ndarray:
    return np.stack([grad_cam(image, [ClassifierOutputTarget(i)]) for i in range(len(FINDINGS))], axis=1)


def fourteen_backward_passes(model: CxrClassifier, image: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        features = model.features(image)
    features.requires_grad_()
    logits = model.head(model.pool(features))
    found = []
    for logit in logits[0]:
        (gradient,) = torch.autograd.grad(logit, features, retain_graph=True)
        found.append((gradient.sum(dim=(2, 3), keepdim=True) * features).sum(dim=1).relu())
    return torch.stack(found, dim=1).detach()


def in_inference(explain: Explainer, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return explain(image)[1]


def same_maps(ours: torch.Tensor, theirs: np.ndarray) -> bool:
    # Grad-CAM's weights are means over cells; the library scales each map to [0, 1] before and after resizing it.
    grad_cams = (ours / ours.shape[-1] / ours.shape[-2])[0].numpy()
    return np.allclose(scale_cam_image(scale_cam_image(grad_cams, (SIZE, SIZE))), theirs[0], atol=1e-3)


def milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def macs(explain: Explainer, image: torch.Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        explain(image)
    return counter.get_total_flops() // 2


def movement(model: CxrClassifier) -> dict[str, dict[str, float]]:
    images = torch.rand(8, 1, SIZE, SIZE)
    moved = {f"atrous{factor}": logit_movement(model, atrous(model, factor), images) for factor in (2, 4)}
    return {name: {key: round(value, 4) for key, value in asdict(each).items()} for name, each in moved.items()}


def timed(ways: dict[str, Callable[[], object]], model: CxrClassifier, image: torch.Tensor, rounds: int) -> Any:
    """Milliseconds of each way in each round, in turn; Grad-CAM last, because its hooks slow the others down."""
    times: dict[str, list[float]] = {name: [] for name in (*ways, "grad_cam_14")}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for _ in range(4):
            for name in ("forward", "one_pass"):
                times[name].append(milliseconds(ways[name]))
        for name in ("backward_14", *GRIDS):
            times[name].append(milliseconds(ways[name]))
        with GradCAM(model, target_layers=[model.backbone]) as grad_cam:
            times["grad_cam_14"].append(milliseconds(lambda cam=grad_cam: fourteen_runs(cam, image)))
    return {name: median(each) for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under a minute")
    parser.add_argument("--network", default="eeea_net_c2", help="a convolutional network of the registry")
    arguments = parser.parse_args()
    rounds = 5 if arguments.quick else 25
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(arguments.network, FINDINGS, image_size=SIZE).eval()
    # As large as a trained head's, so that maps are more than rounding errors.
    torch.nn.init.normal_(model.head.output.weight)
    image = torch.rand(1, 1, SIZE, SIZE)

    ours = one_pass(model, image)
    with GradCAM(model, target_layers=[model.backbone]) as grad_cam:
        agree = same_maps(ours, fourteen_runs(grad_cam, image))
    agree_backward = torch.allclose(ours, fourteen_backward_passes(model, image), rtol=1e-3, atol=1e-4)

    explain = {name: explainer(model, name) for name in ("plain", *GRIDS)}
    ways: dict[str, Callable[[], object]] = {
        "forward": lambda: forward(model, image),
        "one_pass": lambda: one_pass(model, image),
        "backward_14": lambda: fourteen_backward_passes(model, image),
        **{name: lambda name=name: in_inference(explain[name], image) for name in GRIDS},
    }
    took = timed(ways, model, image, rounds)
    single, one, all_runs = took["forward"], took["one_pass"], took["grad_cam_14"]
    print(f"one forward {single:.1f} ms, one pass with 14 maps {one:.1f} ms, 14 runs of Grad-CAM {all_runs:.0f} ms")
    grids = {
        name: {
            "cells": in_inference(explain[name], image).shape[-1],
            "ms": round(took.get(name, one), 2),
            "in_forward_passes": round(took.get(name, one) / single, 2),
            "macs": macs(explain[name], image),
        }
        for name in explain
    }
    for name, grid in grids.items():
        print(f"{name}: {grid['cells']} cells per side, {grid['ms']:.1f} ms, {grid['macs'] / 1e6:.0f} million MACs")
    detail = {
        "network": model.name,
        "forward_ms": round(single, 2),
        "one_pass_ms": round(one, 2),
        "grad_cam_14_ms": round(all_runs, 1),
        "backward_14_ms": round(took["backward_14"], 2),
        "one_pass_in_forward_passes": round(one / single, 3),
        "one_pass_in_forward_passes_bar": BAR_IN_FORWARD_PASSES,
        "backward_14_over_one_pass": round(took["backward_14"] / one, 3),
        "same_maps": bool(agree and agree_backward),
        "grids": grids,
        "logits_moved": movement(model),
        "rounds": rounds,
        "cpu": cpu_name(),
        "threads": 1,
    }
    answer = {"name": "explanation_one_pass", "ratio": round(all_runs / one, 1), "better": "higher", "bar": BAR}
    print(json.dumps({**answer, "limit": round(all_runs / single, 1), "detail": detail}))


if __name__ == "__main__":
    main()

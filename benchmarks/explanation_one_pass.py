"""Time maps of 14 findings in one pass and by 14 runs of pytorch-grad-cam: EEEA-Net-C2, 224 px, one image, one thread.

The last line printed is one JSON object: the ratio of medians (14 runs over one pass), and in `detail` the time of one
pass as a multiple of a forward pass. `limit` is the ratio if maps took no longer than the forward pass that they
explain.
"""

import argparse
import json
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

from cxr_kd.device.latency import cpu_name
from cxr_kd.explanation.cam import maps
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier

FINDINGS = tuple(f"finding {i}" for i in range(14))
SIZE = 224
BAR = 40


def one_pass(model: CxrClassifier, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return maps(model, image)[1]


def fourteen_runs(grad_cam: GradCAM, image: torch.Tensor) -> np.ndarray:
    return np.stack([grad_cam(image, [ClassifierOutputTarget(i)]) for i in range(len(FINDINGS))], axis=1)


def forward(model: CxrClassifier, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(image)


def same_maps(ours: torch.Tensor, theirs: np.ndarray) -> bool:
    # Grad-CAM's weights are means over cells; the library scales each map to [0, 1] before and after resizing it.
    grad_cams = (ours / ours.shape[-1] / ours.shape[-2])[0].numpy()
    return np.allclose(scale_cam_image(scale_cam_image(grad_cams, (SIZE, SIZE))), theirs[0], atol=1e-3)


def milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under a minute")
    rounds = 5 if parser.parse_args().quick else 25
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build("eeea_net_c2", FINDINGS, image_size=SIZE).eval()
    torch.nn.init.normal_(
        model.head.output.weight
    )  # as large as a trained head's, so that maps are more than rounding errors
    image = torch.rand(1, 1, SIZE, SIZE)
    grad_cam = GradCAM(model, target_layers=[model.backbone])
    agree = same_maps(one_pass(model, image), fourteen_runs(grad_cam, image))
    grad_cam.activations_and_grads.release()

    passes, runs, forwards = [], [], []
    for _ in range(rounds):  # in turn, so that a slow moment of the machine affects all three
        for _ in range(4):
            forwards.append(milliseconds(lambda: forward(model, image)))
            passes.append(milliseconds(lambda: one_pass(model, image)))
        with GradCAM(model, target_layers=[model.backbone]) as grad_cam:
            runs.append(milliseconds(lambda cam=grad_cam: fourteen_runs(cam, image)))
    one, all_runs, single = median(passes), median(runs), median(forwards)
    print(f"one forward {single:.1f} ms, one pass with 14 maps {one:.1f} ms, 14 runs of Grad-CAM {all_runs:.0f} ms")
    detail = {
        "forward_ms": round(single, 2),
        "one_pass_ms": round(one, 2),
        "grad_cam_14_ms": round(all_runs, 1),
        "one_pass_in_forward_passes": round(one / single, 3),
        "same_maps": bool(agree),
        "rounds": rounds,
        "cpu": cpu_name(),
        "threads": 1,
    }
    answer = {"name": "explanation_one_pass", "ratio": round(all_runs / one, 1), "better": "higher", "bar": BAR}
    print(json.dumps({**answer, "limit": round(all_runs / single, 1), "detail": detail}))


if __name__ == "__main__":
    main()

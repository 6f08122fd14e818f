"""Time one radiograph with the exported EEEA-Net-C2 and with its rivals: 224 px, 14 findings, one thread.

The ways, in turn within each round, so that a slow moment of the machine affects all of them: the student in PyTorch
(eager, NCHW and channels-last; the faster one counts), its exported file with all maps and without them in ONNX
Runtime, and the exported DenseNet-161 without maps in the same runtime. The weights are random, which changes no time.

The last line printed is one JSON object. `ratio` is the student's median in PyTorch over that of its file without maps,
with its `bar`. `limit` is PyTorch's time over the time of the student's arithmetic at the speed of a matrix product on
one thread. `detail` has the other two claims with their bars (DenseNet-161's time over the student's, and the student's
with maps over without), milliseconds with quartiles, and the sizes of the files.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from cxr_kd.device.export import export
from cxr_kd.device.latency import calls_in_turn_ms, cpu_name
from cxr_kd.device.runtimes import INPUT
from cxr_kd.models import weights
from cxr_kd.models.build import build
from cxr_kd.models.cost import macs

FINDINGS = tuple(f"finding {i}" for i in range(14))
SIZE, STUDENT, TEACHER = 224, "eeea_net_c2", "densenet161"
BAR, BAR_OVER_TEACHER, BAR_OF_MAPS = 3.0, 15.0, 1.10


def exported(name: str, folder: Path) -> tuple[torch.nn.Module, Path, Path]:
    """Return a network, its exported file, and the same file without maps."""
    torch.manual_seed(0)
    model = build(name, FINDINGS, image_size=SIZE).eval()
    weights.save(model, folder / name / "model.safetensors", {"run": name})
    whole, plain = folder / f"{name}.onnx", folder / f"{name}-logits.onnx"
    export(folder / name, whole)
    onnx.utils.extract_model(whole, plain, [INPUT], ["logits"])
    return model, whole, plain


def in_onnx_runtime(file: Path, image: np.ndarray) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {INPUT: image})


def in_pytorch(model: torch.nn.Module, image: np.ndarray, layout: torch.memory_format) -> Callable[[], object]:
    placed, tensor = model.to(memory_format=layout), torch.from_numpy(image)

    def call() -> object:
        with torch.inference_mode():
            return placed(tensor)

    return call


def matrix_product_flops() -> float:
    """FLOP/s of a float32 matrix product on one thread: the fastest of five."""
    a, b = torch.rand(1024, 1024), torch.rand(1024, 1024)
    spent = []
    for _ in range(6):
        start = time.perf_counter()
        a @ b
        spent.append(time.perf_counter() - start)
    return 2 * 1024**3 / min(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under a minute")
    rounds = 20 if parser.parse_args().quick else 200
    torch.set_num_threads(1)
    image = np.random.default_rng(0).integers(0, 256, (1, 1, SIZE, SIZE), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        student, with_maps, without_maps = exported(STUDENT, folder)
        again = build(STUDENT, FINDINGS, image_size=SIZE).eval()
        _, _, teacher = exported(TEACHER, folder)
        calls = {
            "pytorch": in_pytorch(student, image, torch.contiguous_format),
            "pytorch_channels_last": in_pytorch(again, image, torch.channels_last),
            "onnx_with_maps": in_onnx_runtime(with_maps, image),
            "onnx": in_onnx_runtime(without_maps, image),
            f"onnx_{TEACHER}": in_onnx_runtime(teacher, image),
        }
        sizes = {file.stem: round(file.stat().st_size / 2**20, 2) for file in (with_maps, teacher)}
        took = calls_in_turn_ms(calls, repeats=rounds, threads=1)
    median = {way: float(np.median(each)) for way, each in took.items()}
    eager = min(("pytorch", "pytorch_channels_last"), key=median.__getitem__)

    def ratio(slow: str, fast: str) -> float:
        return round(float(np.median(took[slow] / took[fast])), 3)

    least_ms = 2e3 * macs(student) / matrix_product_flops()
    result = {
        "name": "latency",
        "ratio": ratio(eager, "onnx"),
        "better": "higher",
        "bar": BAR,
        "limit": round(median[eager] / least_ms, 2),
        "detail": {
            "densenet161_over_student": {"ratio": ratio(f"onnx_{TEACHER}", "onnx"), "bar": BAR_OVER_TEACHER},
            "maps_over_none": {"ratio": ratio("onnx_with_maps", "onnx"), "bar": BAR_OF_MAPS},
            "ms": {way: [round(float(value), 2) for value in np.percentile(each, (5, 25, 50, 75, 95))]
                   for way, each in took.items()},
            "file_mb": sizes,
            "rounds": rounds,
            "onnxruntime": onnxruntime.__version__,
            "cpu": cpu_name(),
            "threads": 1,
        },
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()

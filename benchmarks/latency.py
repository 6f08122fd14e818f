"""Time one radiograph with the exported EEEA-Net-C2 and with its rivals: 224 px, 14 findings.

The ways, in turn within each round, so that a slow moment of the machine affects all of them: the student in PyTorch
(eager in both layouts, and compiled; the faster eager one counts), its exported file in ONNX Runtime and OpenVINO, with
all maps and without, in float32, in bfloat16 (OpenVINO, where the processor has it), with weights in 8 bits and with
8-bit arithmetic; and the exported DenseNet-161 without maps in both runtimes. One thread. Then the same files with all
cores, with a batch of 32, and from a file of 2,500 px to the answer. Weights are random, which changes no time.

The last line printed is one JSON object. `ratio` is the student's median in PyTorch over that in its best runtime
without maps (float32), with its `bar`. `limit` is PyTorch's time over the time of the student's arithmetic at the speed
of a matrix product on one thread. `detail` has the other claims with their bars (DenseNet-161's time over the student's
in that runtime, and the student's with maps over without in ONNX Runtime), milliseconds, sizes, and the process's peak
memory for one image.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from PIL import Image

from cxr_kd.data.images.decode import decode
from cxr_kd.device import runtimes
from cxr_kd.device.export import export
from cxr_kd.device.exported import ExportedModel
from cxr_kd.device.int8 import Quantiser, Way
from cxr_kd.device.latency import calls_in_turn_ms, cpu_name
from cxr_kd.device.runtimes import INPUT
from cxr_kd.device.stored_weights import in_int8
from cxr_kd.models import weights
from cxr_kd.models.build import build
from cxr_kd.models.cost import macs
from cxr_kd.phantoms.draw import draw
from cxr_kd.study.data_settings import PhantomSettings

FINDINGS = tuple(f"finding {i}" for i in range(14))
SIZE, STUDENT, TEACHER = 224, "eeea_net_c2", "densenet161"
BAR, BAR_OVER_TEACHER, BAR_OF_MAPS = 3.0, 15.0, 1.10
PREDICT = r"""
import re, sys, numpy as np
from pathlib import Path
from cxr_kd.device.exported import ExportedModel
model = ExportedModel.load(sys.argv[1], threads=1)
model.run(np.zeros((1, model.metadata.image_size, model.metadata.image_size), np.uint8))
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


def exported(name: str, folder: Path) -> tuple[torch.nn.Module, Path, Path]:
    """Return a network, its exported file, and the same file without maps."""
    torch.manual_seed(0)
    model = build(name, FINDINGS, image_size=SIZE).eval()
    weights.save(model, folder / name / "model.safetensors", {"run": name})
    whole, plain = folder / f"{name}.onnx", folder / f"{name}-logits.onnx"
    export(folder / name, whole)
    onnx.utils.extract_model(whole, plain, [INPUT], ["logits"])
    return model, whole, plain


def smaller(file: Path) -> dict[str, Path]:
    """Write a model with weights in 8 bits and one with 8-bit arithmetic; return their files."""
    model = onnx.load(file)
    del model.metadata_props[:]
    phantoms = np.stack([draw(PhantomSettings(images=20, size=SIZE), index).image for index in range(4)])
    with tempfile.TemporaryDirectory() as between:
        made = {
            "int8_weights": in_int8(model),
            "int8": Quantiser(model, phantoms, Path(between)).quantised(Way("channel", "minmax")),
        }
    files = {name: file.with_name(f"{file.stem}-{name}.onnx") for name in made}
    for name, each in made.items():
        onnx.save(each, files[name])
    return files


def in_onnx_runtime(file: Path, images: np.ndarray, threads: int = 1) -> Callable[[], object]:
    loaded = runtimes.load("onnxruntime", file.read_bytes(), file, threads)
    return lambda: loaded.run(images)


# Not runtimes.load, which computes in float32 only.
def in_openvino(file: Path, images: np.ndarray, threads: int = 1, precision: str = "f32") -> Callable[[], object]:
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    request = openvino.Core().compile_model(str(file), "CPU", settings).create_infer_request()
    return lambda: request.infer({INPUT: images})


def in_pytorch(model: Callable[[torch.Tensor], object], images: np.ndarray) -> Callable[[], object]:
    tensor = torch.from_numpy(images)

    def call() -> object:
        with torch.inference_mode():
            return model(tensor)

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


def percentiles(took: dict[str, np.ndarray]) -> dict[str, list[float]]:
    return {
        way: [round(float(value), 2) for value in np.percentile(each, (5, 25, 50, 75, 95))]
        for way, each in took.items()
    }


def peak_mb(file: Path) -> int:
    """Peak memory of a process that loads an exported file and reads one image."""
    told = subprocess.run([sys.executable, "-c", PREDICT, file], capture_output=True, text=True, check=True)
    return int(told.stdout)


def from_file_to_answer(model: Path, folder: Path) -> dict[str, Callable[[], object]]:
    """Return a call that decodes a PNG file of 2,500 px and one that also answers."""
    picture = folder / "radiograph.png"
    phantom = draw(PhantomSettings(images=20, size=512), 0).image
    Image.fromarray(phantom).resize((2500, 2500)).save(picture)
    loaded = ExportedModel.load(model)
    return {
        "decode 2,500 px": lambda: decode(picture, SIZE),
        "decode 2,500 px and answer": lambda: loaded.run(decode(picture, SIZE)[None]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and no torch.compile, under two minutes")
    quick = parser.parse_args().quick
    rounds = 20 if quick else 200
    torch.set_num_threads(1)
    image = np.random.default_rng(0).integers(0, 256, (1, 1, SIZE, SIZE), dtype=np.uint8)
    many = np.repeat(image, 32, axis=0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        student, with_maps, without_maps = exported(STUDENT, folder)
        channels_last = build(STUDENT, FINDINGS, image_size=SIZE).eval().to(memory_format=torch.channels_last)
        _, teacher_with_maps, teacher = exported(TEACHER, folder)
        files = smaller(without_maps)
        calls = {
            "pytorch": in_pytorch(student, image),
            "pytorch channels last": in_pytorch(channels_last, image),
            "onnxruntime with maps": in_onnx_runtime(with_maps, image),
            "onnxruntime": in_onnx_runtime(without_maps, image),
            "onnxruntime int8_weights": in_onnx_runtime(files["int8_weights"], image),
            "onnxruntime int8": in_onnx_runtime(files["int8"], image),
            "openvino with maps": in_openvino(with_maps, image),
            "openvino": in_openvino(without_maps, image),
            "openvino bf16": in_openvino(without_maps, image, precision="bf16"),
            "openvino int8": in_openvino(files["int8"], image),
            f"onnxruntime {TEACHER}": in_onnx_runtime(teacher, image),
            f"openvino {TEACHER}": in_openvino(teacher, image),
        }
        if not quick:
            calls["pytorch compiled"] = in_pytorch(torch.compile(student), image)
        took = calls_in_turn_ms(calls, repeats=rounds, threads=1)
        others = {
            "onnxruntime all cores": in_onnx_runtime(without_maps, image, 0),
            "openvino all cores": in_openvino(without_maps, image, 0),
            "onnxruntime batch 32": in_onnx_runtime(without_maps, many),
            "openvino batch 32": in_openvino(without_maps, many),
            **from_file_to_answer(with_maps, folder),
        }
        other_times = calls_in_turn_ms(others, repeats=max(5, rounds // 10), threads=1)
        measured = {**files, "float32": with_maps, TEACHER: teacher_with_maps}
        sizes = {each: round(file.stat().st_size / 2**20, 2) for each, file in measured.items()}
        memory = {file.stem: peak_mb(file) for file in (with_maps, teacher_with_maps)}
    median = {way: float(np.median(each)) for way, each in took.items()}
    eager = min(("pytorch", "pytorch channels last"), key=median.__getitem__)
    best = min(("onnxruntime", "openvino"), key=median.__getitem__)

    def ratio(slow: str, fast: str) -> float:
        return round(float(np.median(took[slow] / took[fast])), 3)

    least_ms = 2e3 * macs(student) / matrix_product_flops()
    result = {
        "name": "latency",
        "ratio": ratio(eager, best),
        "better": "higher",
        "bar": BAR,
        "limit": round(median[eager] / least_ms, 2),
        "detail": {
            "best": best,
            "densenet161_over_student": {"ratio": ratio(f"{best} {TEACHER}", best), "bar": BAR_OVER_TEACHER},
            "maps_over_none": {"ratio": ratio("onnxruntime with maps", "onnxruntime"), "bar": BAR_OF_MAPS},
            "share_of_matrix_product": {way: round(least_ms / median[way], 3) for way in ("onnxruntime", "openvino")},
            "ms": percentiles(took) | percentiles(other_times),
            "images_per_s": {way: round(32e3 / float(np.median(each)), 1)
                             for way, each in other_times.items() if way.endswith("batch 32")},
            "file_mb": sizes,
            "peak_mb": memory,
            "rounds": rounds,
            "onnxruntime": onnxruntime.__version__,
            "openvino": openvino.__version__,
            "cpu": cpu_name(),
            "threads": 1,
        },
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()

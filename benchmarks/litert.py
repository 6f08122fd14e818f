"""Write a run's network as a LiteRT file for phones, and compare it with PyTorch and with the exported ONNX file.

    python -m venv .litert && .litert/bin/pip install litert-torch ai-edge-litert ".[study]"
    .litert/bin/python benchmarks/litert.py runs/STUDY/RUN --out student.tflite

An environment of its own, because litert-torch needs an older PyTorch than the project. The file has the inputs and
outputs of the ONNX file, for one image: logits, maps of all findings and, if the run is calibrated, probabilities.
Prints the largest differences from PyTorch on 20 phantoms, the size, and the milliseconds of one image on this
processor with one thread, beside those of ONNX Runtime. It says nothing about a phone's speed.
"""

import argparse
import tempfile
from pathlib import Path

import litert_torch
import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter

from cxr_kd.device.export import as_module, export
from cxr_kd.device.exported import ExportedModel
from cxr_kd.device.latency import calls_in_turn_ms
from cxr_kd.phantoms.draw import draw
from cxr_kd.study.data_settings import PhantomSettings

IMAGES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--out", type=Path, default=Path("student.tflite"), help="the file to write")
    told = parser.parse_args()
    torch.set_num_threads(1)
    network = as_module(told.run)
    size = network.model.image_size
    phantoms = [draw(PhantomSettings(images=IMAGES, size=size), index).image for index in range(IMAGES)]
    images = torch.from_numpy(np.stack(phantoms))[:, None]
    litert_torch.convert(network, (images[:1],)).export(str(told.out))

    interpreter = Interpreter(str(told.out), num_threads=1)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    outputs = sorted(interpreter.get_output_details(), key=lambda each: each["name"])

    def run(image: np.ndarray) -> list[np.ndarray]:
        interpreter.set_tensor(given["index"], image)
        interpreter.invoke()
        return [interpreter.get_tensor(each["index"]) for each in outputs]

    differences = []
    with torch.inference_mode():
        for image in images:
            pairs = zip(run(image[None].numpy()), network(image[None]), strict=True)
            differences.append([float(np.nanmax(np.abs(found - wanted.numpy()))) for found, wanted in pairs])
    for name, most in zip(network.outputs, np.max(differences, axis=0), strict=True):
        print(f"{name}: largest difference from PyTorch on {IMAGES} phantoms {most:.1g}")

    with tempfile.TemporaryDirectory() as folder:
        onnx = ExportedModel.load(export(told.run, Path(folder, "model.onnx")).path, threads=1)
        one = images[:1].numpy()
        took = calls_in_turn_ms({"LiteRT": lambda: run(one), onnx.runtime: lambda: onnx.run(one[:, 0])}, repeats=50)
    print(f"{told.out}: {told.out.stat().st_size / 2**20:.1f} MB")
    for runtime, milliseconds in took.items():
        print(f"{runtime}: {np.median(milliseconds):.1f} ms (median of 50; one image with all maps, one thread)")


if __name__ == "__main__":
    main()

"""Model files for the tests: random weights, in float32 and in int8, calibrated, with operating points."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from runs_to_export import FINDINGS, METADATA, write_fits

from cxr_kd.device import known_answer
from cxr_kd.device.export import export
from cxr_kd.device.onnx_file import KEY, sealed
from cxr_kd.device.stored_weights import in_int8
from cxr_kd.models import weights
from cxr_kd.models.build import build
from cxr_kd.phantoms.draw import draw
from cxr_kd.study.data_settings import PhantomSettings

SIZE = 224  # px of the images
BRIGHT = 190  # mean grey from which on the made output `distance` is above 1


def write_models(folder: Path) -> None:
    """Write model.onnx, and int8.onnx: the same with weights of 8 bits and with the output `distance`."""
    run = folder / "run"
    run.mkdir(exist_ok=True)
    write_run(run)
    write_fits(run)
    export(run, folder / "model.onnx", overwrite=True)
    model = onnx.load(folder / "model.onnx")
    kept = [entry for entry in model.metadata_props if entry.key == KEY]
    del model.metadata_props[:]  # the seal of the other file
    model = in_int8(model)
    add_distance(model.graph)
    told = json.loads(kept[0].value)
    told["known_answer"]["logits"] = logits(model.SerializeToString(), [known_answer.image(SIZE)])[0]
    told["precision"] = "int8_weights"
    helper.set_model_props(model, {KEY: json.dumps(told)})
    (folder / "int8.onnx").write_bytes(sealed(model.SerializeToString()))


def write_run(folder: Path) -> None:
    """Write a run with random weights whose logits differ from image to image by about 1, as a trained network's do."""
    phantoms = [draw(PhantomSettings(images=20, size=SIZE), index).image for index in range(8)]
    images = torch.from_numpy(np.stack(phantoms))[:, None]
    torch.manual_seed(0)
    model = build("eeea_net_c2", FINDINGS, image_size=SIZE)
    last = model.head.output
    with torch.no_grad():
        model.train()
        for _ in range(5):
            model(images)  # running statistics of the batch norms
        found = model.eval()(images)
        scale = 1 / found.std(dim=0)
        last.weight.mul_(scale[:, None])
        last.bias.sub_(found.mean(dim=0)).mul_(scale)
    weights.save(model, folder / "model.safetensors", METADATA)


def add_distance(graph: onnx.GraphProto) -> None:
    """Add the output `distance`: here the mean grey of an image in units of BRIGHT."""
    axes, limit = np.array([1, 2, 3], np.int64), np.array(BRIGHT, np.float32)
    graph.initializer.extend([numpy_helper.from_array(axes, "axes"), numpy_helper.from_array(limit, "limit")])
    graph.node.extend(
        [
            helper.make_node("Cast", ["image"], ["greys"], to=onnx.TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["greys", "axes"], ["mean grey"], keepdims=0),
            helper.make_node("Div", ["mean grey", "limit"], ["distance"]),
        ]
    )
    graph.output.append(helper.make_tensor_value_info("distance", onnx.TensorProto.FLOAT, ["batch"]))


def logits(model: bytes, images: Sequence[np.ndarray]) -> list[list[float]]:
    """Return what ONNX Runtime in Python says of each image, uint8 (S, S)."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], {"image": np.stack(images)[:, None]})
    return found.tolist()

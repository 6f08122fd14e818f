"""An exported model that computes its convolutions in 8 bits, by the tools of ONNX Runtime.

Which settings keep a network's answers differs from network to network, so `smaller` measures them.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    create_calibrator,
    quantize_static,
    save_tensors_data,
)

from cxr_kd.device.runtimes import INPUT
from cxr_kd.device.stored_weights import in_int8, needed_by
from cxr_kd.study.settings import Int8, LayerGroup, Ranges, Scales

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
LAYERS = ("Conv",)  # nearly all the arithmetic; of other layers, only the weights are stored in 8 bits
AT_ONCE = 4  # images whose activations are in memory together


@dataclass(frozen=True)
class Way:
    """One way to compute in 8 bits; see `study.settings.Int8`."""

    scales: Scales
    ranges: Ranges
    kept: tuple[LayerGroup, ...] = ()

    def __str__(self) -> str:
        kept = f", {' and '.join(self.kept)} in float32" if self.kept else ""
        return f"per {self.scales}, {self.ranges}{kept}"


def ways(settings: Int8) -> list[Way]:
    """Return the ways of a study's settings."""
    return [Way(*each) for each in product(settings.scales, settings.ranges, settings.kept)]


class Quantiser:
    """Makes int8 models of one exported model; each method measures the ranges of activations once."""

    def __init__(self, model: onnx.ModelProto, images: np.ndarray, folder: Path) -> None:
        """`images`: calibration images, uint8 (N, S, S). `folder`: an empty one, for files between the steps."""
        self.folder, self.images = folder, images
        self.file = folder / "float32.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model), self.file)
        self.layers, self.groups = convolutions(model.graph), layer_groups(model.graph)

    def quantised(self, way: Way) -> onnx.ModelProto:
        """Return the model with 8-bit arithmetic, as QuantizeLinear and DequantizeLinear nodes around its layers."""
        out = self.folder / "int8.onnx"
        kept = set().union(*(self.groups[group] for group in way.kept))
        with _silent():
            quantize_static(
                self.file,
                out,
                op_types_to_quantize=list(LAYERS),
                per_channel=way.scales == "channel",
                # 7-bit weights: a processor without VNNI adds two products of 8-bit numbers in 16 bits, which are too
                # few for their largest sums. The file must give the same answers there.
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=[node.name for node in self.layers if node.name not in kept],
                calibrate_method=METHODS[way.ranges],
                calibration_cache_path=self._ranges(way.ranges),
            )
        return in_int8(onnx.load(out))

    def _ranges(self, method: Ranges) -> Path:
        cache = self.folder / f"{method}.json"
        if not cache.exists():
            calibrator = create_calibrator(
                self.file,
                LAYERS,
                str(self.folder / "outputs.onnx"),
                METHODS[method],
                providers=["CPUExecutionProvider"],
            )
            for start in range(0, len(self.images), AT_ONCE):
                calibrator.collect_data(_Images(self.images[start : start + AT_ONCE]))
            with _silent():
                save_tensors_data(calibrator.compute_data(), cache)
        return cache


class _Images(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: np.ndarray) -> None:
        self.batches = iter([{INPUT: images[:, None]}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.batches, None)


def convolutions(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the convolutions that the logits depend on, in the order in which they run."""
    needed = needed_by(graph, "logits")
    return [node for node in graph.node if node.op_type in LAYERS and needed.issuperset(node.output)]


def layer_groups(graph: onnx.GraphProto) -> dict[LayerGroup, set[str]]:
    """Return the names of the convolutions in each group that can go on computing in float32."""
    layers = convolutions(graph)
    if not layers:
        return {group: set() for group in get_args(LayerGroup)}
    pooled = _pooled(graph)
    before_hard_swish = {name for node in graph.node if node.op_type == "HardSwish" for name in node.input}
    return {
        "first": {layers[0].name},
        "last": {layers[-1].name},
        "squeeze_excite": {node.name for node in layers if node.input[0] in pooled},
        "depthwise": {node.name for node in layers if _groups(node) > 1},
        "hard_swish": {node.name for node in layers if node.output[0] in before_hard_swish},
    }


def _pooled(graph: onnx.GraphProto) -> set[str]:
    """Return the values that follow from means over an image: those between a pooling and its gate."""
    constants = {tensor.name for tensor in graph.initializer}
    pooled: set[str] = set()
    for node in graph.node:
        inputs = [name for name in node.input if name and name not in constants]
        if node.op_type in ("ReduceMean", "GlobalAveragePool") or (inputs and pooled.issuperset(inputs)):
            pooled.update(node.output)
    return pooled


def _groups(node: onnx.NodeProto) -> int:
    return next((each.i for each in node.attribute if each.name == "group"), 1)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """ONNX Runtime's tools print, and warn of a preparation that the exporter has done already."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)

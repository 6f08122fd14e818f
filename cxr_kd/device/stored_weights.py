"""Weights stored in 16 or 8 bits, and computed with in float32: a smaller file that is neither faster nor slower.

The stored weights are constants, which a runtime turns into float32 once, when it loads the model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import helper, numpy_helper

SMALLEST = 1024  # numbers of a tensor that is worth it; the others (biases, small layers) stay as they are
LEVELS = 127  # of an 8-bit weight, on each side of 0

Stored = tuple[list[onnx.TensorProto], list[onnx.NodeProto]]


def in_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a float32 model whose large weights are stored in half precision."""
    return _with_stored(model, _halves)


def in_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a float32 model whose large weights are 8-bit numbers times a scale of their output channel."""
    return _with_stored(model, _bytes)


def needed_by(graph: onnx.GraphProto, *outputs: str) -> set[str]:
    """Return the names of all values that these outputs depend on."""
    needed = set(outputs)
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
    return needed


def _with_stored(model: onnx.ModelProto, store: Callable[[str, np.ndarray], Stored]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    needed = needed_by(graph, "logits", "maps")
    made: list[onnx.NodeProto] = []
    for tensor in [each for each in graph.initializer if each.name in needed and _is_large(each)]:
        tensors, nodes = store(tensor.name, numpy_helper.to_array(tensor))
        graph.initializer.remove(tensor)
        graph.initializer.extend(tensors)
        made += nodes
    before = list(graph.node)
    del graph.node[:]
    graph.node.extend([*made, *before])  # a node stands after those whose outputs it uses
    return copy


def _is_large(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1 and np.prod(tensor.dims) >= SMALLEST


def _halves(name: str, weights: np.ndarray) -> Stored:
    stored = numpy_helper.from_array(weights.astype(np.float16), f"{name}.float16")
    return [stored], [helper.make_node("Cast", [stored.name], [name], to=onnx.TensorProto.FLOAT)]


def _bytes(name: str, weights: np.ndarray) -> Stored:
    largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
    scale = np.where(largest > 0, largest / LEVELS, 1).astype(np.float32)
    stored = numpy_helper.from_array(np.rint(weights / scale).astype(np.int8), f"{name}.int8")
    scales = numpy_helper.from_array(scale, f"{name}.scale")
    wide = f"{name}.wide"
    return [stored, scales], [
        helper.make_node("Cast", [stored.name], [wide], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [wide, scales.name], [name]),
    ]

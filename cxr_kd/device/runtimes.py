"""The runtimes that an exported model is run with: ONNX Runtime, the reference, and OpenVINO. Each on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np

from cxr_kd.errors import ModelError

Runtime = Literal["onnxruntime", "openvino"]
INPUT = "image"


@dataclass(frozen=True)
class Loaded:
    """A model in a runtime. run: uint8 (N, 1, S, S) -> output name -> float32 array. metadata: entries of the file."""

    runtime: str
    metadata: dict[str, str]
    run: Callable[[np.ndarray], dict[str, np.ndarray]]


def load(runtime: Runtime, content: bytes, path: Path, threads: int) -> Loaded:
    """Return an ONNX model in a runtime, with so many threads (0: all cores); `path` names it in errors.

    Raises ModelError if the runtime is not installed or cannot load the model.
    """
    start = {"onnxruntime": _in_onnx_runtime, "openvino": _in_openvino}[runtime]
    try:
        return start(content, threads)
    except ImportError as error:
        raise ModelError(f"{runtime} is not installed: pip install 'cxr-kd[predict]' {runtime}") from error
    except Exception as error:  # the runtimes' errors have no common class but this
        told = " ".join(str(error).split())
        raise ModelError(f"{path}: {runtime} cannot load it ({told[:200]})") from error


def _in_onnx_runtime(content: bytes, threads: int) -> Loaded:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(None, {INPUT: images}), strict=True))

    metadata = session.get_modelmeta().custom_metadata_map
    return Loaded(f"ONNX Runtime {onnxruntime.__version__}", metadata, run)


def _in_openvino(content: bytes, threads: int) -> Loaded:
    import onnx
    import openvino

    core = openvino.Core()
    # Its default precision is bfloat16 where the processor has it, which moves logits by some hundredths.
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
    request = core.compile_model(core.read_model(BytesIO(content)), "CPU", settings).create_infer_request()

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        found = request.infer({INPUT: images})
        return {output.get_any_name(): np.array(values) for output, values in found.items()}

    metadata = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    return Loaded(f"OpenVINO {openvino.__version__.split('-')[0]}", metadata, run)

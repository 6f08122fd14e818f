"""Count the cost of a network: parameters, multiply-accumulates and file size."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import safetensors.torch
import torch
from torch.utils.flop_counter import FlopCounterMode

from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.info import Cost
from cxr_kd.models.registry import info

_MEBIBYTE = 2**20


def cost_of(name: str, image_size: int = 224) -> Cost:
    """Return the cost with 14 findings at an image size in px, from the registry if it is stored there, else counted.

    Raises ModelError for a size that the network cannot take.
    """
    return info(name).known_cost(image_size) or count_cost(name, image_size=image_size)


@lru_cache(maxsize=64)
def count_cost(name: str, *, findings: int = 14, image_size: int = 224) -> Cost:
    """Count the cost of a network without making its weights. Raises ModelError for a size that it cannot take."""
    return _count(_without_memory(name, tuple(f"finding {i}" for i in range(findings)), image_size))


def parameters(model: torch.nn.Module) -> int:
    """Return the number of trainable and frozen parameters; running statistics are not parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def macs(model: CxrClassifier, image_size: int | None = None) -> int:
    """Return the multiply-accumulates for one image: those of convolutions, linear layers and attention.

    Element-wise work (norms, activations) is left out, as in papers that call this figure "FLOPs".
    """
    return _count(_without_memory(model.name, model.findings, image_size or model.image_size)).macs


def file_size_mb(model_or_path: CxrClassifier | Path | str) -> float:
    """Return the size of a weights file, or of the file that a model would make, in MB of 2**20 bytes (as the paper).

    The file that a model would make is counted without its metadata.
    """
    if isinstance(model_or_path, CxrClassifier):
        state = {key: value.contiguous() for key, value in model_or_path.state_dict().items()}
        return len(safetensors.torch.save(state)) / _MEBIBYTE
    return Path(model_or_path).stat().st_size / _MEBIBYTE


def _without_memory(name: str, findings: tuple[str, ...], image_size: int) -> CxrClassifier:
    with torch.device("meta"):
        return build(name, findings, image_size=image_size).eval()


def _count(model: CxrClassifier) -> Cost:
    image = torch.empty(1, 1, model.image_size, model.image_size, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features = model.features(image)
        model.head(model.pool(features))
    height, width = features.shape[-2:]
    return Cost(parameters(model), counter.get_total_flops() // 2, (height, width), model.image_size)

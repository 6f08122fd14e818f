"""Find published ImageNet weights in the weights folder, and say which file is missing.

Importing this module does not load torch, so that a study is checked at once, before anything is trained.
"""

from __future__ import annotations

import os
from pathlib import Path

from cxr_kd.errors import ModelError
from cxr_kd.models.registry import info


def weights_folder() -> Path:
    """Return the folder of published weights: the variable CXR_KD_WEIGHTS, or `weights/` in the project."""
    if os.environ.get("CXR_KD_WEIGHTS"):
        return Path(os.environ["CXR_KD_WEIGHTS"])
    project = Path(__file__).resolve().parents[2]
    return (project if (project / "pyproject.toml").is_file() else Path.cwd()) / "weights"


def imagenet_file(name: str) -> Path | None:
    """Return the file of a network's ImageNet weights (NAME.safetensors, .pt or .pth), or None if there is none."""
    places = [weights_folder() / f"{name}{suffix}" for suffix in (".safetensors", ".pt", ".pth")]
    return next((place for place in places if place.is_file()), None)


def imagenet_advice(name: str) -> str:
    """Return the advice which file to put where."""
    file = info(name).weights_file or "your own file (no weights are published)"
    where = f"put {file} at {weights_folder() / name} with its own suffix (.pt or .safetensors)"
    return f"{where}, or name another folder in CXR_KD_WEIGHTS"


def check_imagenet(name: str) -> None:
    """Raise ModelError if a network's ImageNet weights are neither in the weights folder nor on a hub."""
    network = info(name)
    if (network.library == "ours" or not network.weights_file) and imagenet_file(name) is None:
        raise ModelError(f"the ImageNet weights of {name} are on no hub: {imagenet_advice(name)}")

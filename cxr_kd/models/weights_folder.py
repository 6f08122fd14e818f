"""The folder of published weights. Importing this module loads no torch, so that a study can be checked at once."""

from __future__ import annotations

import os
from pathlib import Path

from cxr_kd.errors import ModelError
from cxr_kd.models.registry import info


def weights_folder() -> Path:
    """Give the folder that published weights are looked for in: CXR_KD_WEIGHTS, or `weights/` in the project."""
    if os.environ.get("CXR_KD_WEIGHTS"):
        return Path(os.environ["CXR_KD_WEIGHTS"])
    project = Path(__file__).resolve().parents[2]
    return (project if (project / "pyproject.toml").is_file() else Path.cwd()) / "weights"


def imagenet_file(name: str) -> Path | None:
    """The file of a network's ImageNet weights in the weights folder (NAME.safetensors, .pt or .pth), or None."""
    places = [weights_folder() / f"{name}{suffix}" for suffix in (".safetensors", ".pt", ".pth")]
    return next((place for place in places if place.is_file()), None)


def imagenet_advice(name: str) -> str:
    """Say which file to put where."""
    file = info(name).weights_file or "a file of your own, for nobody published any,"
    where = f"put {file} at {weights_folder() / name} with its own suffix (.pt or .safetensors)"
    return f"{where}, or name another folder in CXR_KD_WEIGHTS"


def check_imagenet(name: str) -> None:
    """Raise ModelError where a network's ImageNet weights can't be had: in no file, and on no hub."""
    network = info(name)
    if (network.library == "ours" or not network.weights_file) and imagenet_file(name) is None:
        raise ModelError(f"the ImageNet weights of {name} are on no hub: {imagenet_advice(name)}")

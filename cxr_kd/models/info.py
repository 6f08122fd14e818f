"""What is known of a network before it is built, and the error of everything that can't serve.

Importing this module loads no torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cxr_kd.errors import ModelError

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


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

    `published` holds figures as printed by `published_source` (parameters, macs at 224 px, file_size_mb), none for a
    network that the registry does not list; `counted` is ours, with 14 findings at 224 px, None where it is counted
    when asked for. `size_step`: image sizes are multiples of it. `weights_file`: what holds its ImageNet weights, by
    the name that its publisher gave it; empty where nobody published any.
    """

    name: str
    title: str
    kind: Literal["CNN", "transformer"]
    source: str
    library: Literal["timm", "ours"]
    library_name: str
    published: Mapping[str, float]
    published_source: str
    counted: Cost | None
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
        smallest = -(-self.smallest_size // self.size_step) * self.size_step
        below = max(image_size // self.size_step * self.size_step, smallest)
        nearest = " or ".join(str(size) for size in dict.fromkeys((below, below + self.size_step)))
        raise ModelError(
            f"{self.name} can't take images of {image_size} px: allowed is {self.sizes()}; the nearest: {nearest}"
        )

    def known_cost(self, image_size: int = 224) -> Cost | None:
        """Return the cost with 14 findings at an image size in px if it is stored, else None."""
        return self.counted if self.counted and self.counted.image_size == image_size else None

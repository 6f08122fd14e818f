"""What is known of a network before it is built: its name, source, cost, image sizes and preprocessing.

Importing this module does not load torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cxr_kd.errors import ModelError

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# Of any network, in px. Radiographs have up to about 4,000 px per side, and at this size one network already needs
# gigabytes; a larger number is a mistake, or a damaged file's.
LARGEST_SIZE = 4096


@dataclass(frozen=True)
class Cost:
    """What a network costs at `image_size` px: parameters, multiply-accumulates for one image.

    `cam_grid` is the (height, width) of its maps in cells at that size.
    """

    parameters: int
    macs: int
    cam_grid: tuple[int, int]
    image_size: int = 224


@dataclass(frozen=True)
class NetworkInfo:
    """What is known of a network before it is built.

    `published` holds figures as printed by `published_source` (parameters, macs at 224 px, file_size_mb); it is empty
    for a network that the registry does not list. `counted` is our own count, with 14 findings at 224 px; None if it is
    counted only when asked for. `size_step`: image sizes are multiples of it. `weights_file`: the file of its ImageNet
    weights, by the name that its publisher gave it; empty if nobody published any. `mean`, `std`: the statistics that
    images in [0, 1] are normalised with, per colour channel.
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
        """Return in words which image sizes are allowed."""
        multiples = f", multiples of {self.size_step}" if self.size_step > 1 else ""
        return f"{self.smallest_size} to {LARGEST_SIZE} px{multiples}"

    def check_size(self, image_size: int) -> None:
        """Raise ModelError naming the allowed sizes unless the network can be built for `image_size` px."""
        if self.smallest_size <= image_size <= LARGEST_SIZE and image_size % self.size_step == 0:
            return
        step = self.size_step
        smallest, largest = -(-self.smallest_size // step) * step, LARGEST_SIZE // step * step
        below = min(max(image_size // step * step, smallest), largest)
        nearest = " or ".join(str(size) for size in sorted({below, min(below + step, largest)}))
        raise ModelError(
            f"{self.name} cannot take images of {image_size} px: allowed are {self.sizes()}; the nearest: {nearest}"
        )

    def known_cost(self, image_size: int = 224) -> Cost | None:
        """Return the cost with 14 findings at an image size in px if it is stored, else None."""
        return self.counted if self.counted and self.counted.image_size == image_size else None

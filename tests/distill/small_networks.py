"""Networks of a few hundred weights, and images for them."""

import torch
from torch import nn

from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.heads import HardswishHead, LinearHead

FINDINGS = ("Mass", "Nodule", "Edema")


def small_network(seed: int, *, channels: int = 6, stride: int = 2, linear: bool = True) -> CxrClassifier:
    """Return a classifier of 16 x 16 px images whose last feature map has 16 / stride cells per side."""
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, channels, 5, stride=stride, padding=2), nn.Tanh())
    head = LinearHead(channels, 3) if linear else HardswishHead(channels, 8, 3)
    for parameter in head.parameters():
        nn.init.normal_(parameter)
    return CxrClassifier("small", FINDINGS, 16, backbone, head, mean=(0.5,) * 3, std=(0.25,) * 3)


def radiographs() -> torch.Tensor:
    """Return 8 images of noise, float32 (8, 1, 16, 16) in [0, 1]."""
    return torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))

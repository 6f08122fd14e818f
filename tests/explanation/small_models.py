"""Small untrained networks whose features and logits are as large as a trained network's."""

import numpy as np
import torch
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier

FINDINGS = ("Mass", "Edema")
SIZE = 64
TIMM = (
    "resnet18",
    "mobilenetv3_small_100",
    "convnext_atto",
    "efficientnet_b0",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
)


def radiographs(batch: int = 2, size: int = SIZE) -> torch.Tensor:
    return torch.rand(batch, 1, size, size, generator=torch.Generator().manual_seed(0))


def scaled_model(name: str) -> CxrClassifier:
    """With features of an untrained network (1e-4), the constants that pytorch-grad-cam adds would matter."""
    torch.manual_seed(0)
    model = build(name, FINDINGS, image_size=SIZE)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model.train()(radiographs(4))  # the norms take this batch's statistics
    nn.init.normal_(model.head.output.weight)
    return model.eval()


def raw_maps(cam: BaseCAM, inputs: torch.Tensor) -> np.ndarray:
    """The library's maps (B, L, h, w) before it cuts negative values off, stretches and enlarges them."""
    found = []
    inner = cam.get_cam_image
    cam.get_cam_image = lambda *given: found.append(inner(*given)) or found[-1]
    with cam:
        for position in range(len(FINDINGS)):
            cam(inputs, [ClassifierOutputTarget(position)] * len(inputs))
    cam.model.zero_grad()  # the library leaves gradients
    del cam.get_cam_image
    return np.stack(found, axis=1)

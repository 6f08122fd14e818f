"""Files as torchxrayvision writes them, of a DenseNet-121 that is written here, so that the package is not needed."""

import re
import sys
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from torch import nn

MODULE = "torchxrayvision.models"
OUTPUTS = 18


class _DenseLayer(nn.Sequential):
    def forward(self, x):
        return torch.cat([x, super().forward(x)], 1)


class _DenseBlock(nn.Sequential):
    pass


class _Transition(nn.Sequential):
    pass


class DenseNet(nn.Module):
    """One input channel with values from -1024 to 1024; 18 logits."""

    def __init__(self, outputs: int = OUTPUTS, channels: int = 1) -> None:
        super().__init__()
        layers = OrderedDict(
            conv0=nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(64),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        width = 64
        for number, count in enumerate((6, 12, 24, 16), 1):
            names = [f"denselayer{i + 1}" for i in range(count)]
            layers[f"denseblock{number}"] = _DenseBlock(
                OrderedDict((name, _dense_layer(width + 32 * i)) for i, name in enumerate(names))
            )
            width += 32 * count
            if number < 4:
                layers[f"transition{number}"] = _transition(width)
                width //= 2
        self.features = nn.Sequential(OrderedDict(layers, norm5=nn.BatchNorm2d(width)))
        self.classifier = nn.Linear(width, outputs)

    def forward(self, x):
        return self.classifier(torch.relu(self.features(x)).mean(dim=(2, 3)))


for _class in (_DenseLayer, _DenseBlock, _Transition, DenseNet):
    _class.__module__ = MODULE


def random_densenet(seed: int = 0, **sizes: int) -> DenseNet:
    """Return a network with random weights, and with the batch norms' statistics of noise of its input range."""
    torch.manual_seed(seed)
    model = DenseNet(**sizes).train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    model((2 * torch.rand(8, model.features.conv0.in_channels, 32, 32) - 1) * 1024)
    nn.init.normal_(model.classifier.weight, std=0.1)
    nn.init.normal_(model.classifier.bias)  # none is exactly zero
    return model.eval()


def small_module(**attributes: object) -> nn.Module:
    """Return a module with two outputs that is no DenseNet, for tests of how files are read."""
    model = nn.Sequential(OrderedDict(features=nn.Sequential(nn.ReLU()), classifier=nn.Linear(4, 2)))
    vars(model).update(attributes)
    return model


@contextmanager
def the_package():
    """Let Python find the classes of this file where torchxrayvision has them, as pickling them needs."""
    module = ModuleType(MODULE)
    module.__file__ = __file__  # torch before 1.6 stored the source code of each class
    for each in (_DenseLayer, _DenseBlock, _Transition, DenseNet):
        setattr(module, each.__name__, each)
    with patch.dict(sys.modules, {MODULE: module, MODULE.partition(".")[0]: ModuleType("torchxrayvision")}):
        yield


def save_module(model: nn.Module, path: Path, *, legacy: bool = False) -> Path:
    """Write the pickled module as torchxrayvision publishes it; `legacy`: as torch before 1.6, which it used, did."""
    with the_package():
        torch.save(model, path, _use_new_zipfile_serialization=not legacy)
    return path


def old_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state dict with torchvision's names of before 2019: norm.1 for norm1."""
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): value for key, value in state.items()}


def _dense_layer(width: int) -> _DenseLayer:
    return _DenseLayer(
        OrderedDict(
            norm1=nn.BatchNorm2d(width),
            relu1=nn.ReLU(inplace=False),
            conv1=nn.Conv2d(width, 128, 1, bias=False),
            norm2=nn.BatchNorm2d(128),
            relu2=nn.ReLU(inplace=False),
            conv2=nn.Conv2d(128, 32, 3, padding=1, bias=False),
        )
    )


def _transition(width: int) -> _Transition:
    return _Transition(
        OrderedDict(
            norm=nn.BatchNorm2d(width),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(width, width // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, stride=2),
        )
    )

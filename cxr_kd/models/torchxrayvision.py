"""Load a DenseNet-121 that torchxrayvision published, as a classifier of ours.

Source: Cohen et al., TorchXRayVision, MIDL 2022, arXiv 2111.00595. Its files `*-densenet121-*.pt` are pickled modules;
a state dict of the same network is taken too. The package itself is not needed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.pickled_module import Stored, read_module, state_dict
from cxr_kd.models.tensor_files import LIBRARY_ERRORS, read_tensors

NETWORK = "densenet121"
IMAGE_SIZE = 224
# torchxrayvision's `default_pathologies`: the outputs of a file that does not name them, in this order.
PATHOLOGIES = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)
# Its images have values from -1024 to 1024, ours from 0 to 1: (x - 0.5) / (0.5 / 1024) = (2 x - 1) * 1024.
MEAN, STD = (0.5, 0.5, 0.5), (0.5 / 1024, 0.5 / 1024, 0.5 / 1024)
_CLASSES = tuple(f"torchxrayvision.models.{name}" for name in ("DenseNet", "_DenseBlock", "_DenseLayer", "_Transition"))
_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # torchvision's before 2019: norm.1 for norm1


@dataclass(frozen=True)
class Published:
    """What a file holds: tensors by the names of torchxrayvision's DenseNet, and the label of each output.

    A label is "" for an output that was never trained.
    """

    state: Mapping[str, torch.Tensor]
    labels: tuple[str, ...]


def read(path: Path | str) -> Published:
    """Read a file of torchxrayvision; no code in it is ever run.

    Raises ModelError naming the file if it is damaged, or holds anything but such a DenseNet.
    """
    labels = None
    if Path(path).suffix == ".safetensors":
        state = read_tensors(path)
    else:
        content = read_module(path, _CLASSES)
        if isinstance(content, Stored):
            labels = content.labels("pathologies") or content.labels("targets")
        state = _tensors_of(content, path)
    state = {_OLD_NAME.sub(r"\1\2", key): value for key, value in state.items() if key != "op_threshs"}
    try:
        return Published(state, _trained_labels(state, labels))
    except LIBRARY_ERRORS as error:
        raise ModelError(f"{path}: {error}") from error


def load(path: Path | str, outputs: Mapping[str, str], *, image_size: int = IMAGE_SIZE) -> CxrClassifier:
    """Return the network in a file, in eval mode, with one logit per finding: our name -> the file's label for it.

    Its logits are those of torchxrayvision before the sigmoid and the calibration (`op_threshs`). Labels are compared
    as a whole; upper and lower case, and space and underscore, are the same. The file was trained at 224 px.

    Raises:
        ModelError: as `read`; if the file has no trained output with one of the labels; if the tensors are not those
            of a DenseNet-121 with one input channel.
    """
    published = read(path)
    rows = [_row(path, published.labels, label, finding) for finding, label in outputs.items()]
    try:
        state = _in_timms_shape(published.state, rows)
        model = build(NETWORK, tuple(outputs), image_size=image_size)
        from cxr_kd.models.published_weights import load_published  # imports timm

        load_published(model, state, keep_head=True)
    except LIBRARY_ERRORS as error:
        raise ModelError(f"{path}: {error}") from error
    model.set_input_statistics(MEAN, STD)
    return model.eval()


def same_label(first: str, second: str) -> bool:
    """Return whether two labels are the same but for case, and for underscores instead of spaces."""
    return _plain(first) == _plain(second)


def _plain(label: str) -> str:
    return " ".join(label.replace("_", " ").casefold().split())


def _tensors_of(content: object, path: Path | str) -> dict[str, torch.Tensor]:
    """Return the state dict of a module, or the dict of tensors itself, also inside "state_dict" or "model"."""
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), (dict, Stored)):
            content = content[wrapper]
    if isinstance(content, Stored):
        try:
            content = state_dict(content)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
    if not isinstance(content, dict) or not content:
        raise ModelError(f"{path} holds no network, but {type(content).__name__}: is it a file of torchxrayvision?")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise ModelError(f"{path}: entry {str(key)[:80]!r} is no named tensor but {type(value).__name__}")
    return {key.removeprefix("module."): value for key, value in content.items()}


def _trained_labels(state: Mapping[str, torch.Tensor], labels: Sequence[str] | None) -> tuple[str, ...]:
    """Return the label of each output, "" where it was never trained."""
    bias = state.get("classifier.bias")
    if bias is None or bias.ndim != 1:
        raise ModelError("it has no 'classifier.bias' with one value per finding: is it a file of torchxrayvision?")
    names = PATHOLOGIES if labels is None else labels
    if len(names) != len(bias):
        raise ModelError(
            f"it has {len(bias)} outputs and names {len(names)} of them ({', '.join(names)}): which finding is which "
            f"cannot be told"
        )
    # Biases start at zero, and an output without labels gets no gradient. The published files for one data set have
    # all 18 outputs, and do not say that some were not trained.
    return tuple(name if value != 0 else "" for name, value in zip(names, bias.tolist(), strict=True))


def _row(path: Path | str, labels: Sequence[str], wanted: str, finding: str) -> int:
    for row, label in enumerate(labels):
        if label and same_label(label, wanted):
            return row
    raise ModelError(
        f"{path} has no trained output for {finding!r}{'' if finding == wanted else f' ({wanted!r})'}. Its outputs: "
        f"{', '.join(filter(None, labels)) or 'none is trained'}. Name findings of this list, or leave the others out"
    )


def _in_timms_shape(state: Mapping[str, torch.Tensor], rows: Sequence[int]) -> dict[str, torch.Tensor]:
    """Return the tensors with three input channels, of which only the first counts, and the wanted outputs."""
    first, weight = state.get("features.conv0.weight"), state.get("classifier.weight")
    if first is None or first.ndim != 4 or first.shape[1] != 1:
        raise ModelError("it has no 'features.conv0.weight' with one input channel: is it a file of torchxrayvision?")
    if weight is None or len(weight) != len(state["classifier.bias"]):
        raise ModelError("its 'classifier.weight' does not have one row per finding: is it a file of torchxrayvision?")
    return {
        **state,
        "features.conv0.weight": F.pad(first, (0, 0, 0, 0, 0, 2)),
        "classifier.weight": weight[list(rows)],
        "classifier.bias": state["classifier.bias"][list(rows)],
    }

"""Weights in and out: our own files (safetensors with a card), and the ImageNet weights that others published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch

from cxr_kd.errors import ModelError
from cxr_kd.files import written_whole
from cxr_kd.models.build import build
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.registry import info

# One key: safetensors writes several in no fixed order, and equal weights should make equal files.
_CARD_KEY = "cxr_kd"
_OWN_FIELDS = ("network", "findings", "image_size", "mean", "std")


def save(model: CxrClassifier, path: Path | str, metadata: Mapping[str, Any]) -> None:
    """Write a model's weights and its card, whole: network, findings, image size, preprocessing, and `metadata`.

    `metadata` (study, split name and hash, seed, ...) holds what JSON can; raises ModelError for a reserved field.
    """
    taken = sorted(set(metadata) & set(_OWN_FIELDS))
    if taken:
        raise ModelError(f"metadata may not set {', '.join(taken)}: the model itself says that")
    card = {**metadata, **_own_fields(model)}
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    with written_whole(Path(path)) as temporary:
        safetensors.torch.save_file(state, temporary, metadata={_CARD_KEY: json.dumps(card, sort_keys=True)})


def load(path: Path | str) -> CxrClassifier:
    """Rebuild a classifier from a file of `save` alone, in eval mode on the CPU; raises ModelError naming the fault."""
    card = read_metadata(path)
    model = build(card["network"], card["findings"], image_size=card["image_size"])
    _load_own(model, path)
    return model.eval()


def load_into(model: CxrClassifier, path: Path | str) -> None:
    """Load a file of `save` into a model of the same network and findings; raises ModelError where they differ."""
    card = read_metadata(path)
    if card["network"] != model.name:
        raise ModelError(f"{path} holds {card['network']}, not {model.name}")
    if tuple(card["findings"]) != model.findings:
        raise ModelError(f"{path} was trained for the findings {card['findings']}, this model has {model.findings}")
    _load_own(model, path)


def read_metadata(path: Path | str) -> dict[str, Any]:
    """Read the card of a file of `save` without its weights; raises ModelError for a file that has none."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            found = file.metadata() or {}
    except FileNotFoundError as error:
        raise ModelError(f"no weights file at {path}") from error
    except safetensors.SafetensorError as error:
        raise ModelError(f"{path} is not a whole safetensors file ({error})") from error
    card = json.loads(found.get(_CARD_KEY, "{}"))
    missing = [field for field in _OWN_FIELDS if field not in card]
    if missing:
        raise ModelError(f"{path} has no card that names its {missing[0]}: it was not written by cxr_kd")
    return card


def _own_fields(model: CxrClassifier) -> dict[str, Any]:
    network = info(model.name)
    return {
        "network": model.name,
        "findings": list(model.findings),
        "image_size": model.image_size,
        "mean": list(network.mean),
        "std": list(network.std),
    }


def _load_own(model: CxrClassifier, path: Path | str) -> None:
    state = safetensors.torch.load_file(path)
    for key, value in model.state_dict().items():
        if key not in state:
            raise ModelError(f"{path} has no {key!r}: it was written by another version of {model.name}")
        if state[key].shape != value.shape:
            raise ModelError(
                f"{path}: {key!r} has shape {tuple(state[key].shape)} where {tuple(value.shape)} belongs; "
                f"it was trained at {read_metadata(path)['image_size']} px, this model is for {model.image_size} px"
            )
    unknown = sorted(set(state) - set(model.state_dict()))
    if unknown:
        raise ModelError(f"{path} has {unknown[0]!r}, which {model.name} lacks: it is another version's")
    model.load_state_dict(state)

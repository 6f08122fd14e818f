"""Weights files of this project: safetensors with metadata that is enough to rebuild the network."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxr_kd.errors import ModelError
from cxr_kd.files import written_whole
from cxr_kd.models.build import build, check_findings
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.registry import info
from cxr_kd.models.tensor_files import check_is_file, check_values, read_tensors

# One key: safetensors writes several in no fixed order, and equal weights should make equal files.
_KEY = "cxr_kd"
_TRAIN_AGAIN = "remove it and train the network again, or restore the file"
_Statistics = tuple[float, float, float]


class _Metadata(BaseModel):
    """The metadata that `save` adds to the caller's. `sha256` covers the tensors and all other metadata."""

    model_config = ConfigDict(strict=True, extra="allow")

    network: str
    findings: list[str] = Field(min_length=1)
    image_size: int
    mean: _Statistics = Field(strict=False)  # JSON has lists
    std: _Statistics = Field(strict=False)
    start: str
    sha256: str


def save(model: CxrClassifier, path: Path | str, metadata: Mapping[str, Any]) -> None:
    """Write a model's weights with its network, findings, image size, preprocessing, and `metadata`.

    `metadata` (study, split name and hash, seed, ...) holds what JSON can hold. The file is written whole or not at
    all. Raises ModelError for a field that the model itself sets, and StorageError if the disk refuses the file.
    """
    if taken := sorted(set(metadata) & set(_Metadata.model_fields)):
        raise ModelError(f"metadata may not set {', '.join(taken)}: the model itself says that")
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    content = json.loads(json.dumps({**metadata, **_fields_of(model)}))  # as it is read, for the same SHA-256
    text = json.dumps({**content, "sha256": _sha256(state, content)}, sort_keys=True)
    with written_whole(Path(path)) as temporary:
        # Not save_file, whose error for a full disk is no OSError.
        temporary.write_bytes(safetensors.torch.save(state, metadata={_KEY: text}))


def load(path: Path | str) -> CxrClassifier:
    """Rebuild a classifier from a file of `save` alone, in eval mode on the CPU.

    Raises ModelError with the file's name if it is damaged, was changed after it was written, holds values that are
    not finite, or does not fit the network that it names.
    """
    metadata, state = _read(path)
    model = build(metadata["network"], metadata["findings"], image_size=metadata["image_size"])
    _load_state(model, state, path, metadata)
    return model.eval()


def load_into(model: CxrClassifier, path: Path | str) -> None:
    """Load a file of `save`, with its input statistics, into a model of the same network and findings.

    Raises ModelError if network or findings differ.
    """
    metadata, state = _read(path)
    if metadata["network"] != model.name:
        raise ModelError(f"{path} holds {metadata['network']}, not {model.name}: give the file of a {model.name}")
    if tuple(metadata["findings"]) != model.findings:
        raise ModelError(
            f"{path} was trained for the findings {metadata['findings']}, this model is for {list(model.findings)}: "
            f"build it for the findings of the file, in their order"
        )
    _load_state(model, state, path, metadata)


def read_metadata(path: Path | str) -> dict[str, Any]:
    """Return the metadata of a file of `save` without reading its tensors.

    Raises ModelError for a file that is damaged or not of `save`, and for a network, findings, image size or
    preprocessing that no network of this version has.
    """
    path = check_is_file(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a whole safetensors file ({error}): {_TRAIN_AGAIN}") from error
    if text is None:
        raise ModelError(f"{path} was not written by cxr_kd: it has no {_KEY!r} in its metadata; {_TRAIN_AGAIN}")
    try:
        content: dict[str, Any] = json.loads(text)
        known = _Metadata.model_validate(content)
        _check(known)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "content"
        raise ModelError(f"{path}: {field} of its metadata: {first['msg']}; {_TRAIN_AGAIN}") from error
    except (ValueError, RecursionError) as error:  # not JSON, or a ModelError
        raise ModelError(f"{path}: its metadata cannot be used ({error}): {_TRAIN_AGAIN}") from error
    return content


def _check(metadata: _Metadata) -> None:
    network = info(metadata.network)
    network.check_size(metadata.image_size)
    check_findings(metadata.network, metadata.findings)
    if not all(map(math.isfinite, (*metadata.mean, *metadata.std))) or min(metadata.std) <= 0:
        raise ModelError(f"no image can be normalised with a mean of {metadata.mean} and an std of {metadata.std}")


def _fields_of(model: CxrClassifier) -> dict[str, Any]:
    return {
        "network": model.name,
        "findings": list(model.findings),
        "image_size": model.image_size,
        "mean": _shortest(model.mean),
        "std": _shortest(model.std),
        "start": model.start,
    }


def _shortest(statistics: torch.Tensor) -> list[float]:
    """Return float32 values as the shortest decimals that read back as the same: 0.485, not 0.48500001."""
    return [float(str(value)) for value in statistics.flatten().cpu().numpy()]


def _sha256(state: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of the tensors' names, types, shapes and bytes, and of the metadata."""
    content = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for key, value in sorted(state.items()):
        content.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        content.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return content.hexdigest()


def _read(path: Path | str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return metadata and tensors. Raises ModelError if they are not those that were written."""
    metadata, state = read_metadata(path), read_tensors(path)
    written = {key: value for key, value in metadata.items() if key != "sha256"}
    if _sha256(state, written) != metadata["sha256"]:
        raise ModelError(f"{path} was changed or damaged after it was written (its SHA-256 differs): {_TRAIN_AGAIN}")
    return metadata, state


def _load_state(
    model: CxrClassifier, state: dict[str, torch.Tensor], path: Path | str, metadata: Mapping[str, Any]
) -> None:
    """Give a model the tensors of a file and what belongs to them; ModelError if they do not fit it."""
    own = model.state_dict()
    for key, value in own.items():
        if key not in state:
            raise ModelError(f"{path} has no {key!r}: it was written by another version of {model.name}")
        if state[key].shape != value.shape:
            raise ModelError(
                f"{path}: {key!r} has shape {tuple(state[key].shape)} where {tuple(value.shape)} belongs; "
                f"it was trained at {metadata['image_size']} px, this model is for {model.image_size} px"
            )
    if unknown := sorted(set(state) - set(own)):
        raise ModelError(f"{path} has {unknown[0]!r}, which {model.name} lacks: it is of another version")
    try:
        check_values(state, own)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    model.load_state_dict(state)
    model.set_input_statistics(metadata["mean"], metadata["std"])
    model.start = metadata["start"]

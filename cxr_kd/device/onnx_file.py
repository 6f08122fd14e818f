"""The file of `cxr-kd export`: an ONNX model with metadata, and a seal that shows whether a byte of it has changed.

A reader needs no ONNX library to check the seal: the file's last bytes are one metadata entry of ONNX, "sha256", with
the SHA-256 of all bytes before it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxr_kd.errors import ModelError
from cxr_kd.study.data_settings import Intensity

if TYPE_CHECKING:
    import onnx

# float16, int8_weights: how weights are stored, and arithmetic is in float32. int8: convolutions compute in 8 bits.
Precision = Literal["float32", "float16", "int8_weights", "int8"]
KEY = "cxr_kd"  # of the metadata entry that holds `Metadata` as JSON
_EXPORT_AGAIN = "export it again with `cxr-kd export`, or copy it again"
# Field 14 of ONNX's ModelProto, metadata_props, in protobuf's encoding: tag, length, then key (field 1) and value (2).
_SEAL = b"\x72\x4a\x0a\x06sha256\x12\x40"
_HEX = 64


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OperatingPoint(_Content):
    """A finding is called present if its logit is at least `logit`; what that reached on the run's validation side."""

    rule: Literal["youden", "sensitivity", "specificity"]
    target: float | None = None
    logit: float
    sensitivity: float
    specificity: float


class Finding(_Content):
    """A finding, with its operating points; intercept + slope * logit is its calibrated logit (None: there is none)."""

    name: str
    intercept: float | None = None
    slope: float | None = None
    operating_points: tuple[OperatingPoint, ...] = ()

    @property
    def calibrated(self) -> bool:
        """Whether the model gives a probability of this finding."""
        return self.intercept is not None


class KnownAnswer(_Content):
    """The logits that the model must give for the image of `known_answer.image`, each to within `tolerance`."""

    logits: tuple[float, ...]
    tolerance: float


class FamiliarTold(_Content):
    """How the output `distance` was fitted: its limit, 1, accepts a share `quantile` of new images of the same source.

    test_refused of test_images radiographs of the study's test side are refused: the false refusals. train_children:
    training images of patients under 18 years; None if no age is known.
    """

    quantile: float
    train_images: int
    train_children: int | None
    validation_images: int
    test_images: int
    test_refused: int


class Metadata(_Content):
    """What a model file says of itself. Everything that a reader needs to decode, to judge and to check is here."""

    format: Literal[1] = 1
    network: str
    run: str
    study: str
    dataset: str
    split: str
    split_sha256: str
    weights_sha256: str
    findings: tuple[Finding, ...] = Field(min_length=1)
    image_size: int = Field(gt=0)
    keep_aspect: bool
    intensity: Intensity
    grid: str
    cells: tuple[int, int]
    precision: Precision = "float32"
    way: str = ""  # how an int8 model was made
    opset: int
    known_answer: KnownAnswer
    familiar: FamiliarTold | None = None
    versions: dict[str, str]
    use: str
    licence: str

    @property
    def names(self) -> tuple[str, ...]:
        """The findings, in the order of the outputs."""
        return tuple(finding.name for finding in self.findings)

    def threshold(self, finding: str, rule: str) -> float | None:
        """Return the logit from which on a finding is called present by a rule, or None if there is no such point."""
        points = self.findings[self.names.index(finding)].operating_points
        return next((point.logit for point in points if point.rule == rule), None)

    @property
    def calibrated(self) -> bool:
        """Whether the model has the output `probabilities`."""
        return any(finding.calibrated for finding in self.findings)


def with_metadata(model: onnx.ModelProto, metadata: Metadata) -> bytes:
    """Return the bytes of an ONNX model, the same for the same model, with this metadata added to it."""
    model.producer_name, model.producer_version = "cxr_kd", metadata.versions["cxr-kd"]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, metadata.model_dump_json()
    return model.SerializeToString(deterministic=True)


def sealed(model: bytes) -> bytes:
    """Return the bytes of an ONNX model with the seal at their end, which other readers of ONNX see as metadata."""
    return model + _SEAL + hashlib.sha256(model).hexdigest().encode()


def read_sealed(path: Path) -> bytes:
    """Return the bytes of a file of `cxr-kd export`, whose seal holds.

    Raises ModelError with the file's name if there is no such file, if it is none of `cxr-kd export` or was cut off,
    and if it was changed.
    """
    if path.is_dir():
        raise ModelError(f"{path} is a folder: name the model file in it")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error
    body, seal, digest = content[: -len(_SEAL) - _HEX], content[-len(_SEAL) - _HEX : -_HEX], content[-_HEX:]
    if seal != _SEAL:
        raise ModelError(f"{path} is no model of `cxr-kd export`, or was cut off: {_EXPORT_AGAIN}")
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ModelError(f"{path} was changed after it was exported (its SHA-256 differs): {_EXPORT_AGAIN}")
    return content


def parse(text: str, path: Path) -> Metadata:
    """Return the metadata in a model file's JSON; ModelError for one of another version of `cxr-kd export`."""
    try:
        return Metadata.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "all of it"
        raise ModelError(
            f"{path}: {field} of its metadata: {first['msg']}; it is of another version: {_EXPORT_AGAIN}"
        ) from error

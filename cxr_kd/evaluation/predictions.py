"""Logits in a file: everything that measures or draws a result reads this file, never a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cxr_kd.errors import PredictionsError
from cxr_kd.files import written_whole

METADATA_KEY = b"cxr_kd.predictions"


class PredictionsMetadata(BaseModel):
    """What a predictions file says of itself: which run of which network, on which side of which split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    dataset: str
    kind: Literal["phantom", "mini", "full", "own"]
    run: str
    network: str
    split: str
    split_sha256: str
    split_sides: Mapping[str, Mapping[str, int]]  # side -> images, patients
    side: Literal["validation", "test"]
    findings: tuple[str, ...] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Labels and logits of one run on one side of a split, one row an image.

    `frame` has the columns image_id, patient_id, `label:FINDING` (1, 0 or NaN: nobody said) and `logit:FINDING`
    (before the sigmoid) for each finding of `metadata.findings`. Raises PredictionsError when it has not.
    """

    frame: pd.DataFrame
    metadata: PredictionsMetadata
    source: str = "these predictions"

    def __post_init__(self) -> None:
        _check(self.frame, self.metadata.findings, self.source)

    @classmethod
    def from_arrays(
        cls,
        image_ids: Sequence[str],
        patient_ids: Sequence[str],
        labels: np.ndarray,
        logits: np.ndarray,
        metadata: PredictionsMetadata,
    ) -> Predictions:
        """Predictions of N images from labels (NaN: nobody said) and logits, (N, L) in `metadata.findings` order."""
        expected = (len(image_ids), len(metadata.findings))
        for name, array in (("labels", labels), ("logits", logits)):
            if array.shape != expected:
                raise PredictionsError(f"{name} have the shape {array.shape}; expected (images, findings) = {expected}")
        columns: dict[str, object] = {"image_id": list(image_ids), "patient_id": list(patient_ids)}
        for name, array in (("label", labels), ("logit", logits)):
            columns |= {f"{name}:{f}": array[:, i].astype(np.float32) for i, f in enumerate(metadata.findings)}
        return cls(pd.DataFrame(columns), metadata)

    @property
    def findings(self) -> tuple[str, ...]:
        """The findings, in the order of the columns of `labels` and `logits`."""
        return self.metadata.findings

    @property
    def labels(self) -> np.ndarray:
        """Labels, (N, L) float32 in {1, 0, NaN}."""
        return self.frame[[f"label:{f}" for f in self.findings]].to_numpy(np.float32)

    @property
    def logits(self) -> np.ndarray:
        """Logits before the sigmoid, (N, L) float32."""
        return self.frame[[f"logit:{f}" for f in self.findings]].to_numpy(np.float32)

    @property
    def patients(self) -> np.ndarray:
        """The patient of each image, (N,) str."""
        return self.frame["patient_id"].to_numpy(dtype=object)

    def write(self, path: Path) -> None:
        """Write one parquet file, whole: a reader sees the old file or the new one, never half of it."""
        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        metadata = (table.schema.metadata or {}) | {METADATA_KEY: self.metadata.model_dump_json().encode()}
        with written_whole(path) as temporary:
            pq.write_table(table.replace_schema_metadata(metadata), temporary, compression="zstd")

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Read a predictions file; PredictionsError names the file and what is wrong with it."""
        if not path.is_file():
            raise PredictionsError(f"{path}: there is no such predictions file; run the step that trains this network")
        try:
            table = pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise PredictionsError(f"{path}: not a readable parquet file ({error}); delete it and run again") from error
        stored = (table.schema.metadata or {}).get(METADATA_KEY)
        if stored is None:
            raise PredictionsError(f"{path}: a parquet file without cxr_kd's metadata: not a predictions file")
        return cls(table.to_pandas(), _read_metadata(stored, path), source=str(path))


def _read_metadata(stored: bytes, path: Path) -> PredictionsMetadata:
    """The metadata of a predictions file; PredictionsError names each key that is missing or wrong."""
    try:
        return PredictionsMetadata.model_validate_json(stored)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'all of it'}: {e['msg']}" for e in error.errors())
        raise PredictionsError(f"{path}: its metadata do not hold what they must ({wrong}); run again") from error


def _check(frame: pd.DataFrame, findings: tuple[str, ...], source: str) -> None:
    """Raise PredictionsError, naming the column and the first bad row, unless the frame keeps the promises."""
    needed = ["image_id", "patient_id", *(f"{part}:{f}" for f in findings for part in ("label", "logit"))]
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise PredictionsError(f"{source}: no column {', '.join(missing)}")
    if frame.empty:
        raise PredictionsError(f"{source}: no row; there is nothing to evaluate")
    for column in ("image_id", "patient_id"):
        wrong = ~frame[column].map(lambda value: isinstance(value, str) and value != "")
        _refuse(frame, wrong.to_numpy(), source, column, "a non-empty text is needed")
    _refuse(frame, frame["image_id"].duplicated().to_numpy(), source, "image_id", "each image must stand there once")
    for finding in findings:
        label, logit = (_numbers(frame, f"{part}:{finding}", source) for part in ("label", "logit"))
        _refuse(frame, ~(np.isnan(label) | np.isin(label, (0, 1))), source, f"label:{finding}", "allowed: 0, 1, NaN")
        _refuse(frame, ~np.isfinite(logit), source, f"logit:{finding}", "a finite number is needed: did training fail?")


def _numbers(frame: pd.DataFrame, column: str, source: str) -> np.ndarray:
    """A column as float64; PredictionsError where it is not numeric."""
    if not pd.api.types.is_numeric_dtype(frame[column]):
        raise PredictionsError(f"{source}: column {column} is {frame[column].dtype}; numbers are needed")
    return frame[column].to_numpy(np.float64)


def _refuse(frame: pd.DataFrame, wrong: np.ndarray, source: str, column: str, needed: str) -> None:
    """Raise PredictionsError for the first row where `wrong` is true."""
    if wrong.any():
        row = int(np.argmax(wrong))
        image, value = frame["image_id"].iloc[row], frame[column].iloc[row]
        raise PredictionsError(f"{source}: row {row} (image {image}), column {column}: found {value!r}; {needed}")

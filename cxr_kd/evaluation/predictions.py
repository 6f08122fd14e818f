"""Predictions files: labels and logits of one run. All evaluation and drawing reads these files, never a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
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
TEXT_ABOUT_IMAGES = ("sex", "view")  # optional columns, "" if unknown
ABOUT_IMAGES = (*TEXT_ABOUT_IMAGES, "age")
SEXES = ("M", "F", "")
OLDEST = 130.0  # years, as in data.table


class PredictionsMetadata(BaseModel):
    """The metadata of a predictions file: which run of which network, on which side of which split."""

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
    """Labels and logits of one run on one side of a split, one row per image.

    `frame` has the columns image_id, patient_id, `label:FINDING` (1, 0, or NaN if unknown) and `logit:FINDING` (before
    the sigmoid) for each finding of `metadata.findings`; and `source`, the source of each image, if the data set has
    sources. Optional columns say who the patient is and how the image was taken: `sex` ("M", "F", or "" if unknown),
    `age` (years, NaN if unknown) and `view` (the view position as the data set calls it, "" if unknown); older files
    lack them. The attribute `source` names the file in errors. Raises PredictionsError, naming the column and the
    first bad row, if the frame differs from this.
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
        image_sources: Sequence[str] | None = None,
        about: Mapping[str, Sequence[str] | Sequence[float]] | None = None,
    ) -> Predictions:
        """Return the predictions of N images from labels (NaN: unknown) and logits, (N, L) in the findings' order.

        `image_sources` (N,) is the source of each image; None if the data set has none. `about` holds the optional
        columns of ABOUT_IMAGES, (N,) each. PredictionsError if an array has another shape.
        """
        expected = (len(image_ids), len(metadata.findings))
        for name, array in (("labels", labels), ("logits", logits)):
            if array.shape != expected:
                raise PredictionsError(f"{name} have the shape {array.shape}; (images, findings) is {expected}")
        columns: dict[str, object] = {"image_id": list(image_ids), "patient_id": list(patient_ids)}
        if image_sources is not None:
            columns["source"] = list(image_sources)
        columns |= _about_images(about or {}, len(image_ids))
        for name, array in (("label", labels), ("logit", logits)):
            columns |= {f"{name}:{f}": _float32(array[:, i]) for i, f in enumerate(metadata.findings)}
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

    @property
    def image_sources(self) -> np.ndarray | None:
        """The source of each image, (N,) str; None if the data set has no sources."""
        return self.about("source")

    def about(self, column: str) -> np.ndarray | None:
        """A column of ABOUT_IMAGES (or `source`), (N,): text as objects, age as float64; None in an older file."""
        if column not in self.frame:
            return None
        return self.frame[column].to_numpy(dtype=np.float64 if column == "age" else object)

    def within(self, image_source: str) -> Predictions:
        """Return the predictions of the images of one source, always the same object; PredictionsError without any."""
        if self.image_sources is None or image_source not in self.image_sources:
            raise PredictionsError(f"{self.source}: no image has the source {image_source!r}")
        if image_source not in self._within:
            frame = self.frame[self.frame["source"] == image_source].reset_index(drop=True)
            self._within[image_source] = replace(self, frame=frame)
        return self._within[image_source]

    @cached_property
    def _within(self) -> dict[str, Predictions]:
        return {}

    def of_findings(self, findings: Sequence[str]) -> Predictions:
        """Return the predictions of these findings, in this order; PredictionsError for one that is not there."""
        if tuple(findings) == self.findings:
            return self
        return replace(self, metadata=self.metadata.model_copy(update={"findings": tuple(findings)}))

    def write(self, path: Path) -> None:
        """Write one parquet file, whole, with checksums of its pages. StorageError if the disk refuses it."""
        table = pa.Table.from_pandas(self.frame, preserve_index=False)
        metadata = (table.schema.metadata or {}) | {METADATA_KEY: self.metadata.model_dump_json().encode()}
        with written_whole(path) as temporary:
            labelled = table.replace_schema_metadata(metadata)
            pq.write_table(labelled, temporary, compression="zstd", write_page_checksum=True)

    @classmethod
    def read(cls, path: Path) -> Predictions:
        """Return the predictions in a file; PredictionsError says what is wrong with a missing or damaged one."""
        if not path.is_file():
            raise PredictionsError(f"{path}: there is no such predictions file; run the step that trains this network")
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            frame = table.to_pandas(ignore_metadata=True)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise PredictionsError(
                f"{path}: not a readable parquet file ({_one_line(error)}); delete it and run the same command again"
            ) from error
        stored = (table.schema.metadata or {}).get(METADATA_KEY)
        if stored is None:
            raise PredictionsError(f"{path}: a parquet file without cxr_kd's metadata, so not a predictions file")
        return cls(frame, _read_metadata(stored, path), source=str(path))


def _one_line(error: Exception) -> str:
    """The first line of an error's text, shortened: those of damaged files quote their bytes."""
    return next(iter(str(error).splitlines()), type(error).__name__)[:120]


def _read_metadata(stored: bytes, path: Path) -> PredictionsMetadata:
    """Return the metadata of a predictions file; PredictionsError names each key that is missing or wrong."""
    try:
        return PredictionsMetadata.model_validate_json(stored, strict=True)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'all of it'}: {e['msg']}" for e in error.errors())
        raise PredictionsError(f"{path}: its metadata are wrong ({wrong}); train this run again") from error


def _check(frame: pd.DataFrame, findings: tuple[str, ...], source: str) -> None:
    """Raise PredictionsError unless the frame is as `Predictions` describes it."""
    if len(set(findings)) < len(findings):
        raise PredictionsError(f"{source}: a finding is named twice: {', '.join(findings)}")
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()]
        raise PredictionsError(f"{source}: several columns {', '.join(map(str, twice))}; one is needed")
    needed = ["image_id", "patient_id", *(f"{part}:{f}" for f in findings for part in ("label", "logit"))]
    missing = [column for column in needed if column not in frame.columns]
    if missing:
        raise PredictionsError(f"{source}: no column {', '.join(missing)}")
    if frame.empty:
        raise PredictionsError(f"{source}: no row; there is nothing to evaluate")
    for column in ("image_id", "patient_id", *(["source"] if "source" in frame else [])):
        wrong = ~frame[column].map(lambda value: isinstance(value, str) and value != "")
        _refuse(frame, wrong.to_numpy(), source, column, "non-empty text is needed")
    _refuse(frame, frame["image_id"].duplicated().to_numpy(), source, "image_id", "each image must have one row")
    _check_about_images(frame, source)
    for finding in findings:
        label, logit = (_numbers(frame, f"{part}:{finding}", source) for part in ("label", "logit"))
        _refuse(frame, ~(np.isnan(label) | np.isin(label, (0, 1))), source, f"label:{finding}", "allowed: 0, 1, NaN")
        _refuse(frame, ~np.isfinite(logit), source, f"logit:{finding}", "must be a finite float32: did training fail?")


def _check_about_images(frame: pd.DataFrame, source: str) -> None:
    """Raise PredictionsError unless each of the optional columns that is there is as `Predictions` describes it."""
    for column in TEXT_ABOUT_IMAGES:
        if column in frame:
            wrong = ~frame[column].map(lambda value: isinstance(value, str)).to_numpy(bool)
            _refuse(frame, wrong, source, column, 'text is needed, "" if unknown')
    if "sex" in frame:
        _refuse(frame, ~frame["sex"].isin(SEXES).to_numpy(), source, "sex", 'allowed: "M", "F", ""')
    if "age" in frame:
        age = _numbers(frame, "age", source)
        wrong = ~(np.isnan(age) | ((age >= 0) & (age <= OLDEST)))
        _refuse(frame, wrong, source, "age", f"allowed: 0 to {OLDEST:g} years, NaN if unknown")


def _about_images(about: Mapping[str, Sequence[str] | Sequence[float]], images: int) -> dict[str, list[str | float]]:
    """The optional columns of a frame; PredictionsError for an unknown name or another number of images."""
    for name, values in about.items():
        if name not in ABOUT_IMAGES:
            raise PredictionsError(f"there is no optional column {name!r}; allowed: {', '.join(ABOUT_IMAGES)}")
        if len(values) != images:
            raise PredictionsError(f"{name} has {len(values)} values for {images} images")
    return {name: list(values) for name, values in about.items()}


def _numbers(frame: pd.DataFrame, column: str, source: str) -> np.ndarray:
    """Return a column as float32; PredictionsError if it is not numeric."""
    if not pd.api.types.is_numeric_dtype(frame[column]):
        raise PredictionsError(f"{source}: column {column} is {frame[column].dtype}; numbers are needed")
    return _float32(frame[column].to_numpy(np.float64, na_value=np.nan))


def _float32(values: np.ndarray) -> np.ndarray:
    """The values as float32; those too large for it become infinite, which `_check` refuses."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _refuse(frame: pd.DataFrame, wrong: np.ndarray, source: str, column: str, needed: str) -> None:
    """Raise PredictionsError for the first row where `wrong` (N,) is true."""
    if wrong.any():
        row = int(np.argmax(wrong))
        image, value = frame["image_id"].iloc[row], frame[column].iloc[row]
        raise PredictionsError(f"{source}: row {row} (image {image}), column {column}: found {value!r}; {needed}")

"""The contract that every data set fulfils: a table of images, a tuple of findings, boxes, and where it is from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd

from cxr_kd.data.images.archive import in_archive
from cxr_kd.data.paths import CONTROL_CHARACTER, LINK_OUT, UNSAFE_PATH, links_out
from cxr_kd.errors import DataError

REQUIRED_COLUMNS = ("image_id", "path", "patient_id", "view", "age", "sex")
RESERVED_COLUMNS = (*REQUIRED_COLUMNS, "source")  # no finding can be called so
BOX_COLUMNS = ("image_id", "finding", "x", "y", "width", "height")
SEXES = ("M", "F", "")
# Two of the reasons in `left_out` that all readers share.
NO_FILE, NO_ROW = "rows whose image file is not there", "image files that no row names"

Kind = Literal["phantom", "mini", "full", "own"]
Masks = Callable[[str], Mapping[str, np.ndarray]]
DrainVersions = Callable[[str], tuple[np.ndarray, np.ndarray]]

ROUNDING = 1e-6  # a box that ends at the image's edge may exceed it by float rounding
_SHOWN = 3  # rows that a message shows


def no_boxes() -> pd.DataFrame:
    """Return the box table of a data set without boxes: the columns, no rows."""
    text = {name: pd.Series(dtype=str) for name in BOX_COLUMNS[:2]}
    return pd.DataFrame({**text, **{name: pd.Series(dtype=float) for name in BOX_COLUMNS[2:]}})


@dataclass(frozen=True)
class Published:
    """The counts that a data set's authors published; empty if they did not publish them.

    Attributes:
        source: where the counts were published.
        images, patients: of the whole data set; patients 0 if unknown.
        positives: finding -> positive images.
        sides: side of the published split -> (images, patients); patients 0 if unknown.
    """

    source: str
    images: int
    patients: int
    positives: Mapping[str, int] = field(default_factory=dict)
    sides: Mapping[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CxrTable:
    """A data set on disk as a table with one row per image. It checks itself when it is created.

    Attributes:
        dataset: the reader's name ("chestxray14", "phantom").
        kind: shown with every table and figure of the data set: phantoms, part of a published data set, all of one, or
            the user's own.
        root: the folder that the paths are relative to.
        frame: RangeIndex; `image_id`, `path` (relative, posix; or one image of an archive, see `in_archive`),
            `patient_id`, `view` (the view position: "PA", "AP", "LL", ...), `age` (years, NaN if unknown), `sex` ("M",
            "F", ""), and one float column per finding in {1, 0, NaN}, NaN if unknown. `source` is the collection,
            hospital or scanner that an image is from: a text in every row, or "" in every row if the data set has no
            sources; a frame without this column gets it. Other columns may follow.
        findings: the finding columns, in the order of every label and logit array.
        boxes: `image_id, finding, x, y, width, height`, as fractions (0 to 1) of the image; x, y the upper left corner.
        left_out: reason -> number of rows (of images or boxes) that the reader left out or blanked; without zeros.
        left_out_ids: the images of the rows that the reader left out.
        given_split: {}, {"train_val": ids, "test": ids} or {"train": ids, "validation": ids, "test": ids}, as the
            data set's authors published it.
        masks: image_id -> {finding: bool (h, w)}, if the data set has masks.
        drain_versions: image_id -> the image with and without a chest drain, uint8 (h, w) each, if the data set can
            show both. They differ only in the pixels of the drain. The frame then has the columns `drain` and
            `truth:Pneumothorax`: 1 if the image itself shows a drain or a pneumothorax, else 0.
        source: what the data card prints: name, citation, licence, where, and what else a reader of the study must know
            about how the labels were read. A reader that knows more about its files than their names (the phantoms'
            settings, an archive's checksums) adds `fingerprint`.

    Raises:
        DataError: if any of this does not hold, with the column and the first bad rows.
    """

    dataset: str
    kind: Kind
    root: Path
    frame: pd.DataFrame
    findings: tuple[str, ...]
    boxes: pd.DataFrame = field(default_factory=no_boxes)
    left_out: Mapping[str, int] = field(default_factory=dict)
    left_out_ids: frozenset[str] = frozenset()
    given_split: Mapping[str, frozenset[str]] = field(default_factory=dict)
    masks: Masks | None = None
    drain_versions: DrainVersions | None = None
    source: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise DataError(f"{self.dataset}: kind is {self.kind!r}; allowed: {', '.join(get_args(Kind))}")
        counted = {reason: count for reason, count in self.left_out.items() if count}
        object.__setattr__(self, "left_out", counted)
        if "source" not in self.frame.columns:
            object.__setattr__(self, "frame", self.frame.assign(source=""))
        self._check_columns()
        self._check_rows()
        self._check_boxes()

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def image_sources(self) -> tuple[str, ...]:
        """The sources of the images, each once, sorted; () if the data set has none."""
        return tuple(sorted(set(self.frame["source"]) - {""}))

    @cached_property
    def files_sha256(self) -> str:
        """SHA-256 (hex) of what identifies the pixels: ids, paths, file sizes, modification times, fingerprint."""
        ids, paths = (self.frame[name].tolist() for name in ("image_id", "path"))
        states = [file_state(self.root, path) for path in paths]
        content = [self.dataset, self.source.get("fingerprint", ""), ids, paths, states]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()

    def labels(self) -> np.ndarray:
        """Return the labels, float32 (N, L) in {1, 0, NaN}, in the order of `findings`."""
        return self.frame[list(self.findings)].to_numpy(np.float32)

    def positions(self, image_ids: Iterable[str]) -> np.ndarray:
        """Return the row number of each image id, int64 (n,); DataError for unknown ids."""
        wanted = list(image_ids)
        rows = pd.Index(self.frame["image_id"]).get_indexer(pd.Index(wanted, dtype=object))
        unknown = [image_id for image_id, row in zip(wanted, rows, strict=True) if row < 0]
        if unknown:
            raise DataError(f"{self.dataset}: {len(unknown)} image ids are not in the table, e.g. {_some(unknown)}")
        return np.asarray(rows, dtype=np.int64)

    def select(self, image_ids: Iterable[str]) -> CxrTable:
        """Return the table of these images, in the given order, with their boxes; DataError for unknown ids."""
        frame = self.frame.iloc[self.positions(image_ids)].reset_index(drop=True)
        boxes = self.boxes[self.boxes["image_id"].isin(frame["image_id"])].reset_index(drop=True)
        return replace(self, frame=frame, boxes=boxes)

    def with_findings(self, findings: Sequence[str] | None) -> CxrTable:
        """Return the table of these findings (None: all), in the given order; DataError for unknown ones."""
        if findings is None:
            return self
        unknown = [name for name in findings if name not in self.findings]
        if unknown:
            raise DataError(f"{self.dataset} has no finding {_some(unknown)}; it has: {', '.join(self.findings)}")
        others = [name for name in self.findings if name not in findings]
        boxes = self.boxes[self.boxes["finding"].isin(findings)].reset_index(drop=True)
        return replace(self, frame=self.frame.drop(columns=others), findings=tuple(findings), boxes=boxes)

    def check_links(self) -> None:
        """Raise DataError if an image, or a folder on the way to it, is a symbolic link out of the root."""
        rows = np.flatnonzero(links_out(self.root, self.frame["path"]))
        if len(rows):
            paths = self.frame["path"]
            examples = "; ".join(f"row {row}: {self.root / paths.iloc[row]}" for row in rows[:_SHOWN].tolist())
            raise DataError(f"{self.dataset}: {len(rows):,} images are {LINK_OUT}, e.g. {examples}")

    def _check_columns(self) -> None:
        needed = (*RESERVED_COLUMNS, *self.findings)
        missing = [name for name in needed if name not in self.frame.columns]
        if missing:
            raise DataError(f"{self.dataset}: the table has no column {_some(missing)}")
        if not self.findings or len(set(needed)) != len(needed):
            raise DataError(
                f"{self.dataset}: the findings {self.findings} must be at least one, each once, none named as a column"
            )
        index = self.frame.index
        if not (isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1):
            raise DataError(
                f"{self.dataset}: the table needs a plain index 0..N-1; call reset_index(drop=True) on the frame"
            )
        for name in (*self.findings, "age"):
            if not pd.api.types.is_float_dtype(self.frame[name]):
                raise DataError(f"{self.dataset}: column {name!r} is {self.frame[name].dtype}, not float")

    def _check_rows(self) -> None:
        frame = self.frame
        for name in ("image_id", "path", "patient_id", "view", "sex", "source"):
            self._refuse(_not_text(frame[name]), name, "is not text")
        for name in ("image_id", "path", "patient_id", "source"):
            self._refuse(
                frame[name].str.contains(CONTROL_CHARACTER), name, "has a line break or other control character"
            )
        self._refuse(frame["image_id"].duplicated(), "image_id", "is on more than one row")
        self._refuse(frame["patient_id"] == "", "patient_id", "is blank")
        if self.image_sources:
            self._refuse(frame["source"] == "", "source", "is blank, but other images have a source,")
        self._refuse(frame["path"].str.contains(UNSAFE_PATH), "path", "is not a relative posix path inside the root")
        self._refuse(~frame["sex"].isin(SEXES), "sex", "is none of 'M', 'F', ''")
        self._refuse(~(frame["age"].isna() | frame["age"].between(0, 130)), "age", "is not between 0 and 130 years")
        for name in self.findings:
            self._refuse(~(frame[name].isna() | frame[name].isin((0.0, 1.0))), name, "is none of 1, 0, NaN")

    def _check_boxes(self) -> None:
        if tuple(self.boxes.columns[: len(BOX_COLUMNS)]) != BOX_COLUMNS:
            raise DataError(f"{self.dataset}: boxes need the columns {BOX_COLUMNS}, not {tuple(self.boxes.columns)}")
        if self.boxes.empty:
            return
        x, y, width, height = (self.boxes[name].to_numpy(float) for name in BOX_COLUMNS[2:])
        inside = (x >= 0) & (y >= 0) & (width > 0) & (height > 0)
        inside &= (x + width <= 1 + ROUNDING) & (y + height <= 1 + ROUNDING)
        known = self.boxes["finding"].isin(self.findings) & self.boxes["image_id"].isin(self.frame["image_id"])
        wrong = ~(known.to_numpy() & inside)
        if wrong.any():
            first = self.boxes[wrong].iloc[0].to_dict()
            raise DataError(
                f"{self.dataset}: {wrong.sum()} boxes are of no image or finding of the table, or exceed the image "
                f"(0..1), e.g. {first}"
            )

    def _refuse(self, wrong: pd.Series, column: str, why: str) -> None:
        if wrong.any():
            rows = self.frame[wrong]
            examples = [f"row {row}: {value!r}" for row, value in rows[column].head(_SHOWN).items()]
            raise DataError(f"{self.dataset}: column {column!r} {why} in {len(rows)} rows, e.g. {'; '.join(examples)}")


def _not_text(values: pd.Series) -> pd.Series:
    if isinstance(values.dtype, pd.StringDtype):
        return values.isna()
    return ~values.map(lambda value: isinstance(value, str)).astype(bool)


def file_state(root: Path, path: str) -> tuple[int, int]:
    """Return size in bytes and modification time in ns of an image's file; -1, -1 if it is missing."""
    try:
        state = os.stat(root / (in_archive(path) or (path,))[0])
    except (OSError, ValueError):  # decoding it will say what is wrong
        return -1, -1
    return state.st_size, state.st_mtime_ns


def _some(names: list[str], most: int = 5) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"

"""Splits with an identity: named, hashed, and with no patient on two sides."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from cxr_kd.data.table import CxrTable, DataError
from cxr_kd.files import read_json, write_json

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = ("train", "validation", "test")

_Sides = tuple[Iterable[str], Iterable[str], Iterable[str]]  # train, validation, test


@dataclass(frozen=True)
class Split:
    """Which images a network learns from, is chosen by, and is scored on: image ids, sorted, on no two sides."""

    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        for side in SIDES:
            object.__setattr__(self, side, tuple(sorted(getattr(self, side))))
        occurrences = Counter(image_id for side in SIDES for image_id in getattr(self, side))
        twice = [image_id for image_id, times in occurrences.items() if times > 1]
        if twice:
            raise DataError(f"split {self.name!r}: {len(twice)} image ids stand in it twice, e.g. {twice[:3]}")

    @cached_property
    def sha256(self) -> str:
        """The identity: SHA-256 (hex) of the sorted test, validation and training ids, whatever the name."""
        sides = (self.test, self.validation, self.train)
        return hashlib.sha256(json.dumps(sides, ensure_ascii=False).encode()).hexdigest()

    @cached_property
    def _sides(self) -> dict[str, Side]:
        return {image_id: side for side in SIDES for image_id in getattr(self, side)}

    def side(self, image_id: str) -> Side | None:
        """Return the side that the image is on, None for an image outside the split."""
        return self._sides.get(image_id)

    def to_json(self, path: Path) -> None:
        """Write the split whole: the file is either there with all of it, or not at all."""
        sides = {"train": self.train, "validation": self.validation, "test": self.test}
        write_json(path, {"name": self.name, "sha256": self.sha256, **sides})

    @classmethod
    def from_json(cls, path: Path) -> Split:
        """Read a split; DataError where the file is not one, or where its ids don't give the hash it states."""
        try:
            content = read_json(path)
            split = cls(content["name"], *(tuple(content[side]) for side in SIDES))
            stated = content["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a split written by this project ({error!r})") from error
        if stated != split.sha256:
            raise DataError(f"{path}: the ids don't give the stated SHA-256; it was edited: write the split again")
        return split


def make_split(table: CxrTable, name: str, *, seed: int = 0, validation_share: float = 0.1) -> Split:
    """Split the table by patient; a function of (ids, patients, name, seed, share), not of the order of rows.

    "official": the test images as published; of the patients of the published train_val images, `validation_share`
    (drawn by `seed`) are the validation side. "random-70-10-20": 70, 10 and 20 % of all patients, drawn by `seed`.

    Raises:
        DataError: for an unknown name, a table without the published lists, or a patient on two sides.
    """
    if name not in SPLITS:
        raise DataError(f"no split named {name!r}; there are: {', '.join(SPLITS)}")
    if not 0 <= validation_share < 1:
        raise DataError(f"validation_share is {validation_share}; it must be at least 0 and below 1")
    train, validation, test = SPLITS[name](table, seed, validation_share)
    split = Split(name, tuple(train), tuple(validation), tuple(test))
    for side in SIDES:
        if not getattr(split, side) and (side != "validation" or validation_share > 0):
            raise DataError(f"split {name!r} of {table.dataset}: {len(table)} images leave none for the {side} side")
    check_disjoint(table, split)
    return split


def check_disjoint(table: CxrTable, split: Split) -> None:
    """Raise DataError, naming them, where a patient of `table` has images on two sides of `split`."""
    frame = table.frame[["image_id", "patient_id"]]
    sides = frame["image_id"].map(split.side)
    sides_of_patient = sides.groupby(frame["patient_id"]).nunique()  # images outside the split are NaN: not counted
    shared = [str(patient) for patient in sides_of_patient.index[sides_of_patient > 1]]
    if shared:
        raise DataError(
            f"split {split.name!r} of {table.dataset}: {len(shared)} patients have images on two sides, which makes "
            f"scores too good: {', '.join(shared[:10])}{', ...' if len(shared) > 10 else ''}"
        )


def _official(table: CxrTable, seed: int, validation_share: float) -> _Sides:
    if not {"train_val", "test"} <= set(table.given_split):
        raise DataError(f"{table.dataset} at {table.root} has no published split; take 'random-70-10-20'")
    ids = table.frame["image_id"]
    in_test, in_train_val = (ids.isin(table.given_split[side]) for side in ("test", "train_val"))
    both, neither = ids[in_test & in_train_val], ids[~in_test & ~in_train_val]
    if len(both) or len(neither):
        raise DataError(
            f"{table.dataset}: {len(both)} images are on both published lists ({', '.join(both[:3])}), {len(neither)} "
            f"on neither ({', '.join(neither[:3])}); the lists and the label table must be of the same data"
        )
    development = table.frame[in_train_val]
    share_validation = (validation_share, 1 - validation_share)
    validation, train = _by_patient(development["image_id"], development["patient_id"], share_validation, seed)
    return train, validation, ids[in_test]


def _random_70_10_20(table: CxrTable, seed: int, validation_share: float) -> _Sides:
    del validation_share  # the name says it
    train, validation, test = _by_patient(table.frame["image_id"], table.frame["patient_id"], (0.7, 0.1, 0.2), seed)
    return train, validation, test


def _by_patient(ids: Iterable[str], patients: Iterable[str], shares: tuple[float, ...], seed: int) -> list[list[str]]:
    """Deal whole patients, shuffled by `seed`, into parts of these shares of the patients."""
    patients = list(patients)
    shuffled = np.random.default_rng(seed).permutation(sorted(set(patients)))
    ends = np.rint(np.cumsum(shares) * len(shuffled)).astype(int)
    part_of = {patient: part for part, members in enumerate(np.split(shuffled, ends[:-1])) for patient in members}
    parts: list[list[str]] = [[] for _ in shares]
    for image_id, patient in zip(ids, patients, strict=True):
        parts[part_of[patient]].append(image_id)
    return parts


SPLITS: dict[str, Callable[[CxrTable, int, float], _Sides]] = {
    "official": _official,
    "random-70-10-20": _random_70_10_20,
}

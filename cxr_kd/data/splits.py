"""Splits into training, validation and test images: named, hashed, and with no patient on two sides."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from cxr_kd.data.label_file import read_ids
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError
from cxr_kd.files import read_json, write_json
from cxr_kd.study.data_settings import DataSettings, SplitLists, SplitName

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Image ids that a network is trained on, selected by and scored on: sorted, each on one side only."""

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
            raise DataError(f"split {self.name!r}: {len(twice)} image ids occur twice, e.g. {twice[:3]}")

    @cached_property
    def sha256(self) -> str:
        """SHA-256 (hex) of the sorted test, validation and training ids; the name does not count."""
        sides = (self.test, self.validation, self.train)
        return hashlib.sha256(json.dumps(sides, ensure_ascii=False).encode()).hexdigest()

    def only(self, image_ids: Iterable[str]) -> Split:
        """Return the split without other images, e.g. unreadable ones; DataError if a side loses all its images."""
        kept = frozenset(image_ids)
        sides = {side: tuple(i for i in getattr(self, side) if i in kept) for side in SIDES}
        split = Split(self.name, **sides)
        split.check_not_empty("the images that can be read", [side for side in SIDES if getattr(self, side)])
        return split

    def check_not_empty(self, images: str, sides: Iterable[Side]) -> None:
        """Raise DataError if one of these sides has no image; `images` describes the images of this split."""
        for side in sides:
            if not getattr(self, side):
                raise DataError(f"split {self.name!r}: {images} leave none for the {side} side")

    def counts(self, table: CxrTable) -> dict[str, dict[str, int]]:
        """Return {side: {"images": n, "patients": m}}, for cards; `table` holds all images of the split."""
        patient_of = dict(zip(table.frame["image_id"], table.frame["patient_id"], strict=True))
        sides = {side: getattr(self, side) for side in SIDES}
        return {
            side: {"images": len(ids), "patients": len({patient_of[image_id] for image_id in ids})}
            for side, ids in sides.items()
        }

    @cached_property
    def _sides(self) -> dict[str, Side]:
        return {image_id: side for side in SIDES for image_id in getattr(self, side)}

    def side(self, image_id: str) -> Side | None:
        """Return the side of an image, None for an image outside the split."""
        return self._sides.get(image_id)

    def to_json(self, path: Path) -> None:
        """Write the split: the file is whole or absent."""
        sides = {"train": self.train, "validation": self.validation, "test": self.test}
        write_json(path, {"name": self.name, "sha256": self.sha256, **sides})

    @classmethod
    def from_json(cls, path: Path) -> Split:
        """Read a split; DataError if the file is no split, or if its ids do not give the stated hash."""
        try:
            content = read_json(path)
            split = cls(content["name"], *(tuple(content[side]) for side in SIDES))
            stated = content["sha256"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a split written by this project ({error!r})") from error
        if stated != split.sha256:
            raise DataError(
                f"{path}: the ids do not give the stated SHA-256, so it was edited; delete it and write the split again"
            )
        return split


def make_split(
    table: CxrTable, name: str, *, seed: int = 0, validation_share: float = 0.1, lists: SplitLists | None = None
) -> Split:
    """Split the table by patient. The result depends on (ids, patients, name, seed, share), not on the order of rows.

    "official": as published; if the authors do not separate validation from training, `validation_share` of the
    patients of their train_val images (drawn by `seed`) form the validation side. "medmnist-random-70-10-20": as in
    the medmnist package. "random-70-10-20": 70, 10 and 20 % of all patients, drawn by `seed`. "lists": the ids in three
    files in the table's folder; images on none of them are on no side. "all-test": every image on the test side, for
    networks that learned from other data.

    Raises:
        DataError: if the name is unknown, the table has no published lists, a list names unknown images, a side has no
            images, or a patient is on two sides.
    """
    if name not in get_args(SplitName):
        raise DataError(f"no split named {name!r}; there are: {', '.join(get_args(SplitName))}")
    if not 0 <= validation_share < 1:
        raise DataError(f"validation_share is {validation_share}; it must be at least 0 and below 1")
    if name == "all-test":
        return Split(name, (), (), tuple(table.frame["image_id"]))
    if name == "lists":
        sides = _listed(table, lists)
    elif name == "random-70-10-20":
        sides = _by_patient(table.frame["image_id"], table.frame["patient_id"], (0.7, 0.1, 0.2), seed)
    else:
        sides = _as_published(table, seed, validation_share)
    split = Split(name, *(tuple(side) for side in sides))
    needed = [side for side in SIDES if side != "validation" or validation_share > 0]
    split.check_not_empty(f"the {len(table)} images of {table.dataset}", needed)
    check_disjoint(table, split)
    return split


def split_of(table: CxrTable, settings: DataSettings) -> Split:
    """Return the split of a study's data settings; DataError as in `make_split`."""
    return make_split(
        table,
        settings.split,
        seed=settings.split_seed,
        validation_share=settings.validation_share,
        lists=settings.lists,
    )


def patients_on_two_sides(table: CxrTable, sides: Mapping[str, Collection[str]]) -> list[str]:
    """Return the patients, sorted, with images of `table` on more than one side (name -> image ids)."""
    ids, patients = table.frame["image_id"], table.frame["patient_id"]
    on = Counter(patient for members in sides.values() for patient in patients[ids.isin(members)].unique())
    return sorted(patient for patient, count in on.items() if count > 1)


def check_disjoint(table: CxrTable, split: Split) -> None:
    """Raise DataError with their ids if patients of `table` have images on two sides of `split`."""
    shared = patients_on_two_sides(table, {side: frozenset(getattr(split, side)) for side in SIDES})
    if shared:
        raise DataError(
            f"split {split.name!r} of {table.dataset}: {len(shared)} patients have images on two sides, which makes "
            f"scores too good: {', '.join(shared[:10])}{', ...' if len(shared) > 10 else ''}"
        )


def _as_published(table: CxrTable, seed: int, validation_share: float) -> Sequence[Iterable[str]]:
    given, ids = table.given_split, table.frame["image_id"]
    if "test" not in given:
        raise DataError(f"{table.dataset} at {table.root} has no published split; use 'random-70-10-20'")
    on = {side: ids.isin(members) for side, members in given.items()}
    times = sum(is_on.astype(int) for is_on in on.values())
    both, neither = ids[times > 1], ids[times == 0]
    if len(both) or len(neither):
        raise DataError(
            f"{table.dataset}: {len(both)} images are on two published lists ({', '.join(both[:3])}), {len(neither)} "
            f"on none ({', '.join(neither[:3])}); the lists and the label table must be of the same data"
        )
    if "train_val" not in given:
        return [ids[on[side]] for side in SIDES]
    development = table.frame[on["train_val"]]
    share_validation = (validation_share, 1 - validation_share)
    validation, train = _by_patient(development["image_id"], development["patient_id"], share_validation, seed)
    return train, validation, ids[on["test"]]


def _listed(table: CxrTable, lists: SplitLists | None) -> Sequence[Iterable[str]]:
    if lists is None:
        raise DataError("split 'lists' needs three files: lists: {train: FILE, validation: FILE, test: FILE}")
    there, sides = frozenset(table.frame["image_id"]), []
    known = there | table.left_out_ids
    for side in SIDES:
        path = table.root / getattr(lists, side)
        listed = read_ids(path, known)
        unknown = [image_id for image_id in listed if image_id not in known]
        if unknown:
            raise DataError(
                f"{path}: {len(unknown)} of its {len(listed)} images are in no row of the label table, e.g. "
                f"{unknown[0]!r}; it must hold one image id per line"
            )
        sides.append([image_id for image_id in listed if image_id in there])
    return sides


def _by_patient(ids: Iterable[str], patients: Iterable[str], shares: tuple[float, ...], seed: int) -> list[list[str]]:
    """Distribute whole patients, shuffled by `seed`, over parts with these shares of the patients."""
    patients = list(patients)
    names = sorted(set(patients))
    shuffled = np.random.default_rng(seed).permutation(len(names))
    ends = np.rint(np.cumsum(shares) * len(names)).astype(int)
    part_of = {names[one]: part for part, members in enumerate(np.split(shuffled, ends[:-1])) for one in members}
    parts: list[list[str]] = [[] for _ in shares]
    for image_id, patient in zip(ids, patients, strict=True):
        parts[part_of[patient]].append(image_id)
    return parts

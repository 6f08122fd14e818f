"""The images and patients that a network has learned from, so that it is never scored on them."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from cxr_kd.data.table import CxrTable, file_state
from cxr_kd.errors import DataError

# ChestMNIST is ChestX-ray14, downscaled and without file names: nobody can tell which image is which. The other three
# are images of ChestX-ray14 with labels of their own (Shih et al., 2019; SIIM-ACR, 2019; Majkowska et al., 2020).
SAME_IMAGES = (frozenset({"chestxray14", "chestmnist", "rsna-pneumonia", "siim-pneumothorax", "google-nih"}),)

Names = Mapping[str, frozenset[str]]


@dataclass(frozen=True)
class TrainedOn:
    """The images and patients that a network, its teachers, and their teachers were trained on.

    Attributes:
        images: origin (where images come from) -> their names there (`_image_names`).
        patients: origin -> the names of the patients there (`_patient_names`); no entry for an origin whose patients
            are unknown.
        datasets: names of whole data sets, declared for published weights whose images nobody lists.
    """

    images: Names
    patients: Names = field(default_factory=dict)
    datasets: frozenset[str] = frozenset()

    @classmethod
    def of(cls, table: CxrTable, image_ids: Iterable[str], *teachers: TrainedOn) -> TrainedOn:
        """Return the images of a table and their patients, with those that the teachers were trained on."""
        ids, origin = list(image_ids), _origin(table)
        patients = frozenset(_patient_names(table, ids).dropna())
        return cls(
            _union({origin: frozenset(_image_names(table, ids))}, *(teacher.images for teacher in teachers)),
            _union({origin: patients} if patients else {}, *(teacher.patients for teacher in teachers)),
            frozenset().union(*(teacher.datasets for teacher in teachers)),
        )

    def check_unseen(self, network: str, table: CxrTable, image_ids: Iterable[str], side: str) -> None:
        """Raise DataError if the network or its teacher learned from these images of `table` or from their patients."""
        here, ids = _origin(table), list(image_ids)
        same = next((family - {here} for family in SAME_IMAGES if here in family), frozenset())
        self._check_datasets(network, table)
        if other := sorted(same & set(self.images)):
            raise DataError(
                f"{network} (or its teacher) was trained on {other[0]}, which holds the same radiographs as {here} "
                f"under other names: it cannot be scored on {here}"
            )
        asked = frozenset(_image_names(table, ids))
        if seen := self.images.get(here, frozenset()) & asked:
            raise DataError(
                f"{network} (or its teacher) was trained on {len(seen):,} of the {len(asked):,} images on the {side} "
                f"side, e.g. {min(seen)}: it cannot be scored on them. Train it on this split, or score it on its own"
            )
        self._check_patients(network, table, ids, side)

    def _check_datasets(self, network: str, table: CxrTable) -> None:
        same = next((family - {table.dataset} for family in SAME_IMAGES if table.dataset in family), frozenset())
        names = {table.dataset, table.source.get("name", ""), *same}
        if seen := sorted(self.datasets & names):
            why = f", which holds the same radiographs as {table.dataset}" if seen[0] in same else ""
            raise DataError(
                f"{network} (or its teacher) comes from published weights that were trained on {seen[0]}{why}: it "
                f"cannot be scored on {table.dataset}. Use weights that were not trained on it, or other radiographs"
            )

    def _check_patients(self, network: str, table: CxrTable, ids: list[str], side: str) -> None:
        names = _patient_names(table, ids)
        seen = sorted(set(names.index[names.isin(self.patients.get(_origin(table), frozenset()))]))
        if seen:
            own = "; if these are other people with the same ids, give this data set a `name` of its own"
            raise DataError(
                f"{network} (or its teacher) was trained on other images of {len(seen):,} of the "
                f"{names.index.nunique():,} patients on the {side} side, e.g. patient {seen[0]}: it cannot be scored "
                f"on them. Train it on this split, or score it on its own{own if table.kind == 'own' else ''}"
            )

    def to_metadata(self) -> dict[str, Any]:
        """Return it as text for a weights file: per origin, the sorted names as JSON, compressed (zlib, base64)."""
        packed = {"images": _packed(self.images), "patients": _packed(self.patients)}
        return {**packed, "datasets": sorted(self.datasets)}

    @classmethod
    def from_metadata(cls, stored: Mapping[str, Any] | None, where: str) -> TrainedOn:
        """Read what `to_metadata` wrote; DataError naming the file (`where`) for anything else.

        That includes files of older versions, which do not name patients: without them it is unknown whether the
        network knows the people that it is scored on.
        """
        if stored is None:
            raise DataError(f"{where}: its metadata do not say what it was trained on; train it again")
        try:
            datasets = frozenset(map(str, stored.get("datasets", [])))  # older files have none
            return cls(_unpacked(stored["images"]), _unpacked(stored["patients"]), datasets)
        except (ValueError, TypeError, AttributeError, KeyError, zlib.error) as error:
            raise DataError(
                f"{where}: what its metadata say it was trained on is unreadable or of an older version, which did not "
                f"record patients; train it again"
            ) from error


def _origin(table: CxrTable) -> str:
    """Return where a table's images come from: the data set's name; for phantoms also their settings (ids repeat)."""
    return " ".join(filter(None, (table.dataset, table.source.get("fingerprint") if table.kind == "phantom" else "")))


def _image_names(table: CxrTable, ids: list[str]) -> list[str]:
    """Return the names of images at their origin: ids or, for a user's own folder, the path and size of each file.

    In own folders, ids can change and can repeat in another folder; a path with a size rarely does. An image that was
    moved or written again is not recognised.
    """
    if table.kind != "own":
        return ids
    paths = table.frame["path"].iloc[table.positions(ids)]
    return [f"{path} ({file_state(table.root, path)[0]} bytes)" for path in paths]


def _patient_names(table: CxrTable, ids: list[str]) -> pd.Series:
    """Return the names of the images' patients at their origin, indexed by patient id; NaN if they are unknown.

    If every patient id equals the image id (ChestMNIST), patients are unknown. A user's own patient ids are stored as a
    hash of the data set's `name` and the id, because ids must not leave the user's machine and can repeat in other
    folders. Under another `name`, only images are recognised.
    """
    frame = table.frame.iloc[table.positions(ids)]
    patients = frame["patient_id"].drop_duplicates()
    if (table.frame["patient_id"] == table.frame["image_id"]).all():
        return pd.Series(None, index=patients, dtype=object)
    if table.kind != "own":
        return pd.Series(patients.to_numpy(), index=patients, dtype=object)
    name = table.source.get("name", "")
    hashes = [hashlib.sha256(json.dumps([name, patient]).encode()).hexdigest()[:16] for patient in patients]
    return pd.Series(hashes, index=patients, dtype=object)


def _union(*parts: Names) -> dict[str, frozenset[str]]:
    origins = {origin for part in parts for origin in part}
    return {origin: frozenset().union(*(part.get(origin, ()) for part in parts)) for origin in origins}


def _packed(names: Names) -> dict[str, str]:
    texts = {origin: json.dumps(sorted(members)) for origin, members in sorted(names.items())}
    return {origin: base64.b64encode(zlib.compress(text.encode(), 9)).decode() for origin, text in texts.items()}


def _unpacked(packed: Mapping[str, str]) -> dict[str, frozenset[str]]:
    texts = {origin: zlib.decompress(base64.b64decode(text, validate=True)) for origin, text in packed.items()}
    return {origin: frozenset(json.loads(text)) for origin, text in texts.items()}

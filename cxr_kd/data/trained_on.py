"""Which images a network has learned from, so that it is never examined on them."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cxr_kd.data.table import CxrTable, file_state
from cxr_kd.errors import DataError

# ChestMNIST is ChestX-ray14, made small and without its file names: which of its images is which, nobody can tell.
SAME_IMAGES = (frozenset({"chestxray14", "chestmnist"}),)


@dataclass(frozen=True)
class TrainedOn:
    """The images that a network, its teachers, and their teachers were trained on.

    Attributes:
        images: where the images are from -> what they are called there (`_names`).
    """

    images: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, table: CxrTable, image_ids: Iterable[str], *teachers: TrainedOn) -> TrainedOn:
        """Images of a table, with those that the teachers were trained on."""
        images = {_origin(table): frozenset(_names(table, image_ids))}
        for origin, names in (pair for teacher in teachers for pair in teacher.images.items()):
            images[origin] = images.get(origin, frozenset()) | names
        return cls(images)

    def check_unseen(self, network: str, table: CxrTable, image_ids: Iterable[str], side: str) -> None:
        """Raise DataError, with how many, where any of these images of `table` taught the network or its teacher."""
        here, asked = _origin(table), frozenset(_names(table, image_ids))
        same = next((family - {here} for family in SAME_IMAGES if here in family), frozenset())
        if other := sorted(same & set(self.images)):
            raise DataError(
                f"{network} (or its teacher) was trained on {other[0]}, which holds the same radiographs as {here} "
                f"under other names: it can't be scored on {here}"
            )
        if seen := self.images.get(here, frozenset()) & asked:
            raise DataError(
                f"{network} (or its teacher) was trained on {len(seen):,} of the {len(asked):,} images on the {side} "
                f"side, e.g. {min(seen)}: it can't be scored on them. Train it on this split, or score it on its own"
            )

    def to_card(self) -> dict[str, str]:
        """As text for a weights file's card: the sorted names of an origin as JSON, compressed (zlib, base64)."""
        return {origin: _packed(json.dumps(sorted(names))) for origin, names in sorted(self.images.items())}

    @classmethod
    def from_card(cls, card: Mapping[str, str] | None, where: str) -> TrainedOn:
        """Read what `to_card` wrote; DataError naming the file (`where`) for anything else."""
        if card is None:
            raise DataError(f"{where}: its card does not say what it was trained on; train it again")
        try:
            return cls({origin: frozenset(json.loads(_unpacked(text))) for origin, text in card.items()})
        except (ValueError, TypeError, AttributeError, zlib.error) as error:
            raise DataError(f"{where}: what its card says it was trained on is not readable; train it again") from error


def _origin(table: CxrTable) -> str:
    """Where a table's images are from: the data set's name; of phantoms, with their settings, for they reuse ids."""
    return " ".join(filter(None, (table.dataset, table.source.get("fingerprint") if table.kind == "phantom" else "")))


def _names(table: CxrTable, image_ids: Iterable[str]) -> list[str]:
    """What images are called at their origin: their ids, or, in a folder of one's own, path and size of the file.

    Ids of one's own may be chosen anew, and another folder may have the same: a path with a size stays with its image
    and is hardly ever another's. An image that was moved within the folder, or written anew, is not recognised.
    """
    ids = list(image_ids)
    if table.kind != "own":
        return ids
    paths = table.frame["path"].iloc[table.positions(ids)]
    return [f"{path} ({file_state(table.root, path)[0]} bytes)" for path in paths]


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _unpacked(text: str) -> str:
    return zlib.decompress(base64.b64decode(text, validate=True)).decode()

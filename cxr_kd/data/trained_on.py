"""Which images a network has learned from, so that it is never examined on them."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cxr_kd.data.errors import DataError
from cxr_kd.data.table import CxrTable

# ChestMNIST is ChestX-ray14, made small and without its file names: which of its images is which, nobody can tell.
SAME_IMAGES = (frozenset({"chestxray14", "chestmnist"}),)


@dataclass(frozen=True)
class TrainedOn:
    """The images that a network, its teacher, and its teacher's teacher were trained on.

    Attributes:
        images: where the images are from (`origin`) -> their ids.
    """

    images: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, table: CxrTable, image_ids: Iterable[str], teacher: TrainedOn | None = None) -> TrainedOn:
        """Images of a table, with those that the teacher was trained on."""
        images = dict(teacher.images) if teacher else {}
        images[origin(table)] = images.get(origin(table), frozenset()) | frozenset(image_ids)
        return cls(images)

    def check_unseen(self, network: str, table: CxrTable, image_ids: Iterable[str], side: str) -> None:
        """Raise DataError, with how many, where any of these images of `table` taught the network or its teacher."""
        here, asked = origin(table), frozenset(image_ids)
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
        """As text for a weights file's card: the ids of an origin, sorted, a line each, compressed (zlib, base64)."""
        return {name: _packed("\n".join(sorted(ids))) for name, ids in sorted(self.images.items())}

    @classmethod
    def from_card(cls, card: Mapping[str, str] | None, where: str) -> TrainedOn:
        """Read what `to_card` wrote; DataError naming the file (`where`) for anything else."""
        if card is None:
            raise DataError(f"{where}: its card does not say what it was trained on; train it again")
        try:
            return cls({name: frozenset(_unpacked(text).split("\n")) for name, text in card.items()})
        except (ValueError, TypeError, AttributeError, zlib.error) as error:
            raise DataError(f"{where}: what its card says it was trained on is not readable; train it again") from error


def origin(table: CxrTable) -> str:
    """Where a table's images are from: two tables of one origin mean the same image by the same id.

    A published data set is its name. Phantoms of other settings are other images under the same ids, and so are the
    files of another folder.
    """
    told = {"phantom": table.source.get("fingerprint", ""), "own": table.source.get("name", "")}
    return " ".join(filter(None, (table.dataset, told.get(table.kind, ""))))


def _packed(text: str) -> str:
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def _unpacked(text: str) -> str:
    return zlib.decompress(base64.b64decode(text, validate=True)).decode()

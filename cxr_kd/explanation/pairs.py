"""Pairs of an image and a finding that is present in it: what maps are measured on, with the finding's place if known.

Multi-label is the normal case: an image with three findings gives three pairs, each with its own map and place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.data.splits import Side
from cxr_kd.explanation.places import places_of

BATCH_SIZE = 32  # images
BLOCK = 64  # pairs whose places are unpacked at a time


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of an image and a finding, ordered by image.

    image_ids (P,); columns (P,): the finding's position in the table's findings; patients (P,). places: the pixels of
    the finding, packed bits of (P, S * S) for images of S px, or None if no place is known.
    """

    image_ids: np.ndarray
    columns: np.ndarray
    patients: np.ndarray
    size: int
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image_ids)

    def blocks(self) -> list[slice]:
        """Return slices that cover the pairs, small enough that their places fit into memory."""
        return [slice(start, start + BLOCK) for start in range(0, len(self), BLOCK)]

    def place(self, which: slice | np.ndarray) -> np.ndarray:
        """Return the places of some pairs as bool (P, S, S)."""
        if self.places is None:
            raise ValueError("the places of these pairs are not known")
        bits = np.unpackbits(self.places[which], axis=1, count=self.size * self.size)
        return bits.reshape(-1, self.size, self.size).astype(bool)

    def shares(self) -> np.ndarray:
        """Return the share of the image that each finding covers, (P,)."""
        return np.concatenate([np.empty(0), *(self.place(block).mean(axis=(1, 2)) for block in self.blocks())])

    def some(self, count: int, *, seed: int = 0) -> tuple[Pairs, np.ndarray]:
        """Return at most `count` pairs that are drawn with `seed`, in their order, and their positions."""
        positions = np.sort(np.random.default_rng(seed).permutation(len(self))[:count])
        places = None if self.places is None else self.places[positions]
        own = (self.image_ids[positions], self.columns[positions], self.patients[positions])
        return Pairs(*own, self.size, places), positions

    def images(self, data: Prepared, most: int) -> torch.Tensor:
        """Return the first `most` different images of the pairs, uint8 (B, 1, S, S)."""
        names = list(dict.fromkeys(self.image_ids.tolist()))[:most]
        return torch.from_numpy(data.cache.pixels(data.cache.rows(names))).unsqueeze(1)

    def batches(self, data: Prepared) -> Iterator[tuple[slice, np.ndarray, torch.Tensor]]:
        """Yield (pairs of a batch, their row in the batch's images, images uint8 (B, 1, S, S)), in order."""
        names, starts, rows = np.unique(self.image_ids, return_index=True, return_inverse=True)
        order = np.argsort(starts)  # images in the order of their pairs
        position = np.empty(len(names), dtype=np.int64)
        position[order] = np.arange(len(names))
        of_pair = position[rows]
        for first in range(0, len(names), BATCH_SIZE):
            chosen = names[order[first : first + BATCH_SIZE]]
            which = np.flatnonzero((of_pair >= first) & (of_pair < first + BATCH_SIZE))
            images = torch.from_numpy(data.cache.pixels(data.cache.rows(list(chosen)))).unsqueeze(1)
            yield slice(which[0], which[-1] + 1), of_pair[which] - first, images


def marked_pairs(data: Prepared, side: Side, limit: int, *, seed: int = 0) -> Pairs:
    """Return the pairs of a side whose place is known by a mask or by boxes, from at most `limit` images.

    If more images are marked, `limit` of them are drawn with `seed`; no network takes part in the choice. Several boxes
    of one finding are one place. A place that covers no pixel at the study's image size is left out.
    """
    frame = data.table.select(getattr(data.split, side)).frame
    if data.table.masks is None:
        frame = frame[frame["image_id"].isin(set(data.table.boxes["image_id"]))]
    else:  # An image without any finding has no mask, and a phantom's masks take time to draw.
        frame = frame[(frame[list(data.table.findings)] == 1).any(axis=1)]
    order = np.random.default_rng(seed).permutation(len(frame))
    found, images = [], 0
    for image_id, patient in frame.iloc[order][["image_id", "patient_id"]].itertuples(index=False):
        own = [(str(image_id), column, str(patient), np.packbits(place)) for column, place in places_of(data, image_id)]
        found += own
        images += bool(own)
        if images == limit:
            break
    ids, columns, patients, places = zip(*found, strict=True) if found else ((), (), (), ())
    size = data.cache.manifest["size"]
    packed = np.array(places) if found else np.empty((0, -(-size * size // 8)), np.uint8)
    return Pairs(np.array(ids, str), np.array(columns, int), np.array(patients, str), size, packed)


def positive_pairs(data: Prepared, side: Side, limit: int, *, seed: int = 0) -> Pairs:
    """Return the pairs of a side with a positive label, from at most `limit` images drawn with `seed`; no places."""
    frame = data.table.select(getattr(data.split, side)).frame
    labels = frame[list(data.table.findings)].to_numpy(np.float64) == 1
    with_finding = np.flatnonzero(labels.any(axis=1))
    chosen = np.sort(np.random.default_rng(seed).permutation(with_finding)[:limit])
    rows, columns = np.nonzero(labels[chosen])
    images = frame["image_id"].to_numpy(str)[chosen][rows]
    return Pairs(images, columns, frame["patient_id"].to_numpy(str)[chosen][rows], data.cache.manifest["size"])

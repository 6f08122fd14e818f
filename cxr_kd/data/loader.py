"""Batches read from the cache and augmented as whole batches, without worker processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from cxr_kd.data.cache import Cache
from cxr_kd.data.image_sources import source_log_odds
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError
from cxr_kd.study.settings import Augmentation

_DRAWS = 6  # random numbers per image: angle, shift x, shift y, scale, brightness, contrast


@dataclass(frozen=True)
class Batch:
    """Some images with their labels.

    Attributes:
        images: float32 (B, 1, S, S) in [0, 1].
        labels: float32 (B, L) in {0, 1}, 0 where unknown.
        known: bool (B, L), False where the label is unknown.
        source_log_odds: float32 (B, L), `image_sources.source_log_odds` of the images.
        image_ids: ids of the B images.
        index: int64 (B,), their positions in `Batches.image_ids`.
        view: number of the deterministic view of the images.
        images_of_all: number of images in the batch over all processes that share it; B with one process.
    """

    images: torch.Tensor
    labels: torch.Tensor
    known: torch.Tensor
    source_log_odds: torch.Tensor
    image_ids: list[str]
    index: torch.Tensor
    view: int
    images_of_all: int


def augmented(images: torch.Tensor, index: torch.Tensor, limits: Augmentation, *, seed: int, view: int) -> torch.Tensor:
    """Return the images, changed by at most `limits`: float32 (B, 1, S, S) in [0, 1]; edges turn black.

    Each image depends only on (limits, seed, its entry of `index`, view), bit for bit, not on the rest of the batch.
    """
    moves = (math.radians(limits.rotate_degrees), 2 * limits.translate, 2 * limits.translate, limits.scale)
    draws = uniform(index.numpy(), _DRAWS, seed=seed, view=view) * 2 - 1  # (B, 6) in [-1, 1)
    amounts = draws * np.array((*moves, limits.brightness, limits.contrast))
    angle, right, down, scale, brightness, contrast = torch.from_numpy(amounts.astype(np.float32)).T
    changed = _intensity(images, brightness, contrast) if limits.brightness or limits.contrast else images
    return _warp(changed, angle, right, down, 1 + scale) if any(moves) else changed


class Batches:
    """The images of one side of a split as batches, epoch by epoch.

    The order of an epoch depends only on (seed, epoch). `views` > 0 restricts augmentation to that many fixed views of
    each image, so that a teacher's answers can be stored; with `views` = 0, every epoch has views of its own.

    Raises:
        DataError: if an image is not in the table or the cache, or is in quarantine.
    """

    def __init__(
        self,
        cache: Cache,
        table: CxrTable,
        image_ids: Sequence[str],
        *,
        batch_size: int,
        seed: int = 0,
        augment: Augmentation | None = None,
        shuffle: bool = False,
        views: int = 0,
    ) -> None:
        if batch_size < 1 or not image_ids:
            raise DataError(
                f"a loader needs images and a batch size of at least 1, not {len(image_ids)} and {batch_size}"
            )
        self.image_ids = list(image_ids)
        self.findings = table.findings
        self.batch_size, self.seed, self.augment, self.shuffle, self.views = batch_size, seed, augment, shuffle, views
        self._rank, self._count = 0, 1
        self._cache, self._rows = cache, cache.rows(image_ids)
        labels = torch.from_numpy(table.labels()[table.positions(image_ids)])
        self._known = ~labels.isnan()
        self._labels = labels.nan_to_num(0.0)
        self._source_log_odds = torch.from_numpy(source_log_odds(table, self.image_ids))

    def for_process(self, rank: int, count: int) -> Batches:
        """Return the same batches, each reduced to the share of process `rank` among `count`: at least one image.

        Raises DataError if a batch, or the data set, has fewer images than there are processes.
        """
        if not 0 <= rank < count <= min(self.batch_size, len(self.image_ids)):
            raise DataError(
                f"{count} processes cannot share batches of {self.batch_size} of {len(self.image_ids)} images: raise "
                f"batch_size, which counts the images of all processes, or start fewer"
            )
        shared = copy(self)
        shared._rank, shared._count = rank, count
        return shared

    def __len__(self) -> int:
        """Return the number of batches per epoch."""
        return len(self._starts())

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of this epoch (0, 1, ...); every image occurs once."""
        view, parts = self._parts(epoch)
        for chosen in parts:
            yield self._batch(np.array_split(chosen, self._count)[self._rank], view, len(chosen))

    def batch_with(self, image_id: str, epoch: int = 0) -> Batch:
        """Return the batch of this epoch that holds an image, as one process sees it; DataError if there is none."""
        if image_id not in self.image_ids:
            raise DataError(f"the loader has no image {image_id!r}; it has {len(self.image_ids):,} others")
        position = self.image_ids.index(image_id)
        view, parts = self._parts(epoch)
        (chosen,) = (part for part in parts if position in part)
        return self._batch(chosen, view, len(chosen))

    def _parts(self, epoch: int) -> tuple[int, list[np.ndarray]]:
        """Return the view of an epoch, and the positions of the images of each of its batches."""
        view = epoch % self.views if self.views > 0 else epoch
        order = np.arange(len(self.image_ids))
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        return view, np.split(order, self._starts()[1:])

    def _starts(self) -> list[int]:
        starts = list(range(0, len(self.image_ids), self.batch_size))
        # Batch normalisation needs two images and each process needs one: a smaller last batch joins the one before.
        fewest = max(self._count, min(2, self.batch_size)) if self.shuffle else self._count
        if len(starts) > 1 and len(self.image_ids) - starts[-1] < fewest:
            starts.pop()
        return starts

    def _batch(self, chosen: np.ndarray, view: int, images_of_all: int) -> Batch:
        pixels = torch.from_numpy(self._cache.pixels(self._rows[chosen]))
        images = pixels.unsqueeze(1).float().div_(255)  # (B, 1, S, S)
        index = torch.from_numpy(chosen)
        if self.augment is not None:
            images = augmented(images, index, self.augment, seed=self.seed, view=view)
        names = [self.image_ids[position] for position in chosen]
        labels, known, log_odds = self._labels[index], self._known[index], self._source_log_odds[index]
        return Batch(images, labels, known, log_odds, names, index, view, images_of_all)


def uniform(index: np.ndarray, count: int, *, seed: int, view: int) -> np.ndarray:
    """Return float64 (B, count) in [0, 1), each row depends only on (seed, its entry of `index`, view).

    SplitMix64 as a counter-based generator (Steele, Lea and Flood, OOPSLA 2014): one pass over the batch. One NumPy
    generator per image would need a Python loop.
    """
    state = np.zeros(len(index), np.uint64)  # NumPy arrays compute modulo 2^64, as intended
    for part in (np.full_like(state, seed), np.full_like(state, view), index.astype(np.uint64)):
        state = _mix((state ^ part) + _GOLDEN)
    bits = _mix(state[:, None] + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return np.asarray((bits >> np.uint64(11)) * 2.0**-53)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(state: np.ndarray) -> np.ndarray:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = state ^ (state >> np.uint64(31))
    return mixed


def _intensity(images: torch.Tensor, brightness: torch.Tensor, contrast: torch.Tensor) -> torch.Tensor:
    # around mid-grey, not the image's mean: the rounding of a sum would depend on the shape of the batch
    factor = (1 + contrast).reshape(-1, 1, 1, 1)
    offset = (brightness - contrast / 2).reshape(-1, 1, 1, 1)
    return (images * factor).add_(offset).clamp_(0, 1)


def _warp(
    images: torch.Tensor, angle: torch.Tensor, right: torch.Tensor, down: torch.Tensor, scale: torch.Tensor
) -> torch.Tensor:
    """Rotate about the centre by `angle`, enlarge by `scale`, shift (in half sides); each (B,), one grid for all."""
    side = images.shape[-1]
    steps = (torch.arange(side) * 2 + 1) / side - 1  # (S,), pixel centres in [-1, 1]
    cos, sin = ((torch.cos(angle) / scale)[:, None] * steps, (torch.sin(angle) / scale)[:, None] * steps)  # (B, S)
    # F.affine_grid multiplies matrices: six times slower, and its rounding may depend on the batch
    grid = torch.empty(len(images), side, side, 2)
    torch.add((cos - right[:, None])[:, None, :], sin[:, :, None], out=grid[..., 0])
    torch.add((cos - down[:, None])[:, :, None], -sin[:, None, :], out=grid[..., 1])
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

"""Where a map looks: measures of single maps against the pixels of the finding. Each has one value per pair.

The measures of the literature differ in what they ask. The pointing game asks for the peak only, the share inside for
the sum, the overlap (IoU, IoBB) for a region above a threshold, the area under the precision-recall curve (AUPRC) for
the order of all pixels. A map is enlarged to the image's size (`cam.upsample`) before it is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch

from cxr_kd.explanation.methods.cam import upsample

# What counts as evidence in a map: what is above 0, or what is above the mean of the map. The evidence for a rare
# finding is often below 0 everywhere; then only the second reading says where there is most of it.
Reading = Literal["positive", "relative"]
READINGS: tuple[Reading, ...] = ("positive", "relative")
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))  # shares of a map's maximum
BLOCK = 64  # maps that are enlarged at a time


@dataclass(frozen=True, eq=False)
class Where:
    """Measures of P maps, (P,) each; higher is better for all but `empty`.

    pointing: 1 if the largest value is inside the finding, else 0; 0 for an empty map. Zhang et al., "Top-Down Neural
        Attention by Excitation Backprop", IJCV 2018, without their tolerance of 15 px.
    inside: share of the evidence that is inside the finding, 0 to 1; NaN for an empty map. Wang et al., "Score-CAM",
        CVPR Workshops 2020 (energy-based pointing game).
    auprc: average precision of the pixels, 0 to 1, ranked by signed evidence, so that it is the same for both readings.
        Arun et al., Radiology: Artificial Intelligence 3 (2021). By chance it is the finding's share of the image.
    empty: 1 if the map has no evidence at all.
    """

    pointing: np.ndarray
    inside: np.ndarray
    auprc: np.ndarray
    empty: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """Return the measures by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def read(maps: np.ndarray, reading: Reading) -> np.ndarray:
    """Return what counts as evidence in signed maps (P, h, w): 0 or above, of the same shape."""
    base = 0 if reading == "positive" else maps.mean(axis=(1, 2), keepdims=True)
    return np.maximum(maps - base, 0)


def where(maps: np.ndarray, places: np.ndarray, reading: Reading = "positive", *, rank: bool = True) -> Where:
    """Measure signed maps (P, h, w) against the findings' pixels, bool (P, S, S), each with at least one pixel.

    `rank=False` leaves out `auprc` (NaN), which takes longest.
    """
    parts = [
        _where(maps[start : start + BLOCK], places[start : start + BLOCK], reading, rank)
        for start in range(0, len(maps), BLOCK)
    ]
    names = [field.name for field in fields(Where)]
    return Where(**{name: np.concatenate([np.empty(0), *(getattr(part, name) for part in parts)]) for name in names})


def overlaps(
    maps: np.ndarray,
    places: np.ndarray,
    reading: Reading = "positive",
    thresholds: Sequence[float] = THRESHOLDS,
) -> tuple[np.ndarray, np.ndarray]:
    """Return IoU and IoBB of the region above each of T thresholds (shares of the map's maximum), (P, T) each.

    IoU: intersection over union of region and finding, 0 to 1. IoBB: the share of the region that is inside the finding
    (Wang et al., "ChestX-ray8", CVPR 2017, section 4.3: intersection over the detected region). Both are 0 for an empty
    map. A threshold is chosen on validation images (`best_threshold`), never on the scored ones.
    """
    found = np.zeros((2, len(maps), len(thresholds)))
    for start in range(0, len(maps), BLOCK):
        block = slice(start, start + BLOCK)
        grey = enlarged(read(maps[block], reading), places.shape[-1])
        top = grey.max(axis=(1, 2), keepdims=True)
        for column, threshold in enumerate(thresholds):
            region = (grey >= threshold * top) & (top > 0)
            shared = (region & places[block]).sum(axis=(1, 2))
            either, area = (region | places[block]).sum(axis=(1, 2)), region.sum(axis=(1, 2))
            found[:, block, column] = shared / np.maximum(either, 1), shared / np.maximum(area, 1)
    return found[0], found[1]


def best_threshold(ious: np.ndarray) -> int:
    """Return the position in THRESHOLDS of the best mean IoU of validation maps (P, T); the lowest of several."""
    return int(ious.mean(axis=0).argmax()) if len(ious) else 0


def ceiling(places: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return the best maps (P, h, w) that a grid allows: the share of each cell that the finding covers.

    Measured like any other map, it gives the ceiling of each measure: a finding smaller than a cell cannot fill it.
    """
    shares = torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(places).float().unsqueeze(1), grid)
    return shares.squeeze(1).numpy()


def enlarged(maps: np.ndarray, size: int) -> np.ndarray:
    """Return maps (P, h, w) as (P, size, size): bilinear, each cell's value at the cell's centre."""
    return upsample(torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32)).unsqueeze(1), size)[:, 0].numpy()


def _where(maps: np.ndarray, places: np.ndarray, reading: Reading, rank: bool) -> Where:
    grey = enlarged(read(maps, reading), places.shape[-1])
    total = grey.sum(axis=(1, 2))
    empty = total == 0
    peak = grey.reshape(len(grey), -1).argmax(axis=1)
    hit = places.reshape(len(places), -1)[np.arange(len(places)), peak]
    with np.errstate(invalid="ignore"):
        inside = (grey * places).sum(axis=(1, 2)) / total
    precision = np.full(len(maps), np.nan)
    if rank:
        signed = enlarged(maps, places.shape[-1])
        precision = np.array([_average_precision(p, m) for p, m in zip(places, signed, strict=True)])
    return Where(
        (hit & ~empty).astype(np.float64), np.where(empty, np.nan, inside), precision, empty.astype(np.float64)
    )


def _average_precision(place: np.ndarray, signed: np.ndarray) -> float:
    """Average precision of the pixels; equal values count as one step, as in scikit-learn, which takes longer."""
    values = signed.ravel()
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(place.ravel()[order])
    ends = np.append(np.flatnonzero(np.diff(values[order])), values.size - 1)  # last pixel of each distinct value
    recall = hits[ends] / hits[-1]
    return float((np.diff(recall, prepend=0) * hits[ends] / (ends + 1)).sum())

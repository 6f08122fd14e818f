"""Where a finding is on an image as a network sees it: the pixels of a mask, or of all its boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from cxr_kd.data.images.resize import resized
from cxr_kd.data.prepare import Prepared


def places_of(data: Prepared, image_id: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (finding's position, its pixels, bool (S, S)) of each marked finding of an image, in the findings' order.

    A finding that covers no pixel at the study's image size is left out.
    """
    masks = _masks(data, image_id)
    for column, finding in enumerate(data.table.findings):
        if (place := _as_seen(data, masks.get(finding))) is not None:
            yield column, place


def place_of(data: Prepared, image_id: str, finding: str) -> np.ndarray | None:
    """Return the pixels of a finding on an image, bool (S, S); None if it is not marked there."""
    return _as_seen(data, _masks(data, image_id).get(finding))


def at_size(mask: np.ndarray, size: int, *, keep_aspect: bool = False) -> np.ndarray:
    """Return a mask (H, W) as bool (size, size): a pixel is inside if at least half of its area is.

    With `keep_aspect` it is padded to a square, as images are.
    """
    if mask.shape == (size, size):
        return mask
    return np.asarray(resized(mask.astype(np.uint8) * 255, size, keep_aspect=keep_aspect) >= 128)


def box_pixels(size: int, x: float, y: float, width: float, height: float) -> np.ndarray:
    """Return the pixels of a box (fractions of the image) as bool (size, size), cut at the image's border.

    A pixel belongs to the box if its centre does.
    """
    centres = (np.arange(size) + 0.5) / size
    inside_x, inside_y = ((centres >= start) & (centres < start + side) for start, side in ((x, width), (y, height)))
    return inside_y[:, None] & inside_x[None, :]


def _as_seen(data: Prepared, mask: np.ndarray | None) -> np.ndarray | None:
    """The mask at the study's image size; None if there is none, or if no pixel is left of it."""
    if mask is None:
        return None
    place = at_size(mask, data.cache.manifest["size"], keep_aspect=data.cache.manifest["keep_aspect"])
    return place if place.any() else None


def _masks(data: Prepared, image_id: str) -> Mapping[str, np.ndarray]:
    """The mask of each marked finding of an image, by finding; without masks, the pixels of its boxes."""
    return data.table.masks(image_id) if data.table.masks is not None else _box_masks(data, image_id)


def _box_masks(data: Prepared, image_id: str) -> dict[str, np.ndarray]:
    """The pixels in the boxes of each finding, by finding. The only data set with boxes has square images."""
    masks: dict[str, np.ndarray] = {}
    boxes = data.table.boxes[data.table.boxes["image_id"] == image_id]
    for finding, *box in boxes[["finding", "x", "y", "width", "height"]].itertuples(index=False):
        masks[finding] = masks.get(finding, False) | box_pixels(data.cache.manifest["size"], *box)
    return masks

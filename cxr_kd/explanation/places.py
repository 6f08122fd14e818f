"""Where a finding is on an image as a network sees it: the pixels of a mask, or of all its boxes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cxr_kd.data.images.resize import resized
from cxr_kd.data.prepare import Prepared


def places_of(data: Prepared, image_id: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (finding's position, its pixels, bool (S, S)) of each marked finding of an image, in the findings' order.

    A finding that covers no pixel at the study's image size is left out.
    """
    masks = data.table.masks(image_id) if data.table.masks is not None else _box_masks(data, image_id)
    for column, finding in enumerate(data.table.findings):
        if finding in masks and (place := _as_seen(data, masks[finding])).any():
            yield column, place


def place_of(data: Prepared, image_id: str, finding: str) -> np.ndarray | None:
    """Return the pixels of a finding on an image, bool (S, S); None if it is not marked there."""
    column = data.table.findings.index(finding)
    return dict(places_of(data, image_id)).get(column)


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


def _as_seen(data: Prepared, mask: np.ndarray) -> np.ndarray:
    return at_size(mask, data.cache.manifest["size"], keep_aspect=data.cache.manifest["keep_aspect"])


def _box_masks(data: Prepared, image_id: str) -> dict[str, np.ndarray]:
    """The pixels in the boxes of each finding, by finding. The only data set with boxes has square images."""
    masks: dict[str, np.ndarray] = {}
    boxes = data.table.boxes[data.table.boxes["image_id"] == image_id]
    for finding, *box in boxes[["finding", "x", "y", "width", "height"]].itertuples(index=False):
        masks[finding] = masks.get(finding, False) | box_pixels(data.cache.manifest["size"], *box)
    return masks

"""Which grey each stored value of a DICOM radiograph becomes.

The stored values go through the steps of the standard, in its order (PS3.3 C.11, PS3.4 N.2): the modality step (rescale
or lookup table), the VOI step (lookup table or first window), the inversion of MONOCHROME1; then to 8 bits. All steps
are computed once for each value that the stored bits allow. The grey of a pixel is then looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxr_kd.data.images.resize import to_8_bit
from cxr_kd.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

# Both rules are part of a cache's plan: another wording makes existing caches unusable.
FIXED_RULE = (
    "rescale or modality table, then VOI table or first window (with neither, all that the stored bits allow), "
    "MONOCHROME1 inverted"
)
PER_IMAGE_RULE = "in place of VOI table and window; MONOCHROME1 inverted"


def stored_range(dataset: Dataset) -> tuple[int, int]:
    """Return the lowest and highest value that the stored bits allow."""
    values = 2**dataset.BitsStored
    return (-values // 2, values // 2 - 1) if dataset.PixelRepresentation == 1 else (0, values - 1)


def greys(dataset: Dataset, low: int, high: int, shown: tuple[int, int] | None) -> np.ndarray:
    """Return the grey of each stored value from low to high; `shown`, a range of values, replaces the VOI step."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    values = apply_modality_lut(np.arange(low, high + 1), dataset)
    if shown:
        ends = values[[shown[0] - low, shown[1] - low]]
        shades = to_8_bit(values, ends.min(), ends.max())
    elif dataset.get("VOILUTSequence"):
        table = apply_voi(np.rint(values).astype(np.int64), dataset)
        shades = to_8_bit(table, 0, 2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1)
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        shades = to_8_bit(_windowed(values, dataset), 0, 1)
    else:
        shades = to_8_bit(values, values.min(), values.max())
    return 255 - shades if dataset.PhotometricInterpretation == "MONOCHROME1" else shades


def _windowed(values: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return values as the first window shows them, 0 to 1 (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""
    center, width = (float(np.ravel(dataset[name].value)[0]) for name in ("WindowCenter", "WindowWidth"))
    function = (dataset.get("VOILUTFunction") or "LINEAR").upper()
    if width <= 0 or (function == "LINEAR" and width < 1):
        raise DataError(f"DICOM with a window width of {width:g}")
    if function == "SIGMOID":
        return 1 / (1 + np.exp((-4 * (values - center) / width).clip(-700, 700)))
    if function == "LINEAR" and width == 1:
        return (values > center - 0.5).astype(np.float64)
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    return ((values - center) / width + 0.5).clip(0, 1)

"""What a DICOM file's tags say against reading it as a frontal chest radiograph of an adult. No pixel is read."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_kd.data.images import dicom
from cxr_kd.data.regular_file import check_regular

if TYPE_CHECKING:
    from pydicom import Dataset

# Values of Modality that a radiograph can have: computed and digital radiography, film, fluoroscopy; other, and copies.
RADIOGRAPHS = ("CR", "DX", "RG", "RF", "OT", "SC")
LATERAL = ("LL", "RL", "LAT", "LATERAL")
CHEST = ("CHEST", "THORAX", "TORAX", "LUNG")  # a part that contains one of these words
ADULT = 18.0  # years
_TAGS = ("Modality", "ViewPosition", "BodyPartExamined", "PatientAge")
_AGE = re.compile(r"(\d{1,3})([DWMY])")
_PER_YEAR = {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}


@dataclass(frozen=True)
class Tags:
    """`against`: why the image is no frontal chest radiograph, or "". `age`: of the patient in years, or None."""

    against: str = ""
    age: float | None = None


def read_tags(path: Path) -> Tags:
    """Return what a file's tags say; nothing for a file that is not DICOM, or whose tags cannot be read."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            if not dicom.is_dicom(file.read(dicom.HEADER_BYTES)):
                return Tags()
            from pydicom import dcmread

            file.seek(0)
            dicom.check_inflated_size(file)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tags = dcmread(file, force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
            return Tags(_against(tags), _age(tags))
    except Exception as error:  # hostile files make pydicom raise errors of every type; `decode` says what is wrong
        if isinstance(error, MemoryError):
            raise
        return Tags()


def _against(tags: Dataset) -> str:
    modality, view, part = (str(tags.get(name) or "").strip().upper() for name in _TAGS[:3])
    if modality and modality not in RADIOGRAPHS:
        return f"its DICOM tags say that it is no radiograph (Modality {modality[:20]})"
    if view in LATERAL:
        return f"its DICOM tags say that it is a lateral view (ViewPosition {view})"
    if part and not any(word in part for word in CHEST):
        return f"its DICOM tags say that it is not of a chest (BodyPartExamined {part[:20]})"
    return ""


def _age(tags: Dataset) -> float | None:
    found = _AGE.fullmatch(str(tags.get("PatientAge") or "").strip().upper())
    return int(found[1]) / _PER_YEAR[found[2]] if found else None

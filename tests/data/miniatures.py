"""Miniatures of CheXpert and PadChest: columns, names and file formats as published, and findings that can be learned.

The images are noise around a thorax. A finding is a bright disc at its own place, so a network learns it in seconds.
Rates are far above the real ones, so that findings have positives on each side of a split of 60 patients.
"""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_kd.data.readers import chexpert, padchest

CHEXPERT_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *chexpert.FINDINGS)
PADCHEST_TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
PADCHEST_COLUMNS = (
    "", "ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM",
    "ViewPosition_DICOM", "Projection", "MethodProjection", "Pediatric", "Modality_DICOM", "Manufacturer_DICOM",
    "PhotometricInterpretation_DICOM", "PixelRepresentation_DICOM", "PixelAspectRatio_DICOM", "SpatialResolution_DICOM",
    "BitsStored_DICOM", "WindowCenter_DICOM", "WindowWidth_DICOM", "Rows_DICOM", "Columns_DICOM",
    "XRayTubeCurrent_DICOM", "Exposure_DICOM", "ExposureInuAs_DICOM", "ExposureTime", "RelativeXRayExposure_DICOM",
    "ReportID", "Report", "MethodLabel", "Labels", "Localizations", "LabelsLocalizationsBySentence", "labelCUIS",
    "LocalizationsCUIS",
)  # fmt: skip
REPORT = 'compar con estudi previ, "sin cambi" .\nno identif imagen condensacion , ni opac pulmonar .'


def write_chexpert(root: Path, *, patients: int = 60, seed: int = 0, with_test: bool = False, size: int = 64) -> Path:
    """Write `CheXpert-v1.0-small/` into `root` and return it; a fifth of the patients are in valid.csv.

    There are about two frontal images per patient, and a lateral one for every second exam. In train.csv a present
    finding is sometimes -1, and an absent one mostly blank. valid.csv and test_labels.csv have only 1.0 and 0.0, and
    the latter has no sex, age or view. The test set has as many patients as valid.csv.
    """
    generator, folder = np.random.default_rng(seed), root / "CheXpert-v1.0-small"
    valid = max(patients // 5, 1)
    numbers = {"train": range(1, patients - valid + 1), "valid": range(64541, 64541 + valid)}
    if with_test:
        numbers["test"] = range(64741, 64741 + valid)
    for side, patient_numbers in numbers.items():
        rows = [
            row
            for number in patient_numbers
            for row in _chexpert_patient(folder, side, f"patient{number:05d}", size, generator)
        ]
        columns = [name for name in CHEXPERT_COLUMNS if side != "test" or name in ("Path", *chexpert.FINDINGS)]
        _write_table(folder / ("test_labels.csv" if side == "test" else f"{side}.csv"), columns, rows)
    return folder


def _chexpert_patient(
    folder: Path, side: str, patient: str, size: int, generator: np.random.Generator
) -> list[dict[str, object]]:
    sex, age, rows = generator.choice(["Female", "Male"]), int(generator.integers(18, 91)), []
    for exam in range(1, int(generator.integers(1, 4)) + 1):
        present = _present(chexpert.FINDINGS[1:], generator)
        labels = {"No Finding": not any(present.values()), **present}
        written = {name: _chexpert_label(there, side, generator) for name, there in labels.items()}
        for view, kind in enumerate(["frontal", "lateral"][: 1 + exam % 2], 1):
            path = f"{side}/{patient}/study{exam}/view{view}_{kind}.jpg"
            _write_image(folder / path, radiograph(list(labels.values()), size, generator))
            about = {"Sex": sex, "Age": age, "Frontal/Lateral": kind.capitalize()}
            about |= {"AP/PA": generator.choice(["AP", "PA"], p=[0.8, 0.2]) if kind == "frontal" else ""}
            rows.append({"Path": path if side == "test" else f"{folder.name}/{path}", **about, **written})
    return rows


def _chexpert_label(there: bool, side: str, generator: np.random.Generator) -> str:
    if side != "train":
        return f"{float(there)}"
    usual, other, rate = ("1.0", "-1.0", 0.1) if there else ("", "0.0", 0.2)
    return other if generator.random() < rate else usual


def write_padchest(
    root: Path, *, patients: int = 60, seed: int = 0, size: int = 64, folders: Sequence[str] = ("0", "1", "54")
) -> Path:
    """Write the label table and 16-bit PNG files into `root` and return it.

    The images are distributed over `folders` ("" for the root, "images", "images/0", ...). There are about two frontal
    images per patient, and a lateral one for every second exam. About every tenth exam cannot be used: it has no label,
    or `exclude`, `unchanged` or `suboptimal study`. Every tenth patient is a child.
    """
    generator, rows = np.random.default_rng(seed), []
    for patient in range(patients):
        rows += _padchest_patient(root, patient, len(rows), size, folders, generator)
    _write_table(root / PADCHEST_TABLE, PADCHEST_COLUMNS, rows)
    return root


def _padchest_patient(
    root: Path, patient: int, first: int, size: int, folders: Sequence[str], generator: np.random.Generator
) -> list[dict[str, object]]:
    child, sex, rows = patient % 10 == 9, generator.choice(["F", "M"]), []
    birth = int(generator.integers(2004, 2010) if child else generator.integers(1925, 1995))
    for exam in range(int(generator.integers(1, 4))):
        present = _present(padchest.FINDINGS, generator)
        study = f"2168401113669640128192070611120103{patient:05d}{exam:06d}"
        about = {
            "StudyDate_DICOM": f"20{generator.integers(10, 18)}0315",
            "StudyID": study,
            "PatientID": f"8431364{patient:032d}",
            "PatientBirth": f"{birth}.0",
            "PatientSex_DICOM": sex,
            "Pediatric": "PED" if child else "No",
            "MethodProjection": "Manual review of DICOM fields",
            "Modality_DICOM": "CR",
            "BitsStored_DICOM": 12,
            "ExposureTime": "None",
            "ReportID": 4_000_000 + patient,
            "Report": REPORT,
            "MethodLabel": "Physician" if patient % 4 == 0 else "RNN_model",
            "Labels": _padchest_labels(present, patient + exam, generator),
            "Localizations": "['loc  basal', 'loc  right']",
        }
        for projection in ("PA" if patient % 3 else "AP_horizontal", "L")[: 1 + exam % 2]:
            number = first + len(rows)
            name, folder = f"{study}_{number % 7:02d}-{number:03d}-{patient:03d}.png", folders[number % len(folders)]
            _write_image(root / folder / name, radiograph(list(present.values()), size, generator), bits=16)
            place = folder.rpartition("/")[2]
            about |= {
                "": number,
                "ImageID": name,
                "ImageDir": place if place.isdigit() else 0,
                "Projection": projection,
            }
            rows.append(dict(about))
    return rows


def _padchest_labels(present: Mapping[str, bool], exam: int, generator: np.random.Generator) -> str:
    """Return the labels as the published table writes them."""
    if exam % 10 == 7:
        return str(generator.choice(["", "['exclude']", "['unchanged', 'cardiomegaly']", "['suboptimal study', '']"]))
    labels = [name for name, there in present.items() if there] or ["normal"]
    return str([f"{name}{' ' * generator.integers(2)}" for name in labels] + [""] * int(generator.integers(2)))


def _present(findings: Sequence[str], generator: np.random.Generator) -> dict[str, bool]:
    """Return no finding for a quarter of the exams; for the others, each finding has a probability of 0.4."""
    some = generator.random() < 0.75
    return {name: bool(some and generator.random() < 0.4) for name in findings}


def radiograph(present: Sequence[bool], size: int, generator: np.random.Generator) -> np.ndarray:
    """Return an image, float (size, size) in 0..1: disc i of a 5x5 grid is bright if finding i is present."""
    y, x = np.mgrid[:size, :size] / size
    image = 0.35 + 0.25 * np.abs(x - 0.5) + generator.normal(0, 0.04, (size, size))
    for place in np.flatnonzero(present):
        row, column = divmod(int(place), 5)
        image += 0.35 * ((x - (column + 0.5) / 5) ** 2 + (y - (row + 0.5) / 5) ** 2 < 0.006)
    return image.clip(0, 1)


def _write_image(path: Path, image: np.ndarray, bits: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if bits == 16:
        Image.fromarray((image * 65535).astype(np.uint16)).save(path, compress_level=1)
    else:
        Image.fromarray((image * 255).astype(np.uint8)).save(path, quality=90)


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)

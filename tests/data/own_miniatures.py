"""Miniatures of ChestMNIST and of a user's own folder, in their formats, with findings that can be learned."""

from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from cxr_kd.data.readers.chestmnist import FINDINGS, file_name

SIDES = {"train": 0.7, "val": 0.1, "test": 0.2}
FOLDER_FINDINGS = ("Effusion", "Nodule")
SUFFIXES = (".png", ".jpg", ".dcm")


def discs(labels: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Return images, uint8 (N, size, size), for labels (N, L): noise, and a grid of discs, bright if positive."""
    cells = int(np.ceil(np.sqrt(labels.shape[1])))
    rows, columns = (np.indices((size, size)) + 0.5) * cells / size
    inside = np.hypot(rows % 1 - 0.5, columns % 1 - 0.5) < 0.4
    finding = np.minimum((rows.astype(int) * cells + columns.astype(int)), labels.shape[1])
    shown = np.concatenate([labels, np.zeros((len(labels), 1))], axis=1)[:, finding] * inside  # (N, size, size)
    return (60 + 120 * shown + generator.integers(0, 30, shown.shape)).astype(np.uint8)


def write_chestmnist(root: Path, size: int = 64, images: int = 160, seed: int = 0) -> Path:
    """Write the file that MedMNIST publishes for this size, with this number of images; return `root`."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for side, share in SIDES.items():
        labels = generator.random((round(images * share), len(FINDINGS))) < 0.3
        arrays[f"{side}_images"] = discs(labels, size, generator)
        arrays[f"{side}_labels"] = labels.astype(np.uint8)
    root.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(root / file_name(size), **arrays)
    return root


def write_folder(root: Path, patients: int = 60, images: int = 120, size: int = 48, seed: int = 0) -> Path:
    """Write `labels.csv` and its images, a third each of PNG, JPEG and DICOM, some labels blank; return `root`.

    Columns as in `studies/own-data.yaml`: path, patient_id, view, age, sex, and FOLDER_FINDINGS.
    """
    generator = np.random.default_rng(seed)
    labels = generator.random((images, len(FOLDER_FINDINGS))) < 0.4
    pixels = discs(labels, size, generator)
    blank = generator.random(labels.shape) < 0.05
    written = np.where(blank, "", labels.astype(int).astype(str))
    lines = [",".join(("path", "patient_id", "view", "age", "sex", *FOLDER_FINDINGS))]
    for number in range(images):
        patient = number % patients
        path = f"images/{number % 2}/{number:04d}{SUFFIXES[number % len(SUFFIXES)]}"
        write_image(root / path, pixels[number])
        about = (f"p{patient:03d}", "PA" if number % 3 else "AP", str(30 + patient % 50), "FM"[patient % 2])
        lines.append(",".join((path, *about, *written[number])))
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 (H, W) in the format that the file name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".dcm":
        write_dicom(path, pixels)
    else:
        Image.fromarray(pixels).save(path)


def write_dicom(path: Path, pixels: np.ndarray, **elements: str) -> None:
    """Write uint8 (H, W) as a DICOM file, MONOCHROME2, uncompressed, with further elements."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)

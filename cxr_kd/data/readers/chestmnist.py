"""Read ChestMNIST: ChestX-ray14 reduced to at most 224 px, in one .npz file that anyone can download."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from cxr_kd.data.images import archive
from cxr_kd.data.readers import chestxray14
from cxr_kd.data.table import CxrTable, Published
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import ChestmnistSettings

# The file's names (atelectasis, ..., pleural, hernia) are the 14 findings of ChestX-ray14, in the same order.
FINDINGS = chestxray14.FINDINGS

SOURCE = {
    "name": "ChestMNIST (MedMNIST v2)",
    "citation": (
        "Yang J, Shi R, Wei D, Liu Z, Zhao L, Ke B, Pfister H, Ni B. MedMNIST v2: A large-scale lightweight benchmark "
        "for 2D and 3D biomedical image classification. Scientific Data 10:41, 2023. The images and labels are those "
        f"of ChestX-ray14: {chestxray14.SOURCE['citation']}"
    ),
    "licence": "CC BY 4.0; name the NIH Clinical Center as the source of the images",
    "where": "Zenodo, record 10519652 (chestmnist.npz, chestmnist_64.npz, chestmnist_128.npz, chestmnist_224.npz)",
}

PUBLISHED = Published(
    source="medmnist.INFO['chestmnist'], medmnist 3.0.2",
    images=112_120,
    patients=0,  # the file does not name patients
    sides={"train": (78_468, 0), "validation": (11_219, 0), "test": (22_433, 0)},
)
_ARRAYS = {"train": "train", "validation": "val", "test": "test"}  # side -> prefix of its arrays' names
_TOLD = {
    "patients": (
        "not in the file. Each image counts as a patient of its own, so intervals are too narrow, and it cannot be "
        "checked whether a patient is on two sides"
    ),
    "split": "as in the file: 70/10/20, drawn at random. It is not the official split of ChestX-ray14",
    "same images": (
        "these are ChestX-ray14's images without their names: no model that learned from one is scored on the other"
    ),
}


def read(
    root: Path, findings: Sequence[str] | None = None, options: ChestmnistSettings | None = None, *, images: bool = True
) -> CxrTable:
    """Return ChestMNIST, or part of it in the same layout, from the folder `root`.

    All 112,120 images of ChestX-ray14, reduced by MedMNIST from 1024 px to 28, 64, 128 or 224 px (8-bit, grayscale);
    the same 14 findings, 1 or 0 for every image; 78,468 images for training, 11,219 for validation, 22,433 for the
    test. No patients, views, ages or sexes. Image ids are side and position (`train-000017`), the same at every size.

    Layout: `chestmnist.npz` (28 px), `chestmnist_64.npz`, `chestmnist_128.npz` or `chestmnist_224.npz`, with the arrays
    `train_images` (uint8 (N, size, size)) and `train_labels` ((N, 14) in {0, 1}), and the same for `val_` and `test_`.
    If the file is missing and `options.download` is set, the medmnist package downloads it.

    Citation, licence and where to get it: `SOURCE`. Without `images`, the arrays of images are not looked at.

    Raises:
        DataError: if the file is missing (with what to put where), or if an array is missing or has another type, shape
            or values.
    """
    options = options or ChestmnistSettings()
    file = Path(root) / file_name(options.size)
    if not file.is_file():
        if not options.download:
            fetch = "Or set chestmnist: {download: true} in the study, which downloads it."
            raise DataError(f"{file}: no such file. {_what_to_put_where(file)} {fetch}")
        download(file.parent, options.size)
    labels = {side: _labels(file, f"{array}_labels") for side, array in _ARRAYS.items()}
    if images:
        for side, array in _ARRAYS.items():
            _check_images(file, f"{array}_images", (len(labels[side]), options.size, options.size))
    frame = pd.concat([_frame(file.name, side, values) for side, values in labels.items()], ignore_index=True)
    ids = frame["image_id"].str
    fingerprint = " ".join(f"{name}:{crc}" for name, crc in sorted(archive.checksums(file).items()))
    return CxrTable(
        dataset="chestmnist",
        kind="full" if len(frame) == PUBLISHED.images else "mini",
        root=Path(root),
        frame=frame,
        findings=FINDINGS,
        given_split={side: frozenset(frame["image_id"][ids.startswith(f"{side}-")]) for side in _ARRAYS},
        source={**SOURCE, "pixels": f"{options.size} a side, reduced by MedMNIST", **_TOLD, "fingerprint": fingerprint},
    ).with_findings(findings)


def file_name(size: int) -> str:
    """Return MedMNIST's name for the file with images of this many pixels per side."""
    return "chestmnist.npz" if size == 28 else f"chestmnist_{size}.npz"


def download(root: Path, size: int) -> None:
    """Download the file of this size into `root` with the medmnist package, which checks its MD5.

    DataError if that fails; no part of the file is left behind.
    """
    import medmnist  # here, because it takes seconds: it loads torch

    name = file_name(size)
    try:
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".chestmnist-", dir=root) as folder:
            medmnist.ChestMNIST(split="val", download=True, root=folder, size=size)  # val is the smallest side to load
            os.replace(Path(folder) / name, root / name)
    except (OSError, RuntimeError) as error:
        cause = error.__context__ or error  # the package always raises RuntimeError
        raise DataError(f"{root / name}: the download failed ({cause}). {_what_to_put_where(root / name)}") from error


def _labels(file: Path, name: str) -> np.ndarray:
    """Return the labels of a side, float (N, 14) in {1, 0}."""
    found = archive.header(file, name)
    if found.dtype.kind not in "biu" or len(found.shape) != 2 or found.shape[1] != len(FINDINGS):
        raise DataError(f"{file}: array {name!r} is {found}, not integers (N, {len(FINDINGS)})")
    values = archive.array(file, name)
    wrong = np.argwhere((values != 0) & (values != 1))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"{file}: array {name!r} holds {values[row, column]} at row {row}, column {column} ({FINDINGS[column]}); "
            f"allowed: 0, 1 ({len(wrong):,} such values)"
        )
    return values.astype(float)


def _check_images(file: Path, name: str, shape: tuple[int, ...]) -> None:
    found = archive.header(file, name)
    if found.shape != shape or found.dtype != np.uint8:
        raise DataError(f"{file}: array {name!r} is {found}, not uint8 {shape}, as its name and its labels say")


def _frame(file: str, side: str, labels: np.ndarray) -> pd.DataFrame:
    numbers = range(len(labels))
    ids = pd.Series([f"{side}-{number:06d}" for number in numbers], dtype=object)
    paths = pd.Series([f"{file}#{_ARRAYS[side]}_images/{number}" for number in numbers], dtype=object)
    blank = pd.Series([""] * len(labels), dtype=object)
    frame = pd.DataFrame(
        {"image_id": ids, "path": paths, "patient_id": ids, "view": blank, "age": np.nan, "sex": blank},
    ).astype({"age": float})
    return pd.concat([frame, pd.DataFrame(labels, columns=list(FINDINGS))], axis=1)


def _what_to_put_where(file: Path) -> str:
    return f"Put {file.name} of ChestMNIST into {file.parent}: it is on {SOURCE['where'].partition(' (')[0]}."

"""Find the image files that a user named, and those in the folders that a user named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cxr_kd.data.images import dicom, png_chunks
from cxr_kd.errors import DataError, StorageError, is_of_storage

_JPEG_SIGNATURE = b"\xff\xd8\xff"


def find_images(paths: Sequence[Path]) -> tuple[list[Path], int]:
    """Return image files, each once: those named, and those in named folders; and the other files in these folders.

    In a folder and the folders in it, files are taken by their content: PNG, JPEG or DICOM. Hidden ones are left out.
    Raises DataError for a path that does not exist and a folder without an image.
    """
    found: dict[Path, None] = {}
    others = 0
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        if not path.is_dir():
            found[path] = None
            continue
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and not _hidden(file, path)]
        images = [file for file in files if _is_image(file)]
        if not images:
            raise DataError(f"{path}: none of its {len(files):,} files is a PNG, JPEG or DICOM file")
        others += len(files) - len(images)
        found |= dict.fromkeys(images)
    return list(found), others


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _is_image(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            header = file.read(dicom.HEADER_BYTES)
    except OSError as error:
        raise (StorageError if is_of_storage(error) else DataError)(f"{path}: cannot be read ({error})") from error
    return header.startswith((png_chunks.SIGNATURE, _JPEG_SIGNATURE)) or dicom.is_dicom(header)

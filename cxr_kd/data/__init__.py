"""A dataset on disk, to a table, to a memory-mapped array, to batches."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxr_kd.data.table import CxrTable
    from cxr_kd.study.data_settings import DataSettings

# How to add a data set: see cxr_kd/data/readers/__init__.py.
READERS = {
    "phantom": "cxr_kd.data.readers.phantom",
    "chestxray14": "cxr_kd.data.readers.chestxray14",
    "chexpert": "cxr_kd.data.readers.chexpert",
    "padchest": "cxr_kd.data.readers.padchest",
    "chestmnist": "cxr_kd.data.readers.chestmnist",
    "folder": "cxr_kd.data.readers.folder",
}


def read(settings: DataSettings, root: Path, *, images: bool = True) -> CxrTable:
    """Read the data set of these settings from the folder `root`.

    Without `images`, the labels alone: every row of the label table, whether its image file is there or not.

    Raises:
        DataError: for everything that the reader can't trust, symbolic links out of `root` included.
    """
    reader = importlib.import_module(READERS[settings.dataset])
    table: CxrTable = reader.read(Path(root), settings.findings, settings.options, images=images)
    table.check_links()
    return table

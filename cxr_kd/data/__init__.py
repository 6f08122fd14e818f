"""From a data set on the disk to a table of images, to a cache of pixels, to batches."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cxr_kd.data.table import CxrTable
    from cxr_kd.study.data_settings import DataSettings

# To add a data set, write its module with `read(root, findings, options, *, images) -> CxrTable`, add a line here, and
# in cxr_kd/study/data_settings.py its name in `DatasetName`, its folder layout in `LAYOUTS`, and its options, if any.
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

    Without `images`, only the labels are read: every row of the label table, with or without its image file.

    Raises:
        DataError: if the files are missing, contradictory or unsafe, e.g. a symbolic link that leaves `root`.
    """
    reader = importlib.import_module(READERS[settings.dataset])
    table: CxrTable = reader.read(Path(root), settings.findings, settings.options, images=images)
    table.check_links()
    return table

"""A dataset on disk, to a table, to a memory-mapped array, to batches."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxr_kd.data.table import CxrTable

# Adding a dataset is adding its module, which has `read(root, **settings) -> CxrTable`, and a line here.
READERS = {
    "phantom": "cxr_kd.data.phantom",
    "chestxray14": "cxr_kd.data.chestxray14",
}


def read(dataset: str, root: Path, **settings: Any) -> CxrTable:
    """Read the dataset of this name (a key of READERS) from the folder `root`; `settings` are that reader's own.

    Raises:
        DataError: for a name without a reader, and for everything that the reader can't trust.
    """
    if dataset not in READERS:
        from cxr_kd.data.table import DataError

        raise DataError(f"no reader for the dataset {dataset!r}; there are: {', '.join(sorted(READERS))}")
    table: CxrTable = importlib.import_module(READERS[dataset]).read(Path(root), **settings)
    return table

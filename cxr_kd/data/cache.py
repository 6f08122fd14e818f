"""Every image of a table decoded once, into one memory-mapped array.

A cache is a folder: `images.npy` (uint8 (N, S, S), row i for row i of the table), `index.parquet` (the readable
images), `quarantine.parquet` (the others, with the reason), and `manifest.json`, written last: a folder with it is
complete. While it is under way, `plan.json` says what is being built and `blocks/` holds a small file a finished block.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from cxr_kd.data.cache_blocks import Block, build_blocks
from cxr_kd.data.images.decode import INTENSITY_RULES, RESIZE_RULE
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError
from cxr_kd.files import check_room, disk_errors, locked, read_json, write_json, written_whole
from cxr_kd.npy_rows import NpyRows, allocate
from cxr_kd.study.data_settings import Intensity

FORMAT = 2
BLOCK = 32  # images; what a kill can cost a process


@dataclass(frozen=True, eq=False)
class Cache:
    """A complete cache, open for reading.

    Attributes:
        images: uint8 (N, S, S), memory-mapped; the rows of quarantined images are black.
        index: `image_id, row` of the readable images.
        quarantine: `image_id, path, reason` of the others.
        manifest: dataset, kind, size, resize rule, intensity rule, counts, the hash of the table, and that of the
            pixels (SHA-256 of the blocks' SHA-256).
    """

    folder: Path
    images: np.memmap
    index: pd.DataFrame
    quarantine: pd.DataFrame
    manifest: dict[str, Any]

    @cached_property
    def _ids(self) -> pd.Index:
        return pd.Index(self.index["image_id"])

    def rows(self, image_ids: Iterable[str]) -> np.ndarray:
        """Return the row in `images` of each id, int64 (n,); DataError for ids that are not there or quarantined."""
        wanted = list(image_ids)
        positions = self._ids.get_indexer(pd.Index(wanted, dtype=object))
        missing = [image_id for image_id, position in zip(wanted, positions, strict=True) if position < 0]
        if missing:
            held = len(set(missing) & set(self.quarantine["image_id"]))
            raise DataError(
                f"cache {self.folder}: no pixels of {len(missing)} images, e.g. {', '.join(missing[:3])}; {held} are "
                "in quarantine (leave those out with readable()), the others are not of this cache's table"
            )
        return self.index["row"].to_numpy(np.int64)[positions]

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Return the images of these rows, uint8 (n, S, S), read from the file."""
        return self._file.read(rows)

    @cached_property
    def _file(self) -> NpyRows:
        return NpyRows(self.folder / "images.npy")

    def readable(self, image_ids: Iterable[str]) -> list[str]:
        """Return the ids that are not in quarantine, in the given order."""
        held = frozenset(self.quarantine["image_id"])
        return [image_id for image_id in image_ids if image_id not in held]


def open_cache(folder: Path) -> Cache:
    """Open a complete cache; DataError where there is none, or where it was written by another version."""
    manifest = _read_json(folder / "manifest.json")
    if manifest is None:
        raise DataError(f"{folder} holds no complete cache; build it with build_cache (an unfinished one goes on)")
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{folder}: cache of format {manifest.get('format')}, not {FORMAT}; delete it and build it again"
        )
    try:
        images = np.load(folder / "images.npy", mmap_mode="r")
        index, quarantine = (pd.read_parquet(folder / f"{name}.parquet") for name in ("index", "quarantine"))
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"{folder}: a damaged cache ({error}); delete the folder and build it again") from error
    return Cache(folder, images, index, quarantine, manifest)


def build_cache(
    table: CxrTable,
    folder: Path,
    size: int,
    *,
    keep_aspect: bool = False,
    intensity: Intensity = "fixed",
    workers: int = 1,
    progress: bool = True,
) -> Cache:
    """Decode every image of the table to uint8 (size, size), once; return the cache.

    A complete cache of the same table opens at once. One that was killed goes on: what is lost is the block under way.
    Two processes may ask for the same cache: one builds, the other waits. Processes are started (`workers` > 1) only
    where that saves time. Memory does not grow with the number of images.

    Raises:
        DataError: where the folder holds the cache of another table, size or rule, where the disk has no room, where a
            worker dies. Unreadable images are no error: they are in `Cache.quarantine`, with the reason.
    """
    plan = plan_of(table, size, keep_aspect=keep_aspect, intensity=intensity)
    if not _is_complete(folder, plan):
        busy = f"another process is building {folder}; waiting for it"
        with disk_errors(folder), locked(folder / ".lock", busy):
            if not _is_complete(folder, plan):  # another process may have built it meanwhile
                _build(table, folder, plan, workers, progress)
    return open_cache(folder)


def plan_of(table: CxrTable, size: int, *, keep_aspect: bool = False, intensity: Intensity = "fixed") -> dict[str, Any]:
    """What a cache holds: two caches of one plan have the same pixels. It becomes part of the manifest."""
    return {
        "format": FORMAT,
        "dataset": table.dataset,
        "kind": table.kind,
        "size": size,
        "keep_aspect": keep_aspect,
        "resize": RESIZE_RULE,
        "intensity": intensity,
        "intensity_rule": INTENSITY_RULES[intensity],
        "source_count": len(table),
        "table_sha256": table.files_sha256,
    }


def _is_complete(folder: Path, plan: dict[str, Any]) -> bool:
    manifest = _read_json(folder / "manifest.json")
    if manifest is not None:
        _check_same(folder, manifest, plan)
    return manifest is not None


def _check_same(folder: Path, found: dict[str, Any], plan: dict[str, Any]) -> None:
    other = [f"{key} {found.get(key)!r}, not {value!r}" for key, value in plan.items() if found.get(key) != value]
    if other:
        raise DataError(f"{folder} holds another cache ({'; '.join(other)}); take another folder or delete this one")


def _build(table: CxrTable, folder: Path, plan: dict[str, Any], workers: int, progress: bool) -> None:
    paths = [str(table.root / path) for path in table.frame["path"]]
    shape = (plan["size"], plan["keep_aspect"], plan["intensity"])
    blocks = [
        Block(folder, first, tuple(paths[first : first + BLOCK]), *shape) for first in range(0, len(paths), BLOCK)
    ]
    waiting = _not_done(folder, plan, blocks)
    left = sum(len(block.paths) for block in waiting)
    check_room(folder, left * plan["size"] ** 2, "the cache")
    if len(waiting) == len(blocks):
        _allocate(folder, plan)
    title = f"decoding {plan['dataset']} at {plan['size']} px"
    with tqdm(total=len(paths), initial=len(paths) - left, desc=title, unit=" images", disable=not progress) as bar:
        build_blocks(waiting, workers, bar.update)
    _finish(table, folder, plan, blocks)


def _not_done(folder: Path, plan: dict[str, Any], blocks: list[Block]) -> list[Block]:
    started = _read_json(folder / "plan.json")
    if started is None:  # without a plan, nobody knows what the blocks that may be there were of
        return blocks
    _check_same(folder, started, plan)
    return [block for block in blocks if not block.is_done()]


def _allocate(folder: Path, plan: dict[str, Any]) -> None:
    shutil.rmtree(folder / "blocks", ignore_errors=True)
    (folder / "blocks").mkdir()
    allocate(folder / "images.npy", (plan["source_count"], plan["size"], plan["size"]), np.uint8)
    write_json(folder / "plan.json", plan)


def _finish(table: CxrTable, folder: Path, plan: dict[str, Any], blocks: list[Block]) -> None:
    with (folder / "images.npy").open("rb") as file:
        os.fsync(file.fileno())  # the manifest must not outlive the pixels
    records = [block.record() or {} for block in blocks]
    reasons = {int(row): why for record in records for row, why in record["unreadable"].items()}
    frame = table.frame[["image_id", "path"]].assign(row=np.arange(len(table), dtype=np.int64))
    bad = frame["row"].isin(reasons)
    quarantine = frame.loc[bad, ["image_id", "path"]].assign(reason=[reasons[row] for row in frame.loc[bad, "row"]])
    for name, content in (("index", frame.loc[~bad, ["image_id", "row"]]), ("quarantine", quarantine)):
        with written_whole(folder / f"{name}.parquet") as temporary:
            content.reset_index(drop=True).to_parquet(temporary)
    pixels = hashlib.sha256("".join(record["sha256"] for record in records).encode()).hexdigest()
    write_json(folder / "manifest.json", {**plan, "quarantined": len(quarantine), "pixels_sha256": pixels})
    shutil.rmtree(folder / "blocks")
    (folder / "plan.json").unlink()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f"{path}: not what this project wrote")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{error}; delete the folder {path.parent} and build the cache again") from error
    return content

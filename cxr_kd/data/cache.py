"""Every image of a table decoded once, into one memory-mapped array.

A cache is a folder: `images.npy` (uint8 (N, S, S), row i for row i of the table), `index.parquet` (the readable
images), `quarantine.parquet` (the others, with the reason), and `manifest.json`, written last: a folder with it is
complete. While it is under way, `plan.json` says what is being built and `blocks/` holds a small file a finished block.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from tqdm.auto import tqdm

from cxr_kd.data.blocks import Block, build_blocks
from cxr_kd.data.decode import RESIZE_RULE
from cxr_kd.data.table import CxrTable, DataError
from cxr_kd.files import read_json, sha256_of, write_json, written_whole

FORMAT = 1
BLOCK = 128  # images; what a kill can cost

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Cache:
    """A complete cache, open for reading.

    Attributes:
        images: uint8 (N, S, S), memory-mapped; the rows of quarantined images are black.
        index: `image_id, row` of the readable images.
        quarantine: `image_id, path, reason` of the others.
        manifest: dataset, kind, size, resize rule, counts, and the hash of the table.
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
    images = np.load(folder / "images.npy", mmap_mode="r")
    index, quarantine = (pd.read_parquet(folder / f"{name}.parquet") for name in ("index", "quarantine"))
    return Cache(folder, images, index, quarantine, manifest)


def build_cache(
    table: CxrTable, folder: Path, size: int, *, keep_aspect: bool = False, workers: int = 1, progress: bool = True
) -> Cache:
    """Decode every image of the table to uint8 (size, size), once; return the cache.

    A complete cache of the same table opens at once. One that was killed goes on: what is lost is the block under way.
    Two processes may ask for the same cache: one builds, the other waits. Processes are started (`workers` > 1) only
    where that saves time. Memory does not grow with the number of images.

    Raises:
        DataError: where the folder holds the cache of another table or size, where the disk has no room, where a worker
            dies. Unreadable images are no error: they are in `Cache.quarantine`, with the reason.
    """
    plan = _plan(table, size, keep_aspect)
    if not _is_complete(folder, plan):
        with _lock(folder):
            if not _is_complete(folder, plan):  # another process may have built it meanwhile
                _build(table, folder, plan, workers, progress)
    return open_cache(folder)


def _plan(table: CxrTable, size: int, keep_aspect: bool) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "dataset": table.dataset,
        "kind": table.kind,
        "size": size,
        "keep_aspect": keep_aspect,
        "resize": RESIZE_RULE,
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


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOG.warning("another process is building %s; waiting for it", folder)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(table: CxrTable, folder: Path, plan: dict[str, Any], workers: int, progress: bool) -> None:
    started = _read_json(folder / "plan.json")
    if started is None:
        _allocate(folder, plan)
    else:
        _check_same(folder, started, plan)
    paths = [str(table.root / path) for path in table.frame["path"]]
    blocks = [
        Block(folder, first, tuple(paths[first : first + BLOCK]), plan["size"], plan["keep_aspect"])
        for first in range(0, len(paths), BLOCK)
    ]
    waiting = [block for block in blocks if not block.record.exists()]
    done = len(paths) - sum(len(block.paths) for block in waiting)
    title = f"decoding {plan['dataset']} at {plan['size']} px"
    with tqdm(total=len(paths), initial=done, desc=title, unit=" images", disable=not progress) as bar:
        build_blocks(waiting, workers, bar.update)
    _finish(table, folder, plan, blocks)


def _allocate(folder: Path, plan: dict[str, Any]) -> None:
    needed = plan["source_count"] * plan["size"] ** 2
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder}: the cache needs {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; make room first"
        )
    shutil.rmtree(folder / "blocks", ignore_errors=True)  # without a plan, nobody knows what they were of
    (folder / "blocks").mkdir()
    shape = (plan["source_count"], plan["size"], plan["size"])
    with written_whole(folder / "images.npy") as temporary:
        np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)  # sparse until written
    write_json(folder / "plan.json", plan)


def _finish(table: CxrTable, folder: Path, plan: dict[str, Any], blocks: list[Block]) -> None:
    reasons = {int(row): why for block in blocks for row, why in (_read_json(block.record) or {}).items()}
    frame = table.frame[["image_id", "path"]].assign(row=np.arange(len(table), dtype=np.int64))
    bad = frame["row"].isin(reasons)
    quarantine = frame.loc[bad, ["image_id", "path"]].assign(reason=[reasons[row] for row in frame.loc[bad, "row"]])
    for name, content in (("index", frame.loc[~bad, ["image_id", "row"]]), ("quarantine", quarantine)):
        with written_whole(folder / f"{name}.parquet") as temporary:
            content.reset_index(drop=True).to_parquet(temporary)
    counted = {"quarantined": len(quarantine), "pixels_sha256": sha256_of(folder / "images.npy")}
    write_json(folder / "manifest.json", {**plan, **counted})
    shutil.rmtree(folder / "blocks")
    (folder / "plan.json").unlink()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{error}; delete the folder {path.parent} and build the cache again") from error
    return content

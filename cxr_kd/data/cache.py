"""All images of a table, decoded once into one array on the disk.

A cache is a folder: `images.npy` (uint8 (N, S, S), row i for row i of the table), `index.parquet` (the readable
images), `quarantine.parquet` (the others, with the reason), `checksums.json` (SHA-256 of the two tables and of each
block of images) and `manifest.json`, written last: a folder that has it is complete. During a build, `plan.json` says
what is being built and `blocks/` holds one small file per finished block.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from cxr_kd.data.cache_blocks import BLOCK, Block, CheckedRows
from cxr_kd.data.images.decode import INTENSITY_RULES, RESIZE_RULE
from cxr_kd.data.parallel import soonest_done
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError
from cxr_kd.files import check_room, disk_errors, locked, read_json, sha256_of, write_json, written_whole
from cxr_kd.npy_rows import allocate
from cxr_kd.study.data_settings import Intensity

FORMAT = 3
TABLES = ("index.parquet", "quarantine.parquet")


@dataclass(frozen=True, eq=False)
class Cache:
    """A complete cache, open for reading.

    Attributes:
        images: uint8 (N, S, S), memory-mapped and unchecked; the rows of quarantined images are black. Use `pixels`
            for what a result depends on.
        index: `image_id, row` of the readable images.
        quarantine: `image_id, path, reason` of the others.
        manifest: dataset, kind, size, resize rule, intensity rule, counts, the hash of the table, and the hash of the
            pixels (SHA-256 of the blocks' SHA-256).
        block_sha256: SHA-256 (hex) of each block of BLOCK images.
    """

    folder: Path
    images: np.memmap
    index: pd.DataFrame
    quarantine: pd.DataFrame
    manifest: dict[str, Any]
    block_sha256: tuple[str, ...]

    @cached_property
    def _ids(self) -> pd.Index:
        return pd.Index(self.index["image_id"])

    @cached_property
    def _checked_images(self) -> CheckedRows:
        return CheckedRows(self.folder, self.block_sha256)

    def rows(self, image_ids: Iterable[str]) -> np.ndarray:
        """Return the row in `images` of each id, int64 (n,); DataError for unknown or quarantined ids."""
        wanted = list(image_ids)
        positions = self._ids.get_indexer(pd.Index(wanted, dtype=object))
        missing = [image_id for image_id, position in zip(wanted, positions, strict=True) if position < 0]
        if missing:
            bad = len(set(missing) & set(self.quarantine["image_id"]))
            raise DataError(
                f"cache {self.folder}: no pixels of {len(missing)} images, e.g. {', '.join(missing[:3])}; {bad} are "
                "in quarantine (leave those out with readable()), the others are not in the table of this cache"
            )
        return self.index["row"].to_numpy(np.int64)[positions]

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """Return the images of these rows, uint8 (n, S, S), read from the file.

        A block that has changed since it was decoded raises DataError at its first use in this process. Changes made
        after that are not noticed before the next process.
        """
        return self._checked_images.read(rows)

    def readable(self, image_ids: Iterable[str]) -> list[str]:
        """Return the ids that are not in quarantine, in the given order."""
        quarantined = frozenset(self.quarantine["image_id"])
        return [image_id for image_id in image_ids if image_id not in quarantined]


def open_cache(folder: Path) -> Cache:
    """Open a complete cache; its tables are compared with their SHA-256 here, its images when they are used.

    Raises:
        DataError: if there is no complete cache, or if it is damaged, changed or written by another version.
    """
    manifest = _read_json(folder / "manifest.json")
    if manifest is None:
        raise DataError(f"{folder} holds no complete cache; build_cache builds it, or completes an unfinished one")
    if manifest.get("format") != FORMAT:
        raise DataError(
            f"{folder}: cache of format {manifest.get('format')}, not {FORMAT}; delete it and build it again"
        )
    checksums = _read_json(folder / "checksums.json") or {}
    try:
        images = np.load(folder / "images.npy", mmap_mode="r")
        if images.shape != (manifest["source_count"], manifest["size"], manifest["size"]) or images.dtype != np.uint8:
            raise ValueError(f"images.npy holds {images.dtype} {images.shape}")
        changed = [name for name in TABLES if sha256_of(folder / name) != checksums.get(name)]
        if changed or _joint_sha256(checksums["blocks"]) != manifest["pixels_sha256"]:
            raise ValueError(f"{', '.join(changed) or 'checksums.json'} changed after the cache was built")
        index, quarantine = (pd.read_parquet(folder / name) for name in TABLES)
    except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow's errors are ValueErrors
        raise DataError(f"{folder}: a damaged cache ({error}); delete the folder and build it again") from error
    return Cache(folder, images, index, quarantine, manifest, tuple(checksums["blocks"]))


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
    """Decode every image of the table once to uint8 (size, size) and return the cache.

    A complete cache of the same table is opened at once. A build that was killed continues and loses only the blocks
    that were being decoded. If two processes ask for the same cache, one builds it and the other waits. Processes are
    started (`workers` > 1) only if that saves time. Memory does not grow with the number of images.

    Raises:
        StorageError: if the disk has no room or refuses a file, or if an image cannot be read because of the storage.
        DataError: if the folder holds the cache of another table, size or rule, or if a decoding process dies.
            Unreadable images are no error: `Cache.quarantine` lists them with the reason.
    """
    plan = plan_of(table, size, keep_aspect=keep_aspect, intensity=intensity)
    if not _is_complete(folder, plan):
        busy = f"another process is building {folder}; waiting for it"
        with disk_errors(folder), locked(folder / ".lock", busy):
            if not _is_complete(folder, plan):  # another process may have built it while this one waited
                _build(table, folder, plan, workers, progress)
    return open_cache(folder)


def plan_of(table: CxrTable, size: int, *, keep_aspect: bool = False, intensity: Intensity = "fixed") -> dict[str, Any]:
    """Return what a cache holds, which becomes part of its manifest: caches with one plan have the same pixels."""
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
        raise DataError(f"{folder} holds another cache ({'; '.join(other)}); use another folder or delete this one")


def _build(table: CxrTable, folder: Path, plan: dict[str, Any], workers: int, progress: bool) -> None:
    paths = [str(table.root / path) for path in table.frame["path"]]
    shape = (plan["size"], plan["keep_aspect"], plan["intensity"])
    blocks = [
        Block(folder, first, tuple(paths[first : first + BLOCK]), *shape) for first in range(0, len(paths), BLOCK)
    ]
    missing = _not_done(folder, plan, blocks)
    left = sum(len(block.paths) for block in missing)
    check_room(folder, left * plan["size"] ** 2, "the cache")
    if len(missing) == len(blocks):
        _allocate(folder, plan)
    title = f"decoding {plan['dataset']} at {plan['size']} px"
    with (
        tqdm(total=len(paths), initial=len(paths) - left, desc=title, unit=" images", disable=not progress) as bar,
        closing(soonest_done(Block.build, missing, workers)) as built,
    ):
        for images in built:
            bar.update(images)
    _finish(table, folder, plan, blocks)


def _not_done(folder: Path, plan: dict[str, Any], blocks: list[Block]) -> list[Block]:
    started = _read_json(folder / "plan.json")
    if started is None:  # without a plan, existing blocks cannot be reused
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
    reasons = {int(row): reason for record in records for row, reason in record["unreadable"].items()}
    frame = table.frame[["image_id", "path"]].assign(row=np.arange(len(table), dtype=np.int64))
    bad = frame["row"].isin(reasons)
    quarantine = frame.loc[bad, ["image_id", "path"]].assign(reason=[reasons[row] for row in frame.loc[bad, "row"]])
    for name, content in zip(TABLES, (frame.loc[~bad, ["image_id", "row"]], quarantine), strict=True):
        with written_whole(folder / name) as temporary:
            content.reset_index(drop=True).to_parquet(temporary)
    hashes = [record["sha256"] for record in records]
    write_json(folder / "checksums.json", {**{name: sha256_of(folder / name) for name in TABLES}, "blocks": hashes})
    counts = {"quarantined": len(quarantine), "pixels_sha256": _joint_sha256(hashes)}
    write_json(folder / "manifest.json", {**plan, **counts})
    shutil.rmtree(folder / "blocks")
    (folder / "plan.json").unlink()


def _joint_sha256(hashes: Iterable[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = read_json(path)
        if not isinstance(content, dict):
            raise ValueError(f"{path} is not as this project writes it")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{error}; delete the folder {path.parent} and build the cache again") from error
    return content

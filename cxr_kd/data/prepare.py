"""Images, labels and split of a study: every step after `01_data` starts from them."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_kd.data import read
from cxr_kd.data.cache import Cache, build_cache, plan_of
from cxr_kd.data.data_card import data_card_of
from cxr_kd.data.image_sources import check_headline_source, source_counts
from cxr_kd.data.readers import phantom
from cxr_kd.data.splits import Side, Split, split_of
from cxr_kd.data.table import CxrTable
from cxr_kd.files import write_json
from cxr_kd.study import Study
from cxr_kd.study.data_settings import DataSettings
from cxr_kd.study.settings import digest

if TYPE_CHECKING:
    from cxr_kd.data.loader import Batches


@dataclass(frozen=True, eq=False)
class Prepared:
    """The images of a study: its table without quarantined rows, its cache, its split."""

    table: CxrTable
    cache: Cache
    split: Split

    @cached_property
    def identity(self) -> str:
        """SHA-256 of everything that a run depends on: pixels, labels, patients, sources, split; not files' dates."""
        sources = ["source"] if self.table.image_sources else []  # predictions files hold them
        frame = self.table.frame[["image_id", "patient_id", *sources, *self.table.findings]]
        pixels = {name: value for name, value in self.cache.manifest.items() if name != "table_sha256"}
        return digest([frame.to_csv(index=False), pixels, self.split.sha256])

    def batches(self, side: Side, batch_size: int, **settings: Any) -> "Batches":
        """Return the batches of one side; `settings` as in `loader.Batches`."""
        from cxr_kd.data.loader import Batches  # loads torch, which checks of the data do not need

        return Batches(self.cache, self.table, getattr(self.split, side), batch_size=batch_size, **settings)

    def pixels(self, side: Side, at_once: int) -> Iterator[np.ndarray]:
        """Yield the 8-bit images of one side in its order, uint8 (n, S, S) with n at most `at_once`."""
        rows = self.cache.rows(getattr(self.split, side))
        for start in range(0, len(rows), at_once):
            yield self.cache.pixels(rows[start : start + at_once])

    def card(self) -> dict[str, Any]:
        """Return the data card, which the report shows (`data_card.data_card_of`)."""
        return data_card_of(self.table, self.cache, self.split, self.identity)


def prepare(study: Study, *, workers: int | None = None, progress: bool = True) -> Prepared:
    """Read (or draw) the data set, decode every image once and split by patient; finished parts are reused."""
    table, split = read_and_split(study.data, study.data_root(), workers=workers, progress=progress)
    check_headline_source(study, source_counts(table, split))
    prepared = decoded(study, table, split, workers=workers, progress=progress)
    study.runs_folder.mkdir(parents=True, exist_ok=True)
    prepared.split.to_json(study.runs_folder / "split.json")
    write_json(study.runs_folder / "data.json", prepared.card())
    return prepared


def read_and_split(
    settings: DataSettings, root: Path, *, workers: int | None = None, progress: bool = True
) -> tuple[CxrTable, Split]:
    """Return the table and the split of a data set in the folder `root`; phantoms are drawn there first."""
    if settings.phantom:
        phantom.write(root, settings.phantom, workers=workers or os.cpu_count() or 1, progress=progress)
    table = read(settings, root)
    return table, split_of(table, settings)


def decoded(
    study: Study, table: CxrTable, split: Split, *, workers: int | None = None, progress: bool = True
) -> Prepared:
    """Return the images of a table as the study's networks see them, each decoded once; without unreadable ones."""
    pixels: dict[str, Any] = {"keep_aspect": study.keep_aspect, "intensity": study.intensity}
    folder = _cache_folder(study, plan_of(table, study.image_size, **pixels))
    workers = workers or os.cpu_count() or 1
    cache = build_cache(table, folder, study.image_size, **pixels, workers=workers, progress=progress)
    readable = cache.readable(table.frame["image_id"])
    split = split.only(readable)
    return Prepared(_without_images_outside(table.select(readable), split), cache, split)


def _without_images_outside(table: CxrTable, split: Split) -> CxrTable:
    inside = [image_id for image_id in table.frame["image_id"] if split.side(image_id)]
    if len(inside) == len(table):
        return table
    outside = {"images on no side of the split": len(table) - len(inside)}
    return replace(table.select(inside), left_out={**table.left_out, **outside})


def _cache_folder(study: Study, plan: Mapping[str, Any]) -> Path:
    """Return the cache folder of a plan: changed data, or data read by other rules, get another cache."""
    return study.home / "runs" / "cache" / f"{plan['dataset']}-{plan['size']}-{digest(plan)[:12]}"

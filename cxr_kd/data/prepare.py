"""From a study to its images, labels and split: what every step after `01_data` starts from."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_kd.data import phantom, read
from cxr_kd.data.cache import Cache, build_cache
from cxr_kd.data.splits import SIDES, Side, Split, make_split
from cxr_kd.data.table import CxrTable
from cxr_kd.files import write_json
from cxr_kd.settings import digest
from cxr_kd.study import Study

if TYPE_CHECKING:
    from cxr_kd.data.loader import Batches


@dataclass(frozen=True, eq=False)
class Prepared:
    """The images of a study: its table without quarantined rows, its cache, its split."""

    table: CxrTable
    cache: Cache
    split: Split

    @property
    def identity(self) -> str:
        """SHA-256 of what a training sees: images, labels, patients, split."""
        frame = self.table.frame[["image_id", "patient_id", *self.table.findings]]
        return digest([frame.to_csv(index=False), self.cache.manifest, self.split.sha256])

    def batches(self, side: Side, batch_size: int, **settings: Any) -> "Batches":
        """Batches of one side; `settings` as in `loader.Batches`."""
        from cxr_kd.data.loader import Batches  # torch: not for those who only look at the data

        return Batches(self.cache, self.table, getattr(self.split, side), batch_size=batch_size, **settings)

    def card(self) -> dict[str, Any]:
        """What the report says of the data; every number counted here."""
        table = self.table
        sides = {side: table.select(getattr(self.split, side)).frame for side in SIDES}
        return {
            "dataset": table.dataset,
            "kind": table.kind,
            "source": {key: text for key, text in table.source.items() if key != "fingerprint"},
            "image_size": self.cache.images.shape[1],
            "identity": self.identity,
            "images": len(table.frame),
            "patients": int(table.frame["patient_id"].nunique()),
            "findings": list(table.findings),
            "split": {
                "name": self.split.name,
                "sha256": self.split.sha256,
                "sides": {
                    side: {"images": len(frame), "patients": int(frame["patient_id"].nunique())}
                    for side, frame in sides.items()
                },
            },
            "positives": {
                side: {finding: int((frame[finding] == 1).sum()) for finding in table.findings}
                for side, frame in sides.items()
            },
            "left_out": dict(table.left_out),
            "quarantined": len(self.cache.quarantine),
        }


def prepare(study: Study, *, workers: int | None = None, progress: bool = True) -> Prepared:
    """Read (or draw) the data set, decode every image once, split by patient; what is there is not made again."""
    workers = workers or os.cpu_count() or 1
    root = study.data_root()
    if study.data.phantom:
        phantom.write(root, study.data.phantom, workers=workers, progress=progress)
    table = read(study.data.dataset, root)
    cache = build_cache(
        table,
        _cache_folder(study, table),
        study.image_size,
        keep_aspect=study.keep_aspect,
        workers=workers,
        progress=progress,
    )
    unreadable = set(cache.quarantine["image_id"])
    table = table.select([image_id for image_id in table.frame["image_id"] if image_id not in unreadable])
    split = make_split(
        table, study.data.split, seed=study.data.split_seed, validation_share=study.data.validation_share
    )
    prepared = Prepared(table, cache, split)
    study.runs.mkdir(parents=True, exist_ok=True)
    split.to_json(study.runs / "split.json")
    write_json(study.runs / "data.json", prepared.card())
    return prepared


def _cache_folder(study: Study, table: CxrTable) -> Path:
    """One folder for each set of files at each size: data that has changed gets a cache of its own."""
    shape = f"{study.image_size}{'-aspect' if study.keep_aspect else ''}"
    return study.home / "runs" / "cache" / f"{study.data.dataset}-{shape}-{table.files_sha256[:12]}"

"""The folder `study` beside the report: a copy of the study's file and of the results that the report is written from.

It is a study's home as any other, with `studies/NAME.yaml` and `runs/NAME`, so `load_study` reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from cxr_kd.evaluation import across
from cxr_kd.evaluation.study_results import SOURCE_COLUMNS
from cxr_kd.explanation.map_tables import FOLDER as MAPS
from cxr_kd.explanation.map_tables import PAIRS
from cxr_kd.files import read_json, written_whole
from cxr_kd.report.needed import needed_files
from cxr_kd.report.study_files import PICTURES
from cxr_kd.study import Study

FOLDER = "study"  # beside the page


def copied_files(study: Study) -> dict[str, Path]:
    """Return the path in the copy -> file of each file that is copied; predictions only if the study shares them."""
    files = {f"studies/{study.file.name}": study.file}
    for path in (*_read_by_the_report(study), *(_predictions(study) if study.predictions_are_shared else ())):
        if path.is_file():
            files[f"runs/{study.name}/{path.relative_to(study.runs_folder).as_posix()}"] = path
    return files


def write_copy(files: Mapping[str, Path], report: Path) -> list[str]:
    """Write the copy (`copied_files`) into FOLDER of a report's folder, and remove what an older copy had more.

    Returns the paths of the files in `report`. Raises StorageError if the disk refuses them.
    """
    folder = report / FOLDER
    for name, source in files.items():
        with written_whole(folder / name) as temporary:
            temporary.write_bytes(source.read_bytes())
    for old in folder.rglob("*"):
        if old.is_file() and old.relative_to(folder).as_posix() not in files:
            old.unlink()
    return [f"{FOLDER}/{name}" for name in files]


def _read_by_the_report(study: Study) -> Iterator[Path]:
    for path, _ in needed_files(study):
        yield path
    for name in (*SOURCE_COLUMNS, *PICTURES):
        yield study.runs_folder / name
    for run in study.all_runs:
        yield study.run_folder(run) / "history.csv"
    folder = study.runs_folder / MAPS
    for entry in read_json(folder / "explanations.json"):
        yield folder / entry["file"]


def _predictions(study: Study) -> Iterator[Path]:
    """The predictions of all runs, and the values of all maps."""
    for run in study.all_runs:
        for side in ("validation", "test"):
            yield study.run_folder(run) / f"predictions-{side}.parquet"
        for name in study.evaluate_on:
            yield study.external_folder(run, name) / across.PREDICTIONS
    yield study.runs_folder / MAPS / PAIRS

"""Which notebooks must still run before the report can be written: one sentence with all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cxr_kd.errors import ReportError
from cxr_kd.evaluation import ablation, across, details, study_results
from cxr_kd.explanation import map_tables
from cxr_kd.study import Study

DEVICE_FILES = ("device.csv", "exported.csv", "smaller.csv", "familiar.csv")


def check_ready(study: Study) -> None:
    """Raise ReportError that names every notebook whose files are missing, and the command that runs all of them."""
    missing = list(dict.fromkeys(notebook for path, notebook in needed_files(study) if not path.is_file()))
    if missing:
        raise ReportError(
            f"the report of {study.file.stem!r} needs files that are not there yet: run the notebooks "
            f"{', '.join(missing)} of this study, in this order, or all at once: make study STUDY={study.file}"
        )


def needed_files(study: Study) -> Iterator[tuple[Path, str]]:
    """Yield each file that the report reads, with the notebook that writes it, in the order of the notebooks."""
    folder = study.runs_folder
    yield folder / "data.json", "01_data"
    names = [*study_results.COLUMNS, *details.FILES, *(across.FILES if study.evaluate_on else ())]
    for run in study.all_runs:  # 04_evaluate trains what is missing
        yield study.run_folder(run) / "card.json", study_results.NOTEBOOK
    for name in names:
        yield folder / name, study_results.NOTEBOOK
    for name in ablation.FILES if study.ablation else ():
        yield folder / name, ablation.NOTEBOOK
    yield folder / "explanations" / "explanations.json", map_tables.NOTEBOOK
    for name in map_tables.COLUMNS:
        yield folder / map_tables.FOLDER / name, map_tables.NOTEBOOK
    for name in DEVICE_FILES:
        yield folder / name, "07_device"

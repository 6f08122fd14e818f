"""The files that the report is written from, read and checked to belong together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cxr_kd.data.image_sources import check_headline_source
from cxr_kd.errors import ReportError
from cxr_kd.evaluation import ablation, across, details, study_results
from cxr_kd.evaluation.study_results import (
    COLUMNS,
    SOURCE_COLUMNS,
    SourceResults,
    read_results,
    read_source_results,
)
from cxr_kd.explanation import map_tables
from cxr_kd.files import read_json
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, arms_of

PICTURES = {  # file that notebook 01 writes -> caption in the report
    "data-contact-sheet.png": "Radiographs of the data set, with the findings outlined where their place is known.",
    "data-patients.png": "Patients and radiographs: age and sex, images per patient, view position.",
    "data-cooccurrence.png": "Which findings occur together.",
}
# Keys that data cards of older versions do not have.
DATA_KEYS = ("known", "prevalence", "views", "patients_by_sex", "age", "marks", "quarantine", "brightest",
             "image_sources")  # fmt: skip
COST_COLUMNS = ("run", "network", "image_size", "parameters", "macs", "file_mb", "latency_ms_median", "latency_ms_p25",
                "latency_ms_p75", "cpu", "threads")  # fmt: skip
EXPORT_COLUMNS = ("run", "precision", "way", "runtime", "file_mb", "images", "logit_difference", "map_correlation",
                  "auroc_exported", "auroc_change", "auroc_change_low", "auroc_change_high", "decisions", "flipped",
                  "latency_ms_median", "latency_ms_p25", "latency_ms_p75", "faster", "faster_low", "faster_high", "cpu",
                  "threads")  # fmt: skip
SMALLER_COLUMNS = ("run", "precision", "way", "file_mb", "auroc_loss", "finding", "finding_loss", "map_cosine",
                   "faster", "faster_low", "faster_high", "refused", "chosen")  # fmt: skip

FAMILIAR_COLUMNS = ("images", "told", "n", "refused", "share", "low", "high", "median_distance", "limit_share",
                    "train_images", "validation_images")  # fmt: skip


@dataclass(frozen=True, eq=False)
class StudyFiles:
    """The content of a study's files."""

    data: Mapping[str, Any]  # the data card
    pictures: Sequence[tuple[Path, str]]  # of the data: file, caption
    cards: Mapping[str, Mapping[str, Any]]  # run -> run card
    histories: Mapping[str, Sequence[pd.DataFrame]]  # arm -> history.csv of each seed
    evaluations: pd.DataFrame
    comparisons: pd.DataFrame
    with_teachers: pd.DataFrame
    kept_shares: pd.DataFrame
    details: Mapping[str, pd.DataFrame]  # `evaluation.details.read_details`
    explanations: Sequence[tuple[Path, str]]  # file, caption
    maps: Mapping[str, pd.DataFrame]  # `explanation.map_tables.read_map_tables`
    cost: pd.DataFrame  # device.csv with the column `arm`, one row per arm
    exported: pd.DataFrame  # exported.csv with the column `arm`, one row per file and runtime
    smaller: pd.DataFrame  # smaller.csv with the column `arm`, one row per candidate
    familiar: pd.DataFrame  # familiar.csv
    by_source: SourceResults | None  # if the images have sources
    across: Mapping[str, pd.DataFrame] | None  # `evaluation.across.read_across`, if the study names further data sets
    ablation: tuple[pd.DataFrame, pd.DataFrame] | None  # `evaluation.ablation.read_ablation`, if the study has one


def read_study_files(study: Study) -> StudyFiles:
    """Return the content of a study's files.

    Raises ReportError if a file is missing or incomplete, or belongs to another split, data or settings than the study
    has now; StudyError for a headline source that the images do not have.
    """
    data = read_data_card(study)
    check_headline_source(study, data["image_sources"])
    cards = read_run_cards(study, data)
    by_source = SOURCE_COLUMNS if data["image_sources"] else ()
    for name in (*COLUMNS, *by_source, *details.FILES):
        _needed(study.runs_folder / name, study_results.NOTEBOOK)
    for name in across.FILES if study.evaluate_on else ():
        _needed(study.runs_folder / name, study_results.NOTEBOOK)
    for name in ablation.FILES if study.ablation else ():
        _needed(study.runs_folder / name, ablation.NOTEBOOK)
    results = read_results(study)
    if set(results.evaluations["arm"]) != set(arms_of(study)):
        raise ReportError(
            f"{study.runs_folder / 'evaluations.csv'}: holds other networks than the study; run 04_evaluate again"
        )
    return StudyFiles(
        data=data,
        pictures=[(study.runs_folder / n, text) for n, text in PICTURES.items() if (study.runs_folder / n).is_file()],
        cards=cards,
        histories={
            arm: [pd.read_csv(_needed(study.run_folder(run) / "history.csv", "03_distill")) for run in runs]
            for arm, runs in arms_of(study).items()
        },
        evaluations=results.evaluations,
        comparisons=results.comparisons,
        with_teachers=results.with_teachers,
        kept_shares=results.kept_shares,
        details=details.read_details(study),
        explanations=_explanations(study.runs_folder / "explanations"),
        maps=read_maps(study),
        cost=read_cost(study),
        exported=_with_arms(study, "exported.csv", EXPORT_COLUMNS),
        smaller=_with_arms(study, "smaller.csv", SMALLER_COLUMNS),
        familiar=_familiar(study),
        by_source=_by_source(study, data),
        across=across.read_across(study),
        ablation=ablation.read_ablation(study) if study.ablation else None,
    )


def headline_results(study: Study, files: StudyFiles) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the evaluations and comparisons that a headline is about: of all test images, or of its source's."""
    source = study.evaluation.headline_source
    if not source or not files.by_source:
        return files.evaluations, files.comparisons
    evaluations, comparisons = files.by_source.evaluations, files.by_source.comparisons
    return evaluations[evaluations["source"] == source], comparisons[comparisons["source"] == source]


def _by_source(study: Study, data: Mapping[str, Any]) -> SourceResults | None:
    if not data["image_sources"]:
        return None
    results = read_source_results(study)
    tested = {source for source, sides in data["image_sources"].items() if sides["test"]["images"]}
    wanted = {(source, arm) for source in tested for arm in arms_of(study)}
    if set(zip(results.evaluations["source"], results.evaluations["arm"], strict=True)) != wanted:
        raise ReportError(
            f"{study.runs_folder / 'evaluations-by-source.csv'}: holds other networks or sources than the study; run "
            "04_evaluate again"
        )
    return results


def read_data_card(study: Study) -> dict[str, Any]:
    """Return the data card of a study. Raises ReportError if it is missing or of an older version."""
    path = _needed(study.runs_folder / "data.json", "01_data")
    data: dict[str, Any] = read_json(path)
    if missing := [key for key in DATA_KEYS if key not in data]:
        raise ReportError(f"{path}: no {', '.join(missing)}; run 01_data again")
    return data


def read_run_cards(study: Study, data: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the card of each run, by the run's name; `data` is the data card.

    Raises ReportError if a card is missing or belongs to another split, data or settings than the study has now.
    """
    cards = {}
    for run in study.all_runs:
        path = _needed(study.run_folder(run) / "card.json", "02_teacher" if run.role == "teacher" else "03_distill")
        cards[run.name] = read_json(path)
        if cards[run.name]["split_sha256"] != data["split"]["sha256"]:
            raise ReportError(f"{path}: trained on another split than the one in data.json; train this run again")
        if cards[run.name]["settings_sha256"] != study.identity(run, data["identity"]):
            raise ReportError(f"{path}: trained with other settings or data than the study's now; train it again")
    return cards


def _explanations(folder: Path) -> list[tuple[Path, str]]:
    """Return the figures of explanations.json: [{"file": name in the folder, "caption": text}, ...]."""
    listed = read_json(_needed(folder / "explanations.json", "06_explain"))
    return [(_needed(folder / entry["file"], "06_explain"), entry["caption"]) for entry in listed]


def read_maps(study: Study) -> dict[str, pd.DataFrame]:
    """Return the tables about maps; ReportError unless they are of the study's networks."""
    for name in map_tables.COLUMNS:
        _needed(study.runs_folder / map_tables.FOLDER / name, map_tables.NOTEBOOK)
    tables = map_tables.read_map_tables(study)
    networks = tables["maps.csv"].loc[tables["maps.csv"]["kind"] == "network", "arm"]
    if len(networks) and set(networks) != set(all_arms(study)):
        path = study.runs_folder / map_tables.FOLDER / "maps.csv"
        raise ReportError(f"{path}: holds other networks than the study; run {map_tables.NOTEBOOK} again")
    return tables


def read_cost(study: Study) -> pd.DataFrame:
    """Return device.csv with one row per arm: all seeds have the same network."""
    frame = _with_arms(study, "device.csv", COST_COLUMNS).drop_duplicates("arm").reset_index(drop=True)
    ratios = [f"latency_ratio{end}:{name}" for name in frame["network"] for end in ("", "_low", "_high")]
    if missing := [column for column in dict.fromkeys(ratios) if column not in frame]:
        raise ReportError(f"{study.runs_folder / 'device.csv'}: no column {', '.join(missing)}; run 07_device again")
    return frame


def _familiar(study: Study) -> pd.DataFrame:
    path = _needed(study.runs_folder / "familiar.csv", "07_device")
    return _with_columns(path, FAMILIAR_COLUMNS)


def _with_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table of 07_device; ReportError if it lacks one of these columns."""
    frame = pd.read_csv(path)
    if missing := [column for column in columns if column not in frame]:
        raise ReportError(f"{path}: no column {', '.join(missing)}; run 07_device again")
    return frame


def _with_arms(study: Study, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table of 07_device with the column `arm`; texts that are missing are empty."""
    path = _needed(study.runs_folder / name, "07_device")
    frame = _with_columns(path, columns)
    arm_of_run = {run.name: arm for arm, runs in arms_of(study).items() for run in runs}
    if unknown := sorted(set(frame["run"]) - set(arm_of_run)):
        raise ReportError(f"{path}: the study has no run {unknown[0]!r}; run 07_device again")
    texts = {
        column: frame[column].astype(object).fillna("") for column in ("way", "finding", "refused") if column in frame
    }
    return frame.assign(arm=frame["run"].map(arm_of_run), **texts)


def _needed(path: Path, notebook: str) -> Path:
    if not path.is_file():
        raise ReportError(f"{path}: there is no such file; run notebook {notebook} of this study first")
    return path

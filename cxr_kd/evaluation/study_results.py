"""The results of a study as tables: every arm evaluated, and students compared with controls and teachers.

If the images have sources, both are also given within each source. Notebook 04_evaluate computes the tables from the
runs' predictions files and writes them; the report reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from cxr_kd.data.image_sources import check_headline_source
from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation import kept_share
from cxr_kd.evaluation.arm_tables import (
    SOURCE_ONLY,
    ArmPredictions,
    compare_arms,
    evaluate_arms,
    image_sources,
    non_inferior,
    source_only,
    within_sources,
)
from cxr_kd.evaluation.bootstrap import METRICS, check_same_images
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.files import read_json, write_csv
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, arms_of, controls, taught

_NAMES = {"source": str, "group": str, "data_set": str}  # columns whose values may look like numbers: a scanner "01"
NOTEBOOK = "04_evaluate"  # which writes these tables
_ESTIMATES = tuple(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high"))
_DIFFERENCES = tuple(
    f"{metric}_{part}"
    for metric in METRICS
    for part in ("difference", "low", "high", "se_patients", "se_trainings", "p", "p_holm")
)
_TEXTS = frozenset({
    "source", "arm", "first", "second", "question", "finding", "left_out", "interval", "testing", "data_set", "dataset",
    "kind", "split", "teacher", "alone", "student",
})  # fmt: skip
# Tables of a study in its runs folder -> the columns that they must have.
COLUMNS = {
    "evaluations.csv": (
        "arm", "seeds", "finding", "images", "positives", "left_out", "prevalence", "interval", *_ESTIMATES,
    ),
    "comparisons.csv": ("first", "second", "finding", "positives", "left_out", "interval", *_DIFFERENCES, "shown"),
    "comparisons-with-teachers.csv": (
        "first", "second", "finding", "positives", "left_out", "interval", *_DIFFERENCES, "shown", "non_inferior",
    ),
    "kept-shares.csv": kept_share.COLUMNS,
}  # fmt: skip
# The same within each source of images, and of the source-only scores over all images; only if the images have sources.
SOURCE_COLUMNS = {
    "evaluations-by-source.csv": ("source", *COLUMNS["evaluations.csv"]),
    "comparisons-by-source.csv": ("source", *COLUMNS["comparisons.csv"]),
    "source-only.csv": COLUMNS["evaluations.csv"],
}


class Results(NamedTuple):
    """The tables of COLUMNS.

    evaluations: `arm_tables.evaluate_arms`. comparisons: `arm_tables.compare_arms` of each distilled student with its
    control: distilled minus alone. with_teachers: the same of each student with the teachers of its network: student
    minus teacher, with the column non_inferior (`arm_tables.non_inferior`; empty if the study states no margin).
    kept_shares: `kept_share.kept_shares` of each distilled student with each of its teachers.
    """

    evaluations: pd.DataFrame
    comparisons: pd.DataFrame
    with_teachers: pd.DataFrame
    kept_shares: pd.DataFrame


@dataclass(frozen=True, eq=False)
class SourceResults:
    """The tables of SOURCE_COLUMNS: `arm_tables` within each source, and of the source-only scores."""

    evaluations: pd.DataFrame
    comparisons: pd.DataFrame
    source_only: pd.DataFrame


def read_predictions(study: Study, arms: Iterable[str], side: str = "test") -> dict[str, list[Predictions]]:
    """Return the predictions of each of `arms` on one side, one per seed, each arm once.

    Raises PredictionsError for a missing or damaged file, and unless all files hold the same images and labels.
    """
    runs_of = all_arms(study)
    predictions = {
        arm: [Predictions.read(study.run_folder(run) / f"predictions-{side}.parquet") for run in runs_of[arm]]
        for arm in dict.fromkeys(arms)
    }
    check_same_images([run for runs in predictions.values() for run in runs])
    return predictions


def evaluate_study(study: Study) -> Results:
    """Return the results of the study's arms on the test side, without an ablation's variants."""
    return _results(read_predictions(study, arms_of(study)), study)


def write_results(study: Study) -> Results:
    """Write and return the tables of `evaluate_study`.

    If the images have sources, the files of SOURCE_COLUMNS are written too. Their source-only scores need the data card
    (data.json, which 01_data writes); no model is needed.
    """
    predictions = read_predictions(study, arms_of(study))
    results, by_source = _results(predictions, study), _source_results(study, predictions)
    for name, frame in zip(COLUMNS, results, strict=True):
        write_csv(study.runs_folder / name, frame)
    for name in SOURCE_COLUMNS:
        if by_source:
            write_csv(study.runs_folder / name, by_source[name])
        else:
            (study.runs_folder / name).unlink(missing_ok=True)  # of an earlier evaluation, with sources
    return results


def read_results(study: Study) -> Results:
    """Return the results from their files (COLUMNS). Raises PredictionsError as `read_table` does."""
    return Results(*(read_table(study.runs_folder / name, columns) for name, columns in COLUMNS.items()))


def read_source_results(study: Study) -> SourceResults:
    """Return the results by source from their files (SOURCE_COLUMNS). Raises PredictionsError as `read_table` does."""
    return SourceResults(*(read_table(study.runs_folder / name, columns) for name, columns in SOURCE_COLUMNS.items()))


def _results(predictions: ArmPredictions, study: Study) -> Results:
    comparisons = _compared(predictions, controls(study), study)
    with_teachers = _compared(predictions, taught(study), study)
    margin = study.evaluation.non_inferiority_margin
    found = np.nan if margin is None else non_inferior(with_teachers, margin)
    evaluations = evaluate_arms(predictions, study.evaluation, study.seeds)
    kept = kept_share.kept_shares(predictions, _triples(study), study.evaluation)
    return Results(evaluations, comparisons, with_teachers.assign(non_inferior=found), kept)


def _triples(study: Study) -> list[tuple[str, str, str]]:
    """The teacher, the student alone and the distilled student of each distilled student that has such a control."""
    alone = {student: control for control, student in controls(study)}
    return [(teacher, alone[student], student) for teacher, student in taught(study) if student in alone]


def _compared(predictions: ArmPredictions, pairs: Sequence[tuple[str, str]], study: Study) -> pd.DataFrame:
    """`compare_arms` of a study's arms; no row, but the columns, without a pair."""
    frame = compare_arms(predictions, pairs, study.evaluation, study.seeds)
    return pd.DataFrame(columns=list(COLUMNS["comparisons.csv"])) if frame.empty else frame


def _source_results(study: Study, predictions: ArmPredictions) -> dict[str, pd.DataFrame]:
    """Return file name -> table of the results by source; {} if the images have no sources."""
    counts = _source_counts(study, predictions)
    if not counts:
        return {}
    one_run = next(iter(predictions.values()))[0]
    frames = (
        within_sources(predictions, lambda inside: evaluate_arms(inside, study.evaluation, study.seeds)),
        within_sources(predictions, lambda inside: _compared(inside, controls(study), study)),
        evaluate_arms({SOURCE_ONLY: [source_only(one_run, counts)]}, study.evaluation),
    )
    return dict(zip(SOURCE_COLUMNS, frames, strict=True))


def _source_counts(study: Study, predictions: ArmPredictions) -> Mapping[str, Any]:
    """Return `image_sources` of the data card; {} if the images have no sources.

    Raises PredictionsError if the card is missing or of another split, or if card and predictions disagree.
    """
    path, sources = study.runs_folder / "data.json", image_sources(predictions)
    if not sources and not path.is_file():
        return {}
    try:
        card = read_json(path)
        counts: Mapping[str, Any] = card["image_sources"]
        sha256 = card["split"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if not sources:
            return {}
        raise PredictionsError(f"{path}: not this study's data card ({error!r}); run notebook 01_data again") from error
    one_run = next(iter(predictions.values()))[0]
    if bool(counts) != bool(sources) or (counts and one_run.metadata.split_sha256 != sha256):
        raise PredictionsError(
            f"{one_run.source}: scored on images with other sources, or on another split, than those of {path}; run "
            "notebook 01_data again, and train this run again"
        )
    check_headline_source(study, counts)
    return counts


def read_table(path: Path, columns: Sequence[str], notebook: str = NOTEBOOK) -> pd.DataFrame:
    """Return a table of results from a CSV file of `notebook`; an empty `left_out` is "", other empty cells are NaN.

    Raises PredictionsError if there is no such file, if it cannot be read as CSV, if one of `columns` is missing, or if
    one of them holds text in place of numbers.
    """
    if not path.is_file():
        raise PredictionsError(f"{path}: there is no such file; run notebook {notebook} of this study")
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=_NAMES)
    except (ValueError, OSError) as error:  # pandas' errors about content and encoding are ValueErrors
        raise PredictionsError(
            f"{path}: not readable as CSV ({str(error).strip()}); run notebook {notebook} again"
        ) from error
    if missing := [column for column in columns if column not in frame]:
        raise PredictionsError(f"{path}: no column {', '.join(missing)}; run notebook {notebook} again")
    numbers = frame[[column for column in columns if column not in _TEXTS]]
    if texts := [column for column in numbers if len(frame) and not is_numeric_dtype(numbers[column])]:
        raise PredictionsError(f"{path}: column {texts[0]} must hold numbers; run notebook {notebook} again")
    return frame.assign(left_out=frame["left_out"].fillna("")) if "left_out" in frame else frame

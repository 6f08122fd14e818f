"""An ablation's results as two tables: each arm compared with the reference, and what each arm took and gained.

Every difference is the arm minus the reference: above 0, the arm is better. Intervals and p-values cover patients and
trainings (`uncertainty.compare`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.arm_tables import ArmPredictions
from cxr_kd.evaluation.bootstrap import MEAN, METRICS
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.study_results import COLUMNS, read_predictions, read_table
from cxr_kd.evaluation.uncertainty import compare, correct_over_comparisons
from cxr_kd.files import read_json, write_csv
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, compared_arms, control_of
from cxr_kd.study.runs import Run

NOTEBOOK = "05_ablation"  # which writes these files
FILES = ("ablation.csv", "ablation-arms.csv")
AGREEMENT_COLUMNS = tuple(f"agreement{part}{end}" for part in ("", "_difference") for end in ("", "_low", "_high"))
CONTROL_COLUMNS = ("over_control", "over_control_low", "over_control_high")
TIME_COLUMNS = ("training_seconds", "teacher_training_seconds", "answering_seconds", "answers_mb", "views")


def question_arms(study: Study) -> list[tuple[str, str]]:
    """Return the pairs (question, arm that answers it) in the study's order; empty without an ablation."""
    questions = study.ablation.questions if study.ablation else {}
    return [(question, arm) for question, arms in questions.items() for arm in arms]


def compare_ablation(study: Study, predictions: ArmPredictions | None = None) -> pd.DataFrame:
    """Return each arm minus the reference on the test side: one row per question, arm and finding, the mean last.

    Columns: question, arm, and those of `uncertainty.compare`, with the seeds of the study. p-values are corrected over
    the findings of an arm; those of the mean are corrected over all arms. `predictions`: of the compared arms, if they
    have been read.
    """
    arms = _compared(study)
    predictions = predictions or read_predictions(study, arms)
    frames = []
    for question, arm in question_arms(study):
        frame = compare(predictions[arms[0]], predictions[arm], study.evaluation, study.seeds)
        frame = frame.drop(columns=["first", "second"])
        frame.insert(0, "question", question)
        frame.insert(1, "arm", arm)
        frames.append(frame)
    return correct_over_comparisons(pd.concat(frames, ignore_index=True))


def describe_arms(study: Study, agreements: pd.DataFrame, predictions: ArmPredictions | None = None) -> pd.DataFrame:
    """Return what each compared arm took and gained: one row per arm, the reference first.

    Columns: arm; training_seconds (of one student), teacher_training_seconds and answering_seconds (of its teachers),
    answers_mb, all means over seeds; views; over_control, over_control_low, over_control_high (mean AUROC minus that of
    the same network trained alone; NaN without such a control and for the control itself); and the columns of
    `agreements`, which has one row per arm. `predictions`: of the compared arms and their controls, if they have been
    read.
    """
    arms, runs_of = _compared(study), all_arms(study)
    control_by_arm = {arm: control_of(study, arm) for arm in arms}
    predictions = predictions or _read(study)
    rows = []
    for arm in arms:
        gain: tuple[float, ...] = (np.nan, np.nan, np.nan)
        if (control := control_by_arm[arm]) and control != arm:
            frame = compare(predictions[control], predictions[arm], study.evaluation)
            mean = frame[frame["finding"] == MEAN].iloc[0]
            gain = (mean["auroc_difference"], mean["auroc_low"], mean["auroc_high"])
        rows.append({"arm": arm, **_times(study, runs_of[arm]), **dict(zip(CONTROL_COLUMNS, gain, strict=True))})
    return pd.DataFrame(rows).merge(agreements, on="arm", how="left", validate="one_to_one")


def write_ablation(study: Study, agreements: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write and return the tables of `compare_ablation` and `describe_arms` (`FILES`)."""
    predictions = _read(study)
    frames = compare_ablation(study, predictions), describe_arms(study, agreements, predictions)
    for name, frame in zip(FILES, frames, strict=True):
        write_csv(study.runs_folder / name, frame)
    return frames


def read_ablation(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of `compare_ablation` and `describe_arms` from their files (`FILES`) in the runs folder.

    Raises PredictionsError for a missing or damaged file, and for files that answer other questions than the study's.
    """
    paths = [study.runs_folder / name for name in FILES]
    comparisons, arms = (
        read_table(path, columns, NOTEBOOK) for path, columns in zip(paths, _columns(study), strict=True)
    )
    stored = list(dict.fromkeys(zip(comparisons["question"], comparisons["arm"], strict=True)))
    if stored != question_arms(study) or set(arms["arm"]) != set(compared_arms(study)):
        raise PredictionsError(f"{paths[0]}: answers other questions than the study's; run notebook 05_ablation again")
    return comparisons, arms


def _columns(study: Study) -> tuple[list[str], list[str]]:
    """The columns that the two files must have."""
    seeds = [f"{metric}_seed{seed}" for metric in METRICS for seed in study.seeds]
    about_arms = ["arm", *TIME_COLUMNS, *CONTROL_COLUMNS, *AGREEMENT_COLUMNS]
    compared = [column for column in COLUMNS["comparisons.csv"] if column not in ("first", "second")]
    return ["question", "arm", *compared, *seeds], about_arms


def _read(study: Study) -> dict[str, list[Predictions]]:
    """The predictions of the compared arms and of their controls on the test side."""
    arms = _compared(study)
    return read_predictions(study, [*arms, *filter(None, (control_of(study, arm) for arm in arms))])


def _times(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
    """The columns of `describe_arms` about time and storage, for one arm's runs (one per seed)."""
    from cxr_kd.distill.stored_answers import answers_summary  # loads torch, which the report does not need

    teachers = [[study.run_folder(teacher) for teacher in study.teacher_runs(run)] for run in runs]
    answers = [[answers_summary(folder) for folder in folders] for folders in teachers]
    return {
        "training_seconds": np.mean([_training_seconds(study.run_folder(run)) for run in runs]),
        "teacher_training_seconds": np.mean([sum(map(_training_seconds, folders)) for folders in teachers]),
        "answering_seconds": np.mean([sum(each["seconds"] for each in of_run) for of_run in answers]),
        "answers_mb": np.mean([sum(each["mb"] for each in of_run) for of_run in answers]),
        "views": runs[0].views,
    }


def _training_seconds(folder: Path) -> float:
    path = folder / "card.json"
    try:
        return float(read_json(path)["seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PredictionsError(f"{path}: not the card of a finished run ({error!r}); train this run again") from error


def _compared(study: Study) -> tuple[str, ...]:
    """The compared arms, the reference first; PredictionsError without an ablation."""
    if not study.ablation:
        raise PredictionsError(f"{study.file}: this study has no ablation; add one, with a reference and questions")
    return compared_arms(study)

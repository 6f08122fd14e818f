"""The results of a study as two tables: every arm evaluated, and every distilled student compared with its control.

Notebook 04_ablation computes both from the runs' predictions files and writes them; the report reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
from pandas.api.types import is_numeric_dtype

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.uncertainty import METRICS, check_same_images, compare, evaluate
from cxr_kd.files import write_csv
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, arms_of, controls

_ESTIMATES = tuple(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high"))
_DIFFERENCES = tuple(f"{metric}{end}" for metric in METRICS for end in ("_difference", "_low", "_high"))
_TEXTS = frozenset({"arm", "first", "second", "question", "finding", "left_out"})
# Tables of a study in its runs folder -> the columns that they must have.
COLUMNS = {
    "evaluations.csv": ("arm", "seeds", "finding", "images", "positives", "left_out", "prevalence", *_ESTIMATES),
    "comparisons.csv": ("first", "second", "finding", "positives", "left_out", *_DIFFERENCES),
}


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


def evaluate_study(study: Study) -> pd.DataFrame:
    """Return `uncertainty.evaluate` of every arm on the test side.

    Columns: arm, seeds (their number), then those of `evaluate`. An ablation's variants are not among the arms.
    """
    frames = []
    for arm, runs in read_predictions(study, arms_of(study)).items():
        frame = evaluate(runs, study.evaluation)
        frame.insert(0, "arm", arm)
        frame.insert(1, "seeds", len(runs))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def compare_study(study: Study) -> pd.DataFrame:
    """Return `uncertainty.compare` of each distilled student with its control on the test side: distilled minus alone.

    `first` is the control's arm, `second` the distilled student's. Empty if no distilled student has a control.
    """
    predictions = read_predictions(study, arms_of(study))
    frames = [
        compare(predictions[control], predictions[arm], study.evaluation).assign(first=control, second=arm)
        for arm, control in controls(study).items()
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COLUMNS["comparisons.csv"]))


def write_results(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write and return the tables of `evaluate_study` and `compare_study`."""
    frames = evaluate_study(study), compare_study(study)
    for name, frame in zip(COLUMNS, frames, strict=True):
        write_csv(study.runs_folder / name, frame)
    return frames


def read_results(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of `evaluate_study` and `compare_study`, from evaluations.csv and comparisons.csv.

    Raises PredictionsError as `read_table` does.
    """
    evaluations, comparisons = (read_table(study.runs_folder / name, columns) for name, columns in COLUMNS.items())
    return evaluations, comparisons


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Return a table of results from a CSV file; an empty `left_out` is "", other empty cells are NaN.

    Raises PredictionsError if there is no such file, if it cannot be read as CSV, if one of `columns` is missing, or if
    one of them holds text in place of numbers.
    """
    if not path.is_file():
        raise PredictionsError(f"{path}: there is no such file; run notebook 04_ablation of this study")
    try:
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
    except (ValueError, OSError) as error:  # pandas' errors about content and encoding are ValueErrors
        raise PredictionsError(
            f"{path}: not readable as CSV ({str(error).strip()}); run notebook 04_ablation again"
        ) from error
    if missing := [column for column in columns if column not in frame]:
        raise PredictionsError(f"{path}: no column {', '.join(missing)}; run notebook 04_ablation again")
    numbers = frame[[column for column in columns if column not in _TEXTS]]
    if texts := [column for column in numbers if len(frame) and not is_numeric_dtype(numbers[column])]:
        raise PredictionsError(f"{path}: column {texts[0]} must hold numbers; run notebook 04_ablation again")
    return frame.assign(left_out=frame["left_out"].fillna("")) if "left_out" in frame else frame

"""The two tables of results: every arm evaluated, and every distilled student compared with its control."""

from __future__ import annotations

from typing import Any

import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.uncertainty import check_same_images, compare, evaluate
from cxr_kd.study import Study
from cxr_kd.study.arms import arms_of, controls


def read_arms(study: Study, side: str = "test") -> dict[str, list[Predictions]]:
    """The predictions of each arm, one file a seed. PredictionsError unless all hold the same images."""
    read = {
        arm: [Predictions.read(study.run_folder(run) / f"predictions-{side}.parquet") for run in runs]
        for arm, runs in arms_of(study).items()
    }
    check_same_images([run for members in read.values() for run in members])
    return read


def evaluate_study(study: Study) -> pd.DataFrame:
    """`uncertainty.evaluate` of every arm on the test side: arm, seeds (how many), then its columns."""
    frames = []
    for arm, members in read_arms(study).items():
        frame = evaluate(members, **evaluation_settings(study))
        frame.insert(0, "arm", arm)
        frame.insert(1, "seeds", len(members))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def compare_study(study: Study) -> pd.DataFrame:
    """`uncertainty.compare`, distilled minus alone, for each distilled student with a control, on the test side.

    `first` and `second` are arms. No rows where the study trains no student both ways.
    """
    members = read_arms(study)
    frames = [
        compare(members[control], members[arm], **evaluation_settings(study)).assign(first=control, second=arm)
        for arm, control in controls(study).items()
    ]
    columns = ["first", "second", "finding", "positives", "left_out"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def read_results(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read what `evaluate_study` and `compare_study` returned from `evaluations.csv` and `comparisons.csv`."""
    frames = []
    for name in ("evaluations.csv", "comparisons.csv"):
        path = study.runs_folder / name
        if not path.is_file():
            raise PredictionsError(f"{path}: there is no such file; run notebook 04_ablation of study {study.name!r}")
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
        frames.append(frame.assign(left_out=frame["left_out"].fillna("")))
    return frames[0], frames[1]


def evaluation_settings(study: Study) -> dict[str, Any]:
    """What `uncertainty`'s functions take from a study."""
    evaluation = study.evaluation
    return {
        "resamples": evaluation.resamples,
        "seed": evaluation.seed,
        "minimum_positives": evaluation.minimum_positives,
    }

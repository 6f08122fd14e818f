"""What each part of a distillation is worth: the arms of an ablation against its reference, and what each costs.

Every difference is of the arm minus the reference: above 0, the arm is better. Seeds are averaged within each resample
of the patients, and each seed's difference stands beside it, because an interval over patients says nothing of another
training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cxr_kd.distill.stored_answers import answers_summary
from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.study_results import evaluation_settings
from cxr_kd.evaluation.uncertainty import MEAN, METRICS, compare, holm, interval, p_value, paired
from cxr_kd.files import read_json
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, compared_arms, control_of
from cxr_kd.study.runs import Run

LEVEL = 0.05
FILES = ("ablation.csv", "ablation-arms.csv")
Members = Mapping[str, Sequence[Predictions]]


def asked(study: Study) -> list[tuple[str, str]]:
    """Pairs of a question and an arm that answers it, in the study's order; none without an ablation."""
    questions = study.ablation.questions if study.ablation else {}
    return [(question, arm) for question, arms in questions.items() for arm in arms]


def read_students(study: Study, side: str = "test") -> dict[str, list[Predictions]]:
    """The predictions of every student arm of an ablation, its reference first, one a seed."""
    arms = all_arms(study)
    return {
        arm: [Predictions.read(study.run_folder(run) / f"predictions-{side}.parquet") for run in arms[arm]]
        for arm in compared_arms(study)
    }


def compare_ablation(study: Study) -> pd.DataFrame:
    """Each arm minus the reference on the test side: a row a question, arm, and finding, the mean (`MEAN`) last.

    Columns: question, arm, finding, positives, left_out, and for each metric M: M_difference, M_low, M_high (95 %, over
    patients), M_p (`p_value`), M_p_holm, M_seedS for each seed S. p is corrected over the findings of an arm, and that
    of the mean over all arms. `shown`: the AUROC's corrected p is below 0.05, and every seed's difference has the same
    sign.
    """
    members, reference = read_students(study), _reference(study)
    frames = [
        _differences(members[reference], members[arm], study).assign(question=question, arm=arm)
        for question, arm in asked(study)
    ]
    frame = pd.concat(frames, ignore_index=True)
    means = (frame["finding"] == MEAN).to_numpy()
    for metric in METRICS:
        frame.loc[means, f"{metric}_p_holm"] = holm(frame.loc[means, f"{metric}_p"].to_numpy())
    seeds = frame[[f"auroc_seed{seed}" for seed in study.seeds]].to_numpy()
    agree = (seeds > 0).all(axis=1) | (seeds < 0).all(axis=1)
    frame["shown"] = (frame["auroc_p_holm"] < LEVEL).to_numpy() & agree
    return frame[["question", "arm", *(column for column in frame if column not in ("question", "arm"))]]


def _differences(first: Sequence[Predictions], second: Sequence[Predictions], study: Study) -> pd.DataFrame:
    settings = evaluation_settings(study)
    pair = paired(first, second, **settings)
    each = [paired(a, b, **{**settings, "resamples": 20}).estimate for a, b in zip(first, second, strict=True)]
    frame = pair.counts[["finding", "positives", "left_out"]].copy()
    findings = (frame["finding"] != MEAN).to_numpy()
    for m, metric in enumerate(METRICS):
        p = p_value(pair.resampled[m])
        frame[f"{metric}_difference"] = pair.estimate[m]
        frame[f"{metric}_low"], frame[f"{metric}_high"] = interval(pair.resampled[m])
        frame[f"{metric}_p"], frame[f"{metric}_p_holm"] = p, holm(np.where(findings, p, np.nan))
        for seed, estimate in zip(study.seeds, each, strict=True):
            frame[f"{metric}_seed{seed}"] = estimate[m]
    return frame


def describe_arms(study: Study, agreements: pd.DataFrame) -> pd.DataFrame:
    """What each arm costs and brings, the reference first: a row an arm.

    Columns: arm, seconds (training one student, mean over seeds), teacher_seconds and asking_seconds (its teachers'
    training and answers, mean over seeds), answers_mb, views; alone, alone_low, alone_high (mean AUROC minus that of
    the same student alone; NaN without one), and those of `agreements`, which has a row an arm.
    """
    members, arms = read_students(study), all_arms(study)
    alone = control_of(study, _reference(study))
    rows = []
    for arm, predictions in members.items():
        gain: dict[str, float] = dict.fromkeys(("alone", "alone_low", "alone_high"), np.nan)
        if alone and alone != arm:
            frame = compare(members.get(alone) or _read(study, alone), predictions, **evaluation_settings(study))
            mean = frame[frame["finding"] == MEAN].iloc[0]
            gain = {"alone": mean["auroc_difference"], "alone_low": mean["auroc_low"], "alone_high": mean["auroc_high"]}
        rows.append({"arm": arm, **_cost(study, arms[arm]), **gain})
    return pd.DataFrame(rows).merge(agreements, on="arm", how="left", validate="one_to_one")


def read_ablation(study: Study) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What `compare_ablation` and `describe_arms` gave, from the files in `FILES`; PredictionsError without them."""
    frames = []
    for name in FILES:
        path = study.runs_folder / name
        if not path.is_file():
            raise PredictionsError(f"{path}: there is no such file; run notebook 04_ablation of study {study.name!r}")
        frames.append(pd.read_csv(path, keep_default_na=False, na_values=[""]))
    comparisons, arms = frames
    named = list(dict.fromkeys(zip(comparisons["question"], comparisons["arm"], strict=True)))
    if named != asked(study) or set(arms["arm"]) != set(compared_arms(study)):
        raise PredictionsError(
            f"{study.runs_folder / FILES[0]}: answers other questions than the study's; run notebook 04_ablation"
        )
    return comparisons.assign(left_out=comparisons["left_out"].fillna("")), arms


def _cost(study: Study, runs: Sequence[Run]) -> dict[str, Any]:
    teachers = [[study.run_folder(teacher) for teacher in study.teacher_runs(run)] for run in runs]
    answers = [[answers_summary(folder) for folder in folders] for folders in teachers]
    return {
        "seconds": np.mean([_seconds(study.run_folder(run)) for run in runs]),
        "teacher_seconds": np.mean([sum(map(_seconds, folders)) for folders in teachers]),
        "asking_seconds": np.mean([sum(each["seconds"] for each in of_run) for of_run in answers]),
        "answers_mb": np.mean([sum(each["mb"] for each in of_run) for of_run in answers]),
        "views": runs[0].views,
    }


def _seconds(folder: Any) -> float:
    return float(read_json(folder / "card.json")["seconds"])


def _read(study: Study, arm: str) -> list[Predictions]:
    return [Predictions.read(study.run_folder(run) / "predictions-test.parquet") for run in all_arms(study)[arm]]


def _reference(study: Study) -> str:
    if not study.ablation:
        raise PredictionsError(f"{study.file}: this study asks no ablation; name its reference and its questions")
    return study.ablation.reference

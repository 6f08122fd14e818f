"""What a reviewer asks after the AUROC: probabilities, operating points, groups of patients, agreement with teachers.

All of it is computed from predictions files. Notebook 04_evaluate writes the tables of a study, `cxr-kd evaluate` those
of any predictions files, and the report reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from cxr_kd.evaluation.arm_tables import ArmPredictions
from cxr_kd.evaluation.decision_agreement import decision_agreement
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.probability import tables
from cxr_kd.evaluation.probability.operating_points import Rule, choose_operating_points
from cxr_kd.evaluation.study_results import read_predictions, read_table
from cxr_kd.evaluation.subgroup.tables import ArmThresholds, subgroup_results
from cxr_kd.files import write_csv
from cxr_kd.study import Study
from cxr_kd.study.arms import arms_of, controls, taught
from cxr_kd.study.runs import Run
from cxr_kd.study.settings import Evaluation

SUBGROUPS, GAPS, GAP_CHANGES = "subgroups.csv", "subgroup-gaps.csv", "subgroup-gap-changes.csv"
AGREEMENT = "teacher-agreement.csv"
FILES = (*tables.TABLES, SUBGROUPS, GAPS, GAP_CHANGES, AGREEMENT)
RULE: Rule = "youden"  # of the operating points at which groups, and teacher and student, are compared
MOST_RESAMPLES = 500  # of these tables: a standard error from 500 resamples is known to 3 %

Pairs = Sequence[tuple[str, str]]


def evaluate_details(
    test: ArmPredictions, validation: ArmPredictions, controlled: Pairs, teaching: Pairs, settings: Evaluation
) -> dict[str, pd.DataFrame]:
    """Return file name -> table, for FILES, of all arms.

    `test`, `validation`: arm -> one per seed, the same runs on both sides. `controlled`: pairs of arms (control,
    distilled) for the changes of gaps. `teaching`: pairs (teacher, student) for the agreement. Thresholds are chosen on
    validation. Intervals are from at most MOST_RESAMPLES of the resamples. Raises PredictionsError for predictions that
    do not belong together.
    """
    few = settings.model_copy(update={"resamples": min(settings.resamples, MOST_RESAMPLES)})
    results = tables.evaluate_probabilities(test, validation, few)
    thresholds = chosen_thresholds(validation)
    groups = subgroup_results(test, controlled, few, thresholds)
    results |= {SUBGROUPS: groups.evaluations, GAPS: groups.gaps, GAP_CHANGES: groups.changes}
    return results | {AGREEMENT: decision_agreement(test, teaching, few, thresholds)}


def chosen_thresholds(validation: ArmPredictions) -> ArmThresholds:
    """Return arm -> one mapping per seed, finding -> threshold on the logit by RULE; NaN without a threshold."""
    return {
        arm: [
            {
                point.finding: float("nan") if point.logit is None else point.logit
                for point in choose_operating_points(run).points
                if point.rule == RULE
            }
            for run in runs
        ]
        for arm, runs in validation.items()
    }


def write_details(study: Study) -> dict[str, pd.DataFrame]:
    """Write and return the tables of `evaluate_details` of the study's arms, without an ablation's variants.

    Operating points and recalibration, which are fitted on validation, are written beside each run (`write_fitted`).
    """
    arms = arms_of(study)
    test, validation = read_predictions(study, arms), read_predictions(study, arms, "validation")
    results = evaluate_details(test, validation, controls(study), taught(study), study.evaluation)
    for name, frame in results.items():
        write_csv(study.runs_folder / name, frame)
    for arm, runs in arms.items():
        for run, predictions in zip(runs, validation[arm], strict=True):
            tables.write_fitted(predictions, study.run_folder(run))
    return results


def fit_on_validation(study: Study, runs: Iterable[Run]) -> None:
    """Write operating points and recalibration beside each of these runs, without the tables of `write_details`."""
    for run in runs:
        folder = study.run_folder(run)
        tables.write_fitted(Predictions.read(folder / "predictions-validation.parquet"), folder)


def read_details(study: Study) -> dict[str, pd.DataFrame]:
    """Return the tables of `write_details` from their files. Raises PredictionsError as `read_table` does."""
    return {name: read_table(study.runs_folder / name, ("finding",)) for name in FILES}

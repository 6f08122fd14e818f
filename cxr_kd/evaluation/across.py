"""The networks of a study across data sets: internal testing beside external testing, over the same findings.

Internal testing is on the test side of the data set that the networks learned from, external testing on another data
set (`evaluate_on` of the study). The findings are those that all of these data sets share, and a mean is over those of
them that have enough positives in each data set: so all numbers of an arm are about the same task. Everything is
computed from predictions files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.arm_tables import ArmPredictions, compare_arms, evaluate_arms
from cxr_kd.evaluation.bootstrap import MEAN, METRICS, check_same_images
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.study_results import COLUMNS, NOTEBOOK, read_predictions, read_table
from cxr_kd.evaluation.uncertainty import correct_over_comparisons
from cxr_kd.files import write_csv
from cxr_kd.study import Study
from cxr_kd.study.arms import arms_of, controls
from cxr_kd.study.settings import Evaluation

PREDICTIONS = "predictions-test.parquet"  # in `Study.external_folder`
EVALUATIONS, CHANGES = FILES = ("across-data-sets.csv", "across-data-sets-changes.csv")
INTERNAL, EXTERNAL = "internal testing", "external testing"  # the column `testing`
ABOUT = ("testing", "data_set", "dataset", "kind", "split", "test_images", "test_patients", "findings_in_mean")
NO_SHARED_MEAN = "no finding has enough positives in every data set"


@dataclass(frozen=True, eq=False)
class DataSet:
    """One data set that all arms were scored on. `testing` is INTERNAL or EXTERNAL, `name` what the study calls it."""

    testing: str
    name: str
    predictions: ArmPredictions

    @property
    def any_run(self) -> Predictions:
        """The predictions of one run; all runs hold the same images and findings."""
        return next(iter(self.predictions.values()))[0]

    def of_findings(self, findings: Sequence[str]) -> DataSet:
        """Return the data set with the predictions of these findings only."""
        predictions = {arm: [run.of_findings(findings) for run in runs] for arm, runs in self.predictions.items()}
        return replace(self, predictions=predictions)


def evaluate_across(
    data_sets: Sequence[DataSet], pairs: Sequence[tuple[str, str]], settings: Evaluation, seeds: Sequence[int]
) -> dict[str, pd.DataFrame]:
    """Return file name -> table, for FILES.

    EVALUATIONS: `arm_tables.evaluate_arms` on each data set. CHANGES: `arm_tables.compare_arms` of `pairs` (control,
    distilled) on each; no row without a pair. Before their columns: ABOUT, where test_images and test_patients count
    the whole test side. p-values of means are corrected over all pairs and data sets (Holm).

    Raises PredictionsError if the data sets share no finding.
    """
    findings = _shared(data_sets)
    data_sets = [each.of_findings(findings) for each in data_sets]
    evaluations = [evaluate_arms(each.predictions, settings) for each in data_sets]
    in_mean = [finding for finding in findings if all(finding in _scored(frame) for frame in evaluations)]

    def evaluated(predictions: ArmPredictions) -> pd.DataFrame:
        return evaluate_arms(predictions, settings)

    def compared(predictions: ArmPredictions) -> pd.DataFrame:
        return compare_arms(predictions, pairs, settings, seeds)

    found = [
        _about(_with_mean_over(in_mean, frame, each, evaluated), each, in_mean).drop(columns=["run", "side"])
        for each, frame in zip(data_sets, evaluations, strict=True)
    ]
    if not pairs:
        changes = pd.DataFrame(columns=[*ABOUT, *COLUMNS["comparisons.csv"]])
    else:
        frames = [(each, compared(each.predictions)) for each in data_sets]
        frames = [(each, _with_mean_over(in_mean, frame, each, compared)) for each, frame in frames]
        all_changes = [_about(frame, each, in_mean) for each, frame in frames]
        changes = correct_over_comparisons(pd.concat(all_changes, ignore_index=True))
    return {EVALUATIONS: pd.concat(found, ignore_index=True), CHANGES: changes}


def write_across(study: Study) -> dict[str, pd.DataFrame] | None:
    """Write and return the tables of `evaluate_across`; None, and no file, if the study names no further data set.

    Raises PredictionsError for a missing or damaged predictions file; `training.external.score_external` writes them.
    """
    if not study.evaluate_on:
        for name in FILES:
            (study.runs_folder / name).unlink(missing_ok=True)  # of an earlier evaluation
        return None
    internal = DataSet(INTERNAL, study.data.dataset, read_predictions(study, arms_of(study)))
    external = [DataSet(EXTERNAL, name, _read(study, name)) for name in study.evaluate_on]
    results = evaluate_across([internal, *external], controls(study), study.evaluation, study.seeds)
    for name, frame in results.items():
        write_csv(study.runs_folder / name, frame)
    return results


def read_across(study: Study) -> dict[str, pd.DataFrame] | None:
    """Return the tables of `write_across` from their files; None if the study names no further data set.

    Raises PredictionsError as `read_table` does, and for tables of other networks or data sets than the study's.
    """
    if not study.evaluate_on:
        return None
    columns = ([*ABOUT, *COLUMNS["evaluations.csv"]], [*ABOUT, *COLUMNS["comparisons.csv"]])
    frames = {name: read_table(study.runs_folder / name, needed) for name, needed in zip(FILES, columns, strict=True)}
    wanted = {(EXTERNAL, name) for name in study.evaluate_on} | {(INTERNAL, study.data.dataset)}
    frame = frames[EVALUATIONS]
    if set(zip(frame["testing"], frame["data_set"], strict=True)) != wanted or set(frame["arm"]) != set(arms_of(study)):
        raise PredictionsError(
            f"{study.runs_folder / EVALUATIONS}: holds other networks or data sets than the study; run notebook "
            f"{NOTEBOOK} again"
        )
    return frames


def _read(study: Study, name: str) -> dict[str, list[Predictions]]:
    """The predictions of each arm, one per seed, on a further data set."""
    predictions = {
        arm: [Predictions.read(study.external_folder(run, name) / PREDICTIONS) for run in runs]
        for arm, runs in arms_of(study).items()
    }
    check_same_images([run for runs in predictions.values() for run in runs])
    return predictions


def _shared(data_sets: Sequence[DataSet]) -> list[str]:
    """The findings that all data sets have, in the order of the first; PredictionsError if there is none."""
    has = [each.any_run.findings for each in data_sets]
    if found := [finding for finding in has[0] if all(finding in others for others in has)]:
        return found
    each = "; ".join(f"{one.name}: {', '.join(findings)}" for one, findings in zip(data_sets, has, strict=True))
    raise PredictionsError(f"no finding is shared by all data sets ({each}); test on fewer data sets at a time")


def _scored(evaluations: pd.DataFrame) -> set[str]:
    """The findings with enough positives; they are the same for all arms."""
    return set(evaluations.loc[(evaluations["left_out"] == "") & (evaluations["finding"] != MEAN), "finding"])


def _with_mean_over(
    findings: Sequence[str], frame: pd.DataFrame, data_set: DataSet, table: Callable[[ArmPredictions], pd.DataFrame]
) -> pd.DataFrame:
    """Return a frame whose means are over these findings only, as `table` computes them."""
    means = frame["finding"] == MEAN
    if set(findings) == _scored(frame):
        return frame
    if findings:
        own = table(data_set.of_findings(findings).predictions)
        own = own[own["finding"] == MEAN].set_axis(frame.index[means])
        return pd.concat([frame[~means], own]).sort_index()
    frame = frame.copy()
    numbers = [name for name in frame if str(name).startswith(METRICS)]
    frame.loc[means, numbers] = np.nan
    frame.loc[means, "left_out"] = NO_SHARED_MEAN
    return frame.assign(shown=frame["shown"] & ~means) if "shown" in frame else frame


def _about(frame: pd.DataFrame, data_set: DataSet, in_mean: Sequence[str]) -> pd.DataFrame:
    """Return a frame with the columns of ABOUT first."""
    run = data_set.any_run
    values: Mapping[str, str | int] = {
        "testing": data_set.testing,
        "data_set": data_set.name,
        "dataset": run.metadata.dataset,
        "kind": run.metadata.kind,
        "split": run.metadata.split,
        "test_images": len(run.frame),
        "test_patients": len(set(run.patients)),
        "findings_in_mean": len(in_mean),
    }
    return pd.concat([pd.DataFrame(values, index=frame.index), frame], axis=1)

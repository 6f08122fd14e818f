"""What notebooks 02 to 04 show of finished runs: run cards, learning curves, the validation side, the sources."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.study_results import read_results, read_source_results
from cxr_kd.evaluation.uncertainty import evaluate
from cxr_kd.files import read_json
from cxr_kd.report import figures, result_tables
from cxr_kd.report.source_tables import SourceSection, source_section
from cxr_kd.report.style import arm_styles, style_of
from cxr_kd.report.tables import Table
from cxr_kd.study import Study
from cxr_kd.study.runs import Run
from cxr_kd.training.finished_run import HISTORY
from cxr_kd.training.run_card import read_card


def run_table(study: Study, runs: Sequence[Run]) -> Table:
    """Return one row per finished run: seed, epochs, training time, peak memory and device."""
    return result_tables.run_table([read_card(study.run_folder(run)).model_dump() for run in runs])


def learning_curves(study: Study, runs: Sequence[Run]) -> Figure:
    """Return the loss and the validation AUROC of finished runs, by epoch."""
    histories = {run.arm: [pd.read_csv(study.run_folder(run) / HISTORY)] for run in runs}
    return figures.learning_curves(histories, {run.arm: style_of(run.arm, run) for run in runs})


def validation_auroc(study: Study, runs: Sequence[Run]) -> Figure:
    """Return the AUROC of finished runs per finding on the validation side, with 95 % intervals over patients."""
    evaluations = []
    for run in runs:
        predictions = Predictions.read(study.run_folder(run) / "predictions-validation.parquet")
        evaluations.append(evaluate(predictions, study.evaluation).assign(arm=run.arm))
    return figures.forest(pd.concat(evaluations), {run.arm: style_of(run.arm, run) for run in runs})


def data_card(study: Study) -> dict[str, Any]:
    """Return the study's data card, which 01_data wrote."""
    card: dict[str, Any] = read_json(study.runs_folder / "data.json")
    return card


def sources(study: Study) -> SourceSection | None:
    """Return the results within each source, from the files that `write_results` wrote; None without sources."""
    data = data_card(study)
    if not data["image_sources"]:
        return None
    first = study.evaluation.headline_source
    return source_section(data, *read_results(study)[:2], read_source_results(study), arm_styles(study), first)

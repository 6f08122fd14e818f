"""What notebooks 02 and 03 show of finished runs: the run card, the learning curves, and the validation side."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.uncertainty import evaluate
from cxr_kd.report import figures, tables
from cxr_kd.report.style import style_of
from cxr_kd.study import Study
from cxr_kd.study.runs import Run
from cxr_kd.training.finished_run import HISTORY
from cxr_kd.training.run_card import read_card


def run_table(study: Study, runs: Sequence[Run]) -> tables.Table:
    """Return one row per finished run: seed, epochs, training time, peak memory and device."""
    return tables.run_table([read_card(study.run_folder(run)).model_dump() for run in runs])


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

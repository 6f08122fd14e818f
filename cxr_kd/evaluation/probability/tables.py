"""Everything about the probabilities of a study's arms, as tables: one file each, and what notebooks and commands call.

The functions behind the tables take the test side and the validation side of one run, or of the seeds of one training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.arm_tables import ArmPredictions
from cxr_kd.evaluation.bootstrap import DEFAULTS
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.probability import operating_points, recalibration
from cxr_kd.evaluation.probability.calibration import evaluate_calibration
from cxr_kd.evaluation.probability.confusion import evaluate_operating_points, predictive_values
from cxr_kd.evaluation.probability.curves import precision_recall_curves, roc_curves
from cxr_kd.evaluation.probability.net_benefit import decision_curves
from cxr_kd.evaluation.probability.probability_curves import probability_distributions, reliability_curves
from cxr_kd.study.settings import Evaluation

Table = Callable[[Sequence[Predictions], Sequence[Predictions], Evaluation], pd.DataFrame]
TABLES: Mapping[str, Table] = {
    "calibration.csv": evaluate_calibration,
    "operating-points.csv": evaluate_operating_points,
    "predictive-values.csv": predictive_values,
    "decision-curves.csv": decision_curves,
    "reliability-curves.csv": reliability_curves,
    "probability-distributions.csv": probability_distributions,
    "roc-curves.csv": lambda test, _, settings: roc_curves(test, settings),
    "precision-recall-curves.csv": lambda test, _, settings: precision_recall_curves(test, settings),
}


def evaluate_probabilities(
    test: ArmPredictions,
    validation: ArmPredictions,
    settings: Evaluation = DEFAULTS,
    tables: Sequence[str] = tuple(TABLES),
) -> dict[str, pd.DataFrame]:
    """Return file name -> table of all arms; the columns are arm, seeds (their number), then those of the function.

    Raises PredictionsError if an arm has no validation side, and as the functions do.
    """
    if missing := [arm for arm in test if arm not in validation]:
        raise PredictionsError(f"arm {missing[0]}: no predictions of the validation side; train its runs again")
    results = {}
    for name in tables:
        frames = []
        for arm, runs in test.items():
            frame = TABLES[name](runs, validation[arm], settings)
            frame.insert(0, "arm", arm)
            frame.insert(1, "seeds", len(runs))
            frames.append(frame)
        results[name] = pd.concat(frames, ignore_index=True)
    return results


def write_fitted(validation: Predictions, folder: Path) -> None:
    """Write what is fitted on a run's validation side beside the run: operating points and recalibration, as JSON."""
    operating_points.choose_operating_points(validation).write(folder / operating_points.FILE)
    recalibration.fit_recalibration(validation).write(folder / recalibration.FILE)

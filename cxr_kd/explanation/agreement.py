"""How much the evidence of two networks agrees, measured where a finding is present."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.data.splits import Side
from cxr_kd.distill.map_losses import cosine
from cxr_kd.distill.outputs import observe
from cxr_kd.evaluation.ablation import AGREEMENT_COLUMNS
from cxr_kd.evaluation.resampling import interval, resample_patients
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, compared_arms
from cxr_kd.study.settings import Evaluation
from cxr_kd.training.finished_run import load_run

BATCH_SIZE = 64


def agreement_of_students(study: Study, data: Prepared) -> pd.DataFrame:
    """Return how much each compared student agrees with the reference's teacher on the test side: one row per arm.

    Columns: arm; agreement, agreement_low, agreement_high (`mean_agreement` of the mean over seeds); and
    agreement_difference, _low, _high: the paired difference from the reference. If the reference has several teachers,
    the first is used. Empty without an ablation, or if the reference has no teacher.
    """
    arms, runs_of = compared_arms(study), all_arms(study)
    if not arms or not runs_of[arms[0]][0].teachers:
        return pd.DataFrame(columns=["arm", *AGREEMENT_COLUMNS])
    teachers = [load_run(study, study.teacher_runs(run)[0], data) for run in runs_of[arms[0]]]
    patients = data.table.select(data.split.test).frame["patient_id"].to_numpy(str)
    agreements = {
        arm: np.mean(
            [
                evidence_agreement(load_run(study, run, data), teacher, data)
                for run, teacher in zip(runs_of[arm], teachers, strict=True)
            ],
            axis=0,
        )
        for arm in arms
    }
    rows = []
    for arm, of_arm in agreements.items():
        own = mean_agreement(of_arm, patients, study.evaluation)
        difference = mean_agreement(of_arm - agreements[arms[0]], patients, study.evaluation)
        rows.append({"arm": arm, **dict(zip(AGREEMENT_COLUMNS, (*own, *difference), strict=True))})
    return pd.DataFrame(rows)


def evidence_agreement(first: CxrClassifier, second: CxrClassifier, data: Prepared, side: Side = "test") -> np.ndarray:
    """Return the cosine of two networks' evidence for each image and finding of a side, (N, L).

    NaN where the finding is absent or its label unknown. From -1 to 1; higher means more alike. The loss
    `distill.map_losses.map_cosine` pulls this value towards 1 (it names its sources).
    """
    networks = (first.eval(), second.eval())
    cosines = []
    with torch.inference_mode():
        for batch in data.batches(side, BATCH_SIZE).epoch(0):
            evidence = [observe(network, batch.images, {"evidence"}).part("evidence") for network in networks]
            present = (batch.labels == 1) & batch.known
            cosines.append(torch.where(present, cosine(*evidence), torch.nan))
    return torch.cat(cosines).numpy()


def mean_agreement(agreements: np.ndarray, patients: np.ndarray, settings: Evaluation) -> tuple[float, float, float]:
    """Return the mean of cosines (N, L) over images and findings with its 95 % interval over patients: mean, low, high.

    `patients`: the patient of each image, (N,). NaN cosines are left out. For a paired difference, pass the difference
    of two networks' cosines.
    """
    numbers, drawn = resample_patients(patients, settings)
    present = np.isfinite(agreements)
    sums = np.bincount(numbers, np.where(present, agreements, 0).sum(axis=1))  # (P,) per patient
    counts = np.bincount(numbers, present.sum(axis=1))
    with np.errstate(invalid="ignore"):
        resampled, estimate = (drawn @ sums) / (drawn @ counts), sums.sum() / counts.sum()
    low, high = interval(resampled)
    return float(estimate), float(low), float(high)

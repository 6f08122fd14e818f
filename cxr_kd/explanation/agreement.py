"""How much the evidence of two networks agrees, measured where a finding is present."""

from __future__ import annotations

from collections.abc import Mapping

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
from cxr_kd.training.distributed import Processes
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
    patients = data.table.select(data.split.test).frame["patient_id"].to_numpy(str)
    of_seeds = []
    for seed, run in enumerate(runs_of[arms[0]]):
        teacher = load_run(study, study.teacher_runs(run)[0], data)
        students = {arm: load_run(study, runs_of[arm][seed], data) for arm in arms}
        of_seeds.append(evidence_agreements(students, teacher, data))
    agreements = {arm: np.mean([of_seed[arm] for of_seed in of_seeds], axis=0) for arm in arms}
    rows = []
    for arm, of_arm in agreements.items():
        own = mean_agreement(of_arm, patients, study.evaluation)
        difference = mean_agreement(of_arm - agreements[arms[0]], patients, study.evaluation)
        rows.append({"arm": arm, **dict(zip(AGREEMENT_COLUMNS, (*own, *difference), strict=True))})
    return pd.DataFrame(rows)


def evidence_agreements(
    students: Mapping[str, CxrClassifier], teacher: CxrClassifier, data: Prepared, side: Side = "test"
) -> dict[str, np.ndarray]:
    """Return the cosine of each network's evidence with the teacher's, for each image and finding of a side, (N, L).

    NaN where the finding is absent or its label unknown. From -1 to 1; higher means more alike. The loss
    `distill.map_losses.map_cosine` pulls this value towards 1 (it names its sources). Each network sees each image
    once, the teacher too.
    """
    device = Processes.here().device
    networks = {name: network.eval().to(device) for name, network in students.items()}
    teacher, cosines = teacher.eval().to(device), {name: list[torch.Tensor]() for name in students}

    def evidence(network: CxrClassifier) -> torch.Tensor:
        return observe(network, images, {"evidence"}).part("evidence")

    with torch.inference_mode():
        for batch in data.batches(side, BATCH_SIZE).epoch(0):
            images, present = batch.images.to(device), ((batch.labels == 1) & batch.known).to(device)
            of_teacher = evidence(teacher)
            for name, network in networks.items():
                cosines[name].append(torch.where(present, cosine(evidence(network), of_teacher), torch.nan).cpu())
    return {name: torch.cat(of_network).numpy() for name, of_network in cosines.items()}


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

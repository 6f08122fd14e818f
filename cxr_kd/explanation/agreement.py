"""How much two networks' maps agree, measured on the images where a finding is."""

import numpy as np
import pandas as pd
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.data.splits import Side
from cxr_kd.distill.map_losses import cosine
from cxr_kd.distill.outputs import observe
from cxr_kd.evaluation.uncertainty import interval
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, compared_arms
from cxr_kd.training.finished_run import load_run

BATCH = 64
COLUMNS = tuple(f"{what}{end}" for what in ("agreement", "agreement_difference") for end in ("", "_low", "_high"))


def agreement_of_students(study: Study, data: Prepared) -> pd.DataFrame:
    """How much each student of an ablation agrees with the reference's teacher on the test side: a row an arm.

    Columns: arm, agreement, agreement_low, agreement_high (`mean_agreement`, of the mean over seeds), and the same of
    agreement_difference, from the reference. Of several teachers the first; no rows where the reference has none.
    """
    arms = all_arms(study)
    named = compared_arms(study)
    if not named or not arms[named[0]][0].teachers:
        return pd.DataFrame(columns=["arm", *COLUMNS])
    reference = named[0]
    teachers = [load_run(study, study.teacher_runs(run)[0], data) for run in arms[reference]]
    patients = data.table.select(data.split.test).frame["patient_id"].to_numpy(str)
    resample = {"resamples": study.evaluation.resamples, "seed": study.evaluation.seed}
    values, rows = {}, []
    for arm in named:
        of_seeds = [
            map_agreement(load_run(study, run, data), teacher, data)
            for run, teacher in zip(arms[arm], teachers, strict=True)
        ]
        values[arm] = np.mean(of_seeds, axis=0)
        own = mean_agreement(values[arm], patients, **resample)
        difference = mean_agreement(values[arm] - values[reference], patients, **resample)
        rows.append({"arm": arm, **dict(zip(COLUMNS, (*own, *difference), strict=True))})
    return pd.DataFrame(rows)


def map_agreement(network: CxrClassifier, other: CxrClassifier, data: Prepared, side: Side = "test") -> np.ndarray:
    """The cosine (N, L) of two networks' signed maps of each image and finding of a side; NaN where the finding is not.

    From -1 to 1, higher is more alike; what `map_losses.map_cosine` pulls towards 1 (its sources are named there).
    """
    batches = data.batches(side, BATCH)
    networks = (network.eval(), other.eval())
    parts = []
    with torch.inference_mode():
        for batch in batches.epoch(0):
            maps = [observe(each, batch.images, {"evidence"}).part("evidence") for each in networks]
            present = (batch.labels == 1) & batch.known
            parts.append(torch.where(present, cosine(*maps), torch.nan))
    return torch.cat(parts).numpy()


def mean_agreement(
    agreements: np.ndarray, patients: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """The mean of cosines (N, L) over images and findings, NaN left out, with its 95 % interval over patients (N,).

    Differences of two networks' cosines give the paired difference. Whole patients are drawn, as in
    `evaluation.uncertainty`.
    """
    _, groups = np.unique(patients, return_inverse=True)
    there = np.isfinite(agreements)
    sums = np.bincount(groups, np.where(there, agreements, 0).sum(axis=1))
    counts = np.bincount(groups, there.sum(axis=1))
    drawn = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), resamples)
    with np.errstate(invalid="ignore"):
        resampled, estimate = (drawn @ sums) / (drawn @ counts), sums.sum() / counts.sum()
    low, high = interval(resampled)
    return float(estimate), float(low), float(high)

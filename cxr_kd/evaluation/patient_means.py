"""Means of values of single images, such as measures of their maps, with intervals over patients and trainings."""

from __future__ import annotations

import numpy as np

from cxr_kd.evaluation.mrmc import Inference, infer
from cxr_kd.evaluation.resampling import resample_patients
from cxr_kd.study.settings import Evaluation


def patient_mean(values: np.ndarray, patients: np.ndarray, settings: Evaluation, *, bounded: bool = False) -> Inference:
    """Return the mean of values (S, N) with its 95 % interval over patients and, if S > 1, over trainings.

    S trainings (seeds) have N values each, of the same images; `patients` holds the patient of each, (N,). A value that
    is undefined (NaN) is left out. Every value counts the same: a patient with more images counts more. `bounded`: the
    values are from 0 to 1. For a paired difference, pass the difference of two networks' values. NaN if there are no
    values.
    """
    if not values.size:
        nothing = np.full((len(values), 1), np.nan)
        return infer(nothing[:, 0], np.repeat(nothing, 2, axis=1), bounded=bounded)
    numbers, drawn = resample_patients(patients, settings)
    defined = np.isfinite(values)
    per_patient = np.zeros((2, len(values), drawn.shape[1]))  # sums and counts, (2, S, P)
    for row, (own, is_defined) in enumerate(zip(values, defined, strict=True)):
        per_patient[0, row] = np.bincount(numbers, np.where(is_defined, own, 0), minlength=drawn.shape[1])
        per_patient[1, row] = np.bincount(numbers, is_defined, minlength=drawn.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        estimates = per_patient[0].sum(axis=1) / per_patient[1].sum(axis=1)
        resampled = (per_patient[0] @ drawn.T) / (per_patient[1] @ drawn.T)
    return infer(estimates, resampled, bounded=bounded)

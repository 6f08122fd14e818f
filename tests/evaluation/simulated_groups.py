"""Predictions of patients of known sex, age and view position, from normal scores: the true AUROC is known."""

from dataclasses import replace

import numpy as np
import pandas as pd

from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata

FINDINGS = ("Effusion", "Mass", "Nodule")


def simulated(
    seed: int = 0,
    *,
    signal: float = 1.5,
    in_children: float | None = None,
    patients: int = 200,
    images: int = 3,
    rate: float = 0.3,
    noise: float = 0.3,
) -> Predictions:
    """Labels, patients and most of the scores' chance are the same for every seed, as for networks on the same images.

    A positive scores `signal` above a negative, or `in_children`, if given, in patients under 18.
    """
    fixed, random = np.random.default_rng(3), np.random.default_rng(100 + seed)
    count = patients * images
    of_patient = np.repeat(np.arange(patients), images)
    sex = fixed.choice(["M", "F"], patients)[of_patient]
    age = fixed.choice([5.0, 17.9, 18.0, 35.0, 45.0, 59.5, 70.0, 82.0, 91.0], patients)[of_patient]
    labels = (fixed.random((count, 3)) < rate).astype(float)
    strength = np.where(age < 18, signal if in_children is None else in_children, signal)[:, None]
    shared, own = fixed.normal(size=labels.shape), random.normal(size=labels.shape)
    logits = strength * labels + np.sqrt(1 - noise**2) * shared + noise * own
    about = {"sex": sex.tolist(), "age": age.tolist(), "view": fixed.choice(["PA", "AP"], count).tolist()}
    ids = [f"i{number}" for number in range(count)]
    metadata = PredictionsMetadata(
        study="simulated", dataset="phantom", kind="phantom", run=f"network-seed{seed}", network="network",
        split="official", split_sha256="ab" * 32, split_sides={}, side="test", findings=FINDINGS,
    )  # fmt: skip
    names = [f"p{number}" for number in of_patient]
    return Predictions.from_arrays(ids, names, labels, logits, metadata, None, about)


def rows(run: Predictions, kept: np.ndarray) -> Predictions:
    """The predictions of some images."""
    return replace(run, frame=run.frame[kept].reset_index(drop=True))


def with_columns(run: Predictions, **columns: object) -> Predictions:
    return replace(run, frame=run.frame.assign(**columns))


def without(run: Predictions, *columns: str) -> Predictions:
    return replace(run, frame=run.frame.drop(columns=list(columns)))


def one(table: pd.DataFrame, **where: object) -> pd.Series:
    """The only row of a table with these values."""
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1, f"{len(table)} rows"
    return table.iloc[0]

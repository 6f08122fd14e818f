"""The images that a statistic of probabilities is computed from: checked, masked, counted, and weighted by resample.

Every such statistic is a function of weighted sums over the images. The weights are how often each resample of the
bootstrap draws each patient, so the sums of all resamples are one matrix product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.bootstrap import DEFAULTS, Runs, check_same_images, listed, patients_with, why_left_out
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.resampling import resample_patients
from cxr_kd.study.settings import Evaluation


@dataclass(frozen=True, eq=False)
class Scored:
    """One finding of one run, on its n images with a known label.

    labels: (n,) 1 or 0. logits: (n,) float64. patients: (n,) the row of `weights` of each image.
    weights: (P, W), how often each of the P patients counts in each of W weightings.
    """

    labels: np.ndarray
    logits: np.ndarray
    patients: np.ndarray
    weights: np.ndarray

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Return the weighted sums over the images of each row of values (K, n): (K, W)."""
        by_patient = np.stack([np.bincount(self.patients, each, len(self.weights)) for each in values])
        return by_patient @ self.weights

    def binned(self, bins: np.ndarray, count: int, values: np.ndarray | None = None) -> np.ndarray:
        """Return the weighted sums of values (n,), by default 1, in each of `count` bins (n,): (count, W)."""
        return self.by_patient(bins, count, values) @ self.weights

    def by_patient(self, bins: np.ndarray, count: int, values: np.ndarray | None = None) -> csr_array:
        """Return the sums of values (n,), by default 1, for each bin and patient: (count, P)."""
        entries = np.ones(len(bins)) if values is None else values
        return csr_array((entries, (bins, self.patients)), shape=(count, len(self.weights)))


@dataclass(frozen=True, eq=False)
class Cases:
    """The test side of S runs of one training (its seeds), and the validation side of the same runs.

    counts: one row per finding, in order, with the columns of COUNTS. weights: (P, 1 + R); in the first column each
    patient counts once, the others are the R resamples. numbers: (N,) the row of `weights` of each image.
    """

    test: tuple[Predictions, ...]
    validation: tuple[Predictions, ...]
    counts: pd.DataFrame
    numbers: np.ndarray
    weights: np.ndarray

    def scored(self, finding: str) -> list[Scored]:
        """Return the images with a known label of a finding, one entry per seed."""
        labels = self.test[0].frame[f"label:{finding}"].to_numpy(np.float64)
        known = ~np.isnan(labels)
        logits = [run.frame[f"logit:{finding}"].to_numpy(np.float64)[known] for run in self.test]
        return [Scored(labels[known], each, self.numbers[known], self.weights) for each in logits]

    @cached_property
    def _count_rows(self) -> dict[str, dict[str, Any]]:
        rows = self.counts[list(COUNTS)].to_dict("records")
        return {row["finding"]: {str(name): value for name, value in row.items()} for row in rows}

    @property
    def left_out(self) -> dict[str, str]:
        """The reason why each finding is not evaluated; "" for those that are."""
        names, reasons = (self.counts[column].tolist() for column in ("finding", "left_out"))
        return dict(zip(names, reasons, strict=True))

    def rows(self, finding: str, columns: Mapping[str, Any], left_out: str = "") -> pd.DataFrame:
        """Return the finding's counts beside `columns` (arrays of one length, or single values).

        `left_out` replaces the reason in the counts if it has none.
        """
        row = self._count_rows[finding]
        counts = row | {"left_out": row["left_out"] or left_out}
        length = max([len(value) for value in columns.values() if not _is_single(value)], default=1)
        return pd.DataFrame({**counts, **columns}, index=range(length))


# run: names of the seeds' runs. side_images, side_patients: all on this side. images: those whose label is known,
# unknown: the others. left_out: "" or why the finding is not evaluated.
COUNTS = ("run", "dataset", "kind", "split", "side", "side_images", "side_patients", "finding", "images", "unknown",
          "positives", "negatives", "positive_patients", "prevalence", "left_out")  # fmt: skip


def gather(test: Runs, validation: Runs | None, settings: Evaluation = DEFAULTS) -> Cases:
    """Return the cases of one run or of several seeds; `validation` has the same runs in the same order, or is None.

    Raises PredictionsError unless all runs of a side hold the same images and labels, the runs of both sides are the
    same, and no patient is on both sides.
    """
    tested, validated = listed(test), [] if validation is None else listed(validation)
    if not tested:
        raise PredictionsError("no predictions of the test side; give those of at least one run")
    check_same_images(tested)
    if validation is not None:
        _check_pairs(tested, validated)
    numbers, drawn = resample_patients(tested[0].patients, settings)
    weights = np.concatenate([np.ones((drawn.shape[1], 1)), drawn.T], axis=1)
    counts = _count(tested, settings.minimum_positives)
    return Cases(tuple(tested), tuple(validated), counts, numbers, weights)


def _check_pairs(tested: Sequence[Predictions], validated: Sequence[Predictions]) -> None:
    """Raise PredictionsError unless `validated` is the validation side of the runs `tested`."""
    names = [[run.metadata.run for run in runs] for runs in (tested, validated)]
    if names[0] != names[1]:
        raise PredictionsError(
            f"predictions of the test side are of {', '.join(names[0])}, those of the validation side of "
            f"{', '.join(names[1]) or 'no run'}; give both sides of the same runs, in the same order"
        )
    check_same_images(validated)
    one, other = tested[0], validated[0]
    if other.metadata.side != "validation":
        raise PredictionsError(f"{other.source}: of the {other.metadata.side} side; those of validation are needed")
    if one.metadata.split_sha256 != other.metadata.split_sha256 or one.findings != other.findings:
        raise PredictionsError(f"{one.source} and {other.source}: the split or the findings differ; train it again")
    if shared := sorted(set(one.patients) & set(other.patients)):
        raise PredictionsError(
            f"{one.source} and {other.source}: {len(shared)} patients are on both sides (first: {shared[0]}); what is "
            "fitted on validation must not see test patients"
        )


def _count(tested: Sequence[Predictions], minimum: int) -> pd.DataFrame:
    """Return `Cases.counts`."""
    first, rows = tested[0], []
    side = {
        "run": " + ".join(run.metadata.run for run in tested),
        "dataset": first.metadata.dataset,
        "kind": first.metadata.kind,
        "split": first.metadata.split,
        "side": first.metadata.side,
        "side_images": len(first.frame),
        "side_patients": len(set(first.patients)),
    }
    for finding, labels in zip(first.findings, first.labels.T, strict=True):
        patients = patients_with(first, labels)
        counts = {"positives": int((labels == 1).sum()), "negatives": int((labels == 0).sum())}
        images = sum(counts.values())
        rows.append({
            **side, "finding": finding, "images": images, "unknown": len(labels) - images, **counts,
            "positive_patients": patients["positives"],
            "prevalence": counts["positives"] / images if images else np.nan,
            "left_out": why_left_out(counts, patients, minimum),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=list(COUNTS))


def _is_single(value: Any) -> bool:
    return isinstance(value, str) or np.ndim(value) == 0

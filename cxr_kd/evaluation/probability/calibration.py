"""Calibration: whether a probability of 20 % means that 20 of 100 such images have the finding.

The measures follow Van Calster et al., "Evaluation of performance measures in predictive artificial intelligence
models to support medical decisions", Lancet Digital Health 2025 (10.1016/j.landig.2025.100916).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from cxr_kd.evaluation.bootstrap import DEFAULTS, Runs
from cxr_kd.evaluation.probability.cases import Cases, Scored, gather
from cxr_kd.evaluation.probability.logistic import ResampledLogistic, why_no_fit
from cxr_kd.evaluation.probability.recalibration import (
    METHODS,
    LogitMap,
    Method,
    Recalibration,
    fit_recalibration,
    why_no_map,
)
from cxr_kd.evaluation.probability.smooth_ece import resampled_smooth_ece
from cxr_kd.evaluation.seed_intervals import DISTANCE, SHARE, interval_kind, summarise
from cxr_kd.study.settings import Evaluation

BINS = 15
BINNING = f"{BINS} bins of equal image counts"  # what `ece` and the decomposition of the Brier score use
EVERYWHERE = (-np.inf, np.inf)
# measure -> bounds of its values, and whether it is a distance (`seed_intervals.summarise`)
MEASURES: dict[str, tuple[tuple[float, float], bool]] = {
    "intercept": (EVERYWHERE, False),
    "slope": (EVERYWHERE, False),
    "observed_expected": (DISTANCE, False),
    "ece": (SHARE, True),
    "smooth_ece": (SHARE, True),
    "brier": (SHARE, False),
    "brier_reliability": (SHARE, True),
    "brier_resolution": (SHARE, False),
    "brier_uncertainty": (SHARE, False),
    "brier_within_bins": (EVERYWHERE, False),
    "brier_skill": (EVERYWHERE, False),
}


def evaluate_calibration(
    test: Runs, validation: Runs, settings: Evaluation = DEFAULTS, methods: Sequence[Method] = tuple(METHODS)
) -> pd.DataFrame:
    """Return the calibration on the test side, one row per finding and method, averaged over seeds.

    The methods (`recalibration.METHODS`) are fitted on the validation side of each run. Columns: those of
    `cases.COUNTS`, probabilities (the method), binning, interval ("patients", or "patients and trainings" for several
    seeds), and for each measure M of MEASURES: M, M_low, M_high (95 %), M_se_patients, M_se_trainings:

    - intercept: of logit P(y = 1) = intercept + logit p; 0 is best, below 0 means that probabilities are too high.
    - slope: of logit P(y = 1) = a + slope * logit p; 1 is best, below 1 means that probabilities are too extreme.
    - observed_expected: positives divided by the sum of the probabilities; 1 is best.
    - ece: expected calibration error with BINNING, in [0, 1], 0 is best. smooth_ece: `smooth_ece`.
    - ece_if_calibrated (without an interval): what chance alone makes of the ece of a perfectly calibrated network.
    - brier: mean squared error, in [0, 1], lower is better, and its parts (see the function `brier`).
    - brier_skill: 1 - brier / uncertainty; 0 is what the prevalence as everyone's probability scores.

    A finding that is left out has one row per method without values, and the reason in `left_out`.
    """
    cases = gather(test, validation, settings)
    maps = [fit_recalibration(run) for run in cases.validation]
    frames = [frame for finding in cases.left_out for frame in _finding(cases, maps, finding, methods)]
    return pd.concat(frames, ignore_index=True)


def equal_count_bins(probabilities: np.ndarray, count: int = BINS) -> np.ndarray:
    """Return the bin (n,) in 0..count-1 of each probability (n,). Equal probabilities share a bin.

    The edges are quantiles, as in scikit-learn's `calibration_curve(strategy="quantile")`.
    """
    edges = np.percentile(probabilities, np.linspace(0, 100, count + 1))
    return np.searchsorted(edges[1:-1], probabilities)


def equal_width_bins(probabilities: np.ndarray, count: int = BINS) -> np.ndarray:
    """Return the bin (n,) in 0..count-1 of each probability (n,); each bin holds its lower edge."""
    return (probabilities * count).astype(int).clip(0, count - 1)


@dataclass(frozen=True, eq=False)
class Binned:
    """Weighted sums over the images of each of B bins, for each weighting: images, labels, probabilities, (B, W)."""

    images: np.ndarray
    positives: np.ndarray
    expected: np.ndarray

    @classmethod
    def of(cls, scored: Scored, probabilities: np.ndarray, bins: np.ndarray) -> Binned:
        """Return the sums for probabilities and bins (n,)."""
        count = int(bins.max()) + 1
        return cls(*(scored.binned(bins, count, values) for values in (None, scored.labels, probabilities)))

    def ece(self) -> np.ndarray:
        """Return the expected calibration error (W,): mean over images of |mean label - mean probability| of the bin.

        Source: Naeini, Cooper and Hauskrecht, AAAI 2015.
        """
        with np.errstate(invalid="ignore"):
            return np.abs(self.expected - self.positives).sum(axis=0) / self.images.sum(axis=0)


def ece_if_calibrated(probabilities: np.ndarray, bins: np.ndarray) -> float:
    """Return the ECE that chance alone gives: its mean over labels drawn from the probabilities (n,).

    Each bin's sum of residuals is taken as normal; images of one patient are taken as independent, which makes the
    value a little too small. Source of the idea: Bröcker and Smith, Weather and Forecasting 22 (2007).
    """
    spread = np.sqrt(np.bincount(bins, probabilities * (1 - probabilities)))
    return float(np.sqrt(2 / np.pi) * spread.sum() / len(bins))


def brier(scored: Scored, probabilities: np.ndarray, binned: Binned) -> np.ndarray:
    """Return the Brier score and its parts for each weighting, (5, W).

    In order: the score, reliability (lower is better), resolution (higher is better), uncertainty (of the labels
    alone), and what lies within bins, so that score = reliability - resolution + uncertainty + within. Within is 0 if
    all probabilities of a bin are equal. Source: Murphy, Journal of Applied Meteorology 12 (1973); Stephenson, Coelho
    and Jolliffe, Weather and Forecasting 23 (2008) for the part within bins.
    """
    images = binned.images
    total = images.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        score = scored.sums((probabilities - scored.labels)[None] ** 2)[0] / total
        rate = binned.positives.sum(axis=0) / total
        observed, forecast = binned.positives / images, binned.expected / images
        reliability = np.where(images > 0, images * (forecast - observed) ** 2, 0).sum(axis=0) / total
        resolution = np.where(images > 0, images * (observed - rate) ** 2, 0).sum(axis=0) / total
    uncertainty = rate * (1 - rate)
    return np.stack([score, reliability, resolution, uncertainty, score - reliability + resolution - uncertainty])


def _finding(
    cases: Cases, maps: Sequence[Recalibration], finding: str, methods: Sequence[Method]
) -> Iterator[pd.DataFrame]:
    """Give the row of each method for one finding."""
    scored = cases.scored(finding)
    left_out = cases.left_out[finding] or next(filter(None, (why_no_fit(s.labels, s.logits) for s in scored)), "")
    fits = [] if left_out else [ResampledLogistic(each) for each in scored]
    slopes = [fit.line()[1] for fit in fits]
    for method in methods:
        of_seeds = [each.of(finding, method) for each in maps]
        reason = left_out or why_no_map(of_seeds)
        columns: dict[str, Any] = {"probabilities": method, "binning": BINNING, "interval": interval_kind(len(scored))}
        values = np.full((len(scored), len(MEASURES), cases.weights.shape[1]), np.nan)
        noise = np.nan
        if not reason:
            values = np.stack([_measures(*each) for each in zip(fits, slopes, of_seeds, strict=True)])
            probabilities = [expit(mapped.apply(s.logits)) for mapped, s in zip(of_seeds, scored, strict=True)]
            noise = float(np.mean([ece_if_calibrated(p, equal_count_bins(p)) for p in probabilities]))
        for i, (measure, (bounds, distance)) in enumerate(MEASURES.items()):
            columns |= summarise(measure, values[:, i], bounds, distance=distance, errors=True)
        yield cases.rows(finding, {**columns, "ece_if_calibrated": noise}, reason)


def _measures(fit: ResampledLogistic, slope: np.ndarray, mapped: LogitMap) -> np.ndarray:
    """The measures of one finding, method and run, (len(MEASURES), W), in the order of MEASURES.

    `slope` (W,) is that of the raw logits; dividing it by the map's slope gives that of the recalibrated ones.
    """
    scored, probabilities = fit.scored, expit(mapped.apply(fit.scored.logits))
    binned = Binned.of(scored, probabilities, equal_count_bins(probabilities))
    score = brier(scored, probabilities, binned)
    positives, expected = binned.positives.sum(axis=0), binned.expected.sum(axis=0)
    return np.stack([
        fit.intercept(mapped.intercept or 0, mapped.slope or 0),
        slope / (mapped.slope or np.nan),
        positives / np.where(expected > 0, expected, np.nan),
        binned.ece(),
        resampled_smooth_ece(scored, probabilities),
        *score,
        1 - score[0] / np.where(score[3] > 0, score[3], np.nan),
    ])  # fmt: skip

"""Reliability curves, and how the probabilities of positives and of negatives are distributed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import expit

from cxr_kd.evaluation.bootstrap import DEFAULTS, Runs
from cxr_kd.evaluation.probability.calibration import Binned, equal_count_bins
from cxr_kd.evaluation.probability.cases import Cases, Scored, gather
from cxr_kd.evaluation.probability.recalibration import Method, Recalibration, fit_recalibration, recalibrated
from cxr_kd.evaluation.seed_intervals import SHARE, interval_kind, summarise
from cxr_kd.study.settings import Evaluation

CURVE_BINS = 10  # of equal image counts
SMOOTH_POINTS = 50
OUTER = (0.5, 99.5)  # percentiles of the logits between which the smooth curve is given
HISTOGRAM = np.linspace(-10, 6, 65)  # edges on the axis of logits; what lies beyond counts in the outer bins
LABELS = ("negative", "positive")
CURVE_METHODS: tuple[Method, ...] = ("raw", "platt")


def reliability_curves(
    test: Runs, validation: Runs, settings: Evaluation = DEFAULTS, methods: Sequence[Method] = CURVE_METHODS
) -> pd.DataFrame:
    """Return the reliability curves on the test side, one row per finding, method and point, averaged over seeds.

    Columns: those of `cases.COUNTS`, probabilities (the method; fitted on the validation side of each run), curve,
    predicted (mean probability), interval, and observed (share of positives) with _low and _high (95 %). `curve`:

    - bins: CURVE_BINS bins of equal image counts; `share` is the share of the images in the bin.
    - smooth: a Gaussian kernel average over the logits (`smooth_curve`), which needs no bins; `share` is NaN.

    A finding or method that is left out has one row without values.
    """
    cases = gather(test, validation, settings)
    maps = [fit_recalibration(run) for run in cases.validation]
    parts = (_reliability(cases, maps, finding, method) for finding in cases.left_out for method in methods)
    return pd.concat([frame for part in parts for frame in part], ignore_index=True)


def probability_distributions(
    test: Runs, validation: Runs, settings: Evaluation = DEFAULTS, methods: Sequence[Method] = CURVE_METHODS
) -> pd.DataFrame:
    """Return histograms of the probabilities on the test side by label, one row per finding, method, label and bin.

    The bins are equally wide on the axis of logits, because most probabilities are close to 0. Columns: those of
    `cases.COUNTS`, probabilities (the method), label (LABELS), from_probability, to_probability, interval, and share
    (of the images with this label; averaged over seeds) with _low and _high (95 %). A finding or method that is left
    out has one row without values.
    """
    cases = gather(test, validation, settings)
    maps = [fit_recalibration(run) for run in cases.validation]
    frames = [_histogram(cases, maps, finding, method) for finding in cases.left_out for method in methods]
    return pd.concat(frames, ignore_index=True)


def smooth_curve(scored: Scored, logits: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the smoothed share of positives at `points` (K,) on the axis of logits, for each weighting: (K, W).

    A Nadaraya-Watson average with a Gaussian kernel. Its width is the logits' standard deviation times
    m^(-1/5), where m is the smaller number of positives and negatives (Scott's rule, for the rarer label).
    """
    rarer = min(scored.labels.sum(), (1 - scored.labels).sum())
    width = logits.std() * rarer ** (-1 / 5)
    kernel = np.exp(-0.5 * ((points[:, None] - logits) / width) ** 2)  # (K, n)
    order = np.argsort(scored.patients, kind="stable")
    starts = np.flatnonzero(np.diff(scored.patients[order], prepend=-1))
    drawn = scored.weights[scored.patients[order][starts]]
    positive, everyone = (np.add.reduceat((kernel * values)[:, order], starts, axis=1) @ drawn
                          for values in (scored.labels, 1.0))  # fmt: skip
    with np.errstate(invalid="ignore"):
        return positive / everyone


def _reliability(cases: Cases, maps: Sequence[Recalibration], finding: str, method: Method) -> Iterator[pd.DataFrame]:
    """Give the binned and the smooth curve of one finding and method; one empty row if it is left out."""
    logits, left_out = recalibrated(cases, maps, finding, method)
    scored = cases.scored(finding)
    fixed: dict[str, Any] = {"probabilities": method, "interval": interval_kind(len(scored))}
    if left_out:
        nothing = summarise("observed", np.full((len(scored), cases.weights.shape[1]), np.nan))
        yield cases.rows(finding, {**fixed, "curve": "", "predicted": np.nan, **nothing, "share": np.nan}, left_out)
        return
    binned = [Binned.of(one, expit(own), equal_count_bins(expit(own), CURVE_BINS))
              for one, own in zip(scored, logits, strict=True)]  # fmt: skip
    yield cases.rows(finding, {**fixed, "curve": "bins", **_bins(binned)})
    low, high = np.mean([np.percentile(own, OUTER) for own in logits], axis=0)
    points = np.linspace(low, high, SMOOTH_POINTS)
    smooth = np.stack([smooth_curve(one, own, points) for one, own in zip(scored, logits, strict=True)])
    columns = {"predicted": expit(points), **summarise("observed", smooth, SHARE), "share": np.nan}
    yield cases.rows(finding, {**fixed, "curve": "smooth", **columns})


def _bins(seeds: Sequence[Binned]) -> dict[str, Any]:
    """The columns of the binned curve: bin k of a finding is the mean over the bins k of the seeds."""
    count = min(len(each.images) for each in seeds)  # fewer than CURVE_BINS if many probabilities are equal
    parts = []
    for each in seeds:
        with np.errstate(invalid="ignore"):
            images = each.images[:count]
            parts.append((each.expected[:count, 0] / images[:, 0], each.positives[:count] / images, images[:, 0]))
    predicted, observed, images = (np.stack([part[i] for part in parts]) for i in range(3))
    columns = {"predicted": predicted.mean(axis=0), **summarise("observed", observed, SHARE)}
    return {**columns, "share": (images / images.sum(axis=1, keepdims=True)).mean(axis=0)}


def _histogram(cases: Cases, maps: Sequence[Recalibration], finding: str, method: Method) -> pd.DataFrame:
    """The histograms of both labels of one finding and method; one empty row if it is left out."""
    logits, left_out = recalibrated(cases, maps, finding, method)
    scored = cases.scored(finding)
    fixed: dict[str, Any] = {"probabilities": method, "interval": interval_kind(len(scored))}
    if left_out:
        nothing = summarise("share", np.full((len(scored), cases.weights.shape[1]), np.nan))
        edges = {"label": "", "from_probability": np.nan, "to_probability": np.nan}
        return cases.rows(finding, {**fixed, **edges, **nothing}, left_out)
    count = len(HISTOGRAM) - 1
    frames = []
    for value, label in enumerate(LABELS):
        shares = []
        for one, own in zip(scored, logits, strict=True):
            bins = np.searchsorted(HISTOGRAM[1:-1], own, side="right")
            images = one.binned(bins, count, (one.labels == value).astype(np.float64))
            with np.errstate(invalid="ignore"):
                shares.append(images / images.sum(axis=0))
        edges = {"label": label, "from_probability": expit(HISTOGRAM[:-1]), "to_probability": expit(HISTOGRAM[1:])}
        frames.append(cases.rows(finding, {**fixed, **edges, **summarise("share", np.stack(shares), SHARE)}))
    return pd.concat(frames, ignore_index=True)

"""Tables of arms from their predictions: evaluated, and compared; over all images, and within each source of images.

If the source of an image (collection, hospital, scanner) goes with its labels, a network that recognises only the
source has a high AUROC over all images. Two things show this: the AUROC within each source, where the source is of no
use, and the AUROC of *source-only* scores, which know nothing of an image but its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.mrmc import OVER_BOTH
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.uncertainty import compare, correct_over_comparisons, evaluate
from cxr_kd.study.settings import Evaluation

ArmPredictions = Mapping[str, Sequence[Predictions]]  # arm -> one per seed, all on the same images
SOURCE_ONLY = "source_only"  # in the column `arm`


def evaluate_arms(
    predictions: ArmPredictions, settings: Evaluation, seeds: Sequence[int] | None = None
) -> pd.DataFrame:
    """Return `uncertainty.evaluate` of every arm. Columns: arm, seeds (their number), then those of `evaluate`."""
    frames = []
    for arm, runs in predictions.items():
        frame = evaluate(runs, settings, seeds)
        frame.insert(0, "arm", arm)
        frame.insert(1, "seeds", len(runs))
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def compare_arms(
    predictions: ArmPredictions, pairs: Sequence[tuple[str, str]], settings: Evaluation, seeds: Sequence[int]
) -> pd.DataFrame:
    """Return `uncertainty.compare` of each pair of arms (first, second): second minus first.

    The columns `first` and `second` hold the arms. p-values of the means are corrected over the pairs. No row without a
    pair.
    """
    frames = [
        compare(predictions[first], predictions[second], settings, seeds).assign(first=first, second=second)
        for first, second in pairs
    ]
    return correct_over_comparisons(pd.concat(frames, ignore_index=True)) if frames else pd.DataFrame()


def non_inferior(comparisons: pd.DataFrame, margin: float) -> np.ndarray:
    """Return for each row whether `second` is not worse than `first` by `margin` or more of AUROC (rows,).

    It is if the 95 % interval of the difference, over patients and trainings, is above -margin. False for one training,
    whose interval is over patients only. Source: Piaggio et al., JAMA 308 (2012), the CONSORT extension.
    """
    return ((comparisons["interval"] == OVER_BOTH) & (comparisons["auroc_low"] > -margin)).to_numpy(bool)


def image_sources(predictions: ArmPredictions) -> tuple[str, ...]:
    """Return the sources of the images, each once, sorted; () if the data set has none."""
    sources = next(iter(predictions.values()))[0].image_sources
    return () if sources is None else tuple(sorted(set(sources)))


def within_sources(predictions: ArmPredictions, table: Callable[[ArmPredictions], pd.DataFrame]) -> pd.DataFrame:
    """Return the rows that `table` gives for the images of each source, with the source in the first column."""
    frames = []
    for source in image_sources(predictions):
        inside = {arm: [run.within(source) for run in runs] for arm, runs in predictions.items()}
        frame = table(inside)
        frame.insert(0, "source", source)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def source_only(predictions: Predictions, counts: Mapping[str, Any]) -> Predictions:
    """Return predictions that know nothing of an image but its source.

    The score of a finding is its rate among the training images of the image's source (positives divided by known
    labels), or among all training images if the source has no known label there. Metrics only rank the scores. `counts`
    is `image_sources` of the data card (`image_sources.source_counts`).

    Raises PredictionsError if an image has no source, or one that `counts` does not have.
    """
    sources = predictions.image_sources
    unknown = {"images without sources"} if sources is None else set(sources) - set(counts)
    if sources is None or unknown:
        raise PredictionsError(
            f"{predictions.source}: the data card does not know {', '.join(sorted(unknown))}; run 01_data again, and "
            "train this run again"
        )
    rates = _training_rates(predictions.findings, counts)
    return Predictions.from_arrays(
        predictions.frame["image_id"].tolist(),
        predictions.patients.tolist(),
        predictions.labels,
        np.stack([rates[source] for source in sources]),
        predictions.metadata.model_copy(update={"run": SOURCE_ONLY, "network": SOURCE_ONLY}),
        sources.tolist(),
    )


def _training_rates(findings: Sequence[str], counts: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return source -> rate of each finding (L,) among its training images."""
    positives, known = (
        np.array([[sides["train"][key][finding] for finding in findings] for sides in counts.values()], float)
        for key in ("positives", "known")
    )
    everywhere = positives.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    rates = np.where(known > 0, positives / np.maximum(known, 1), everywhere)
    return dict(zip(counts, rates, strict=True))

"""The metrics of groups of images for every network and seed, in the same resamples of the patients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.bootstrap import check_same_images
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.resampling import resample_patients
from cxr_kd.evaluation.seed_intervals import mean_of_defined
from cxr_kd.evaluation.subgroup.group_comparison import Comparison, comparison, scored_everywhere
from cxr_kd.evaluation.subgroup.group_metrics import METRICS, measure
from cxr_kd.evaluation.subgroup.groups import groupings
from cxr_kd.study.settings import Evaluation

OWN, GAP = 0, 1
# arm -> one mapping per seed: finding -> threshold on the logit; the decision is positive if logit >= threshold
ArmThresholds = Mapping[str, Sequence[Mapping[str, float]]]


@dataclass(frozen=True, eq=False)
class GroupBootstrap:
    """One grouping of the images, with the metrics of every network.

    values: arm -> (S, M, 2, L + 1, K, 1 + R): seeds, METRICS, the value (OWN) and the gap (GAP), findings and their
    mean (last), groups, the estimate and R resamples. NaN where a finding is not scored or a group is not compared. The
    mean of a gap is the mean of the findings' gaps, so that a resample without a positive of a finding in one group
    leaves the finding out on both sides.
    unknown_patients: patients with images in no group.
    """

    findings: tuple[str, ...]
    comparison: Comparison
    values: Mapping[str, np.ndarray]
    unknown_patients: int


def group_bootstrap(
    predictions: Mapping[str, Sequence[Predictions]], settings: Evaluation, thresholds: ArmThresholds | None = None
) -> Iterator[GroupBootstrap]:
    """Yield the bootstrap of each grouping; the first is of all images. Arguments and errors: `subgroup_results`."""
    runs = [run for of_arm in predictions.values() for run in of_arm]
    if not runs:
        raise PredictionsError("there are no predictions to evaluate by subgroup; name at least one run")
    check_same_images(runs)
    cuts = {arm: threshold_arrays(arm, of_arm, thresholds) for arm, of_arm in predictions.items()}
    with_threshold = np.isfinite(np.concatenate(list(cuts.values()))).all(axis=0)
    numbers, drawn = resample_patients(runs[0].patients, settings)
    weights = np.concatenate([np.ones((drawn.shape[1], 1)), drawn.T], axis=1)
    everywhere = np.zeros(len(METRICS), dtype=int)
    for grouping in groupings(runs):
        found = comparison(runs[0], grouping, with_threshold, settings.minimum_positives, everywhere)
        if not everywhere.any():
            everywhere = scored_everywhere(found)
        values = {
            arm: np.stack([_values(*pair, found, numbers, weights) for pair in zip(of_arm, cuts[arm], strict=True)])
            for arm, of_arm in predictions.items()
        }
        yield GroupBootstrap(runs[0].findings, found, values, len(set(numbers[grouping.member < 0])))


def threshold_arrays(arm: str, runs: Sequence[Predictions], thresholds: ArmThresholds | None) -> np.ndarray:
    """Return the thresholds of each seed of an arm, (S, L); NaN for a finding without one.

    Raises PredictionsError for an arm without thresholds, another number of seeds, an unknown finding, or a threshold
    that is no number.
    """
    findings = runs[0].findings
    if thresholds is None:
        return np.full((len(runs), len(findings)), np.nan)
    of_arm = thresholds.get(arm, ())
    if len(of_arm) != len(runs):
        raise PredictionsError(
            f"{arm}: thresholds of {len(of_arm)} runs, but {len(runs)} predictions; give one per seed"
        )
    for of_run in of_arm:
        if unknown := set(of_run) - set(findings):
            raise PredictionsError(f"{arm}: thresholds of unknown findings {', '.join(sorted(unknown))}")
        for finding, value in of_run.items():
            if not isinstance(value, float | int | np.number) or np.isinf(value):
                raise PredictionsError(f"{arm}: the threshold of {finding} is {value!r}; a finite logit is needed")
    return np.array([[of_run.get(finding, np.nan) for finding in findings] for of_run in of_arm], dtype=np.float64)


def _values(
    run: Predictions, thresholds: np.ndarray, found: Comparison, numbers: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """`GroupBootstrap.values` of one run, (M, 2, L + 1, K, 1 + R)."""
    labels, logits, grouping = run.labels, run.logits, found.grouping
    scored = found.left_out == ""
    shape = (len(METRICS), 2, len(run.findings) + 1, len(grouping.names), weights.shape[1])
    values = np.full(shape, np.nan)
    for finding in np.flatnonzero(scored.any(axis=(0, 2))):
        one = labels[:, finding], logits[:, finding], thresholds[finding]
        own, others = np.moveaxis(measure(*one, grouping, found.others, numbers, weights), 1, 0)
        own[~scored[:, finding]] = np.nan
        values[:, OWN, finding], values[:, GAP, finding] = own, own - others
    for metric, in_mean in enumerate(found.in_mean):
        mean = mean_of_defined(values[metric, :, :-1][:, in_mean], axis=1)
        mean[:, found.no_mean[metric] != ""] = np.nan
        values[metric, :, -1] = mean
    return values

"""Subgroups of patients: how well each network does in each, and how distillation changes the gaps between them.

Distillation is known to change gaps (arXiv 2410.08407), and published classifiers are much worse in children (arXiv
2505.16027). `subgroup_results` gives three tables from predictions alone: every group evaluated, the gap of each
group, and the change of each gap by distillation.

**Groups** (`groups.groupings`): sex, age band (children apart), view position, number of findings, source.

**The gap** of a group is its value minus that of all other compared groups together. Worst minus best is not used: it
is the largest of several noisy differences, so it is above zero although all groups are equal (Lum, Zhang and Bower,
"De-biasing 'bias' measurement", FAccT 2022). The largest group is not the standard either: which one it is changes
with the data set, and no group of patients is the norm of the others. If only two groups are compared, the second gap
is the first with the opposite sign, so only that of the smaller group is given. A group that becomes worse also moves
the gaps of the others a little, because it is one of their others.

**The same findings**: a mean is over the findings that are scored in every compared group. A group that scores fewer
than half of the findings is not compared, but its single findings are given (`group_comparison`).

**By number of findings**, an AUROC within the group is not what a reader expects: "0" has no positive, and an image
without findings is never compared with one that has some. So the positives of the group are compared with the
negatives of *all* groups. Each group then has the same negatives, and the AUROC over all these images is the mean of
the groups' AUROC, weighted by their positives. Calibration is not defined there, because the number of findings fixes
the share of positives. Sensitivity and specificity are those of the images in the group.

**Calibration** is ln(mean predicted probability / share of positives), the logarithm of expected over observed (E/O).
A ratio can be compared between findings of different prevalence, a difference cannot. On the logarithmic scale, too
high and too low cancel in a mean, and normal intervals fit (Snell et al., Statistical Methods in Medical Research 27,
2018, who recommend this scale).

**Intervals**: those of AUROC are `mrmc.infer`'s, as in every table of AUROC; for the others see `seed_intervals`. The
same patients are resampled for every network, group and finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.bootstrap import DEFAULTS, MEAN
from cxr_kd.evaluation.mrmc import degrees_of_mean, infer, variance
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.resampling import holm
from cxr_kd.evaluation.seed_intervals import WithInterval, with_interval
from cxr_kd.evaluation.subgroup.group_bootstrap import GAP, OWN, ArmThresholds, GroupBootstrap, group_bootstrap
from cxr_kd.evaluation.subgroup.group_comparison import Comparison
from cxr_kd.evaluation.subgroup.group_metrics import METRICS
from cxr_kd.evaluation.subgroup.groups import UNKNOWN, why_unknown
from cxr_kd.study.settings import Evaluation

_COUNTS = ("images", "patients", "positives", "negatives")
_INTERVAL = ("low", "high", "interval")
EVALUATION_COLUMNS = ("arm", "seeds", "by", "group", "finding", "metric", *_COUNTS, "in_mean", "left_out", "value",
                      *_INTERVAL)  # fmt: skip
GAP_COLUMNS = ("arm", "seeds", "by", "group", "finding", "metric", *_COUNTS, "gap", *_INTERVAL)
CHANGE_COLUMNS = ("first", "second", "seeds", "by", "group", "finding", "metric", *_COUNTS, "first_gap", "second_gap",
                  "change", *_INTERVAL, "p", "p_holm")  # fmt: skip
_BETWEEN = {"auroc": (0, 1), "sensitivity": (0, 1), "specificity": (0, 1), "log_calibration": (-np.inf, np.inf)}


@dataclass(frozen=True, eq=False)
class SubgroupResults:
    """Tables about subgroups, one row per network, group, finding (or MEAN) and metric. Columns:

    All three: by, group (of `groups`), finding, metric (one of METRICS), seeds (number of trainings), images and
    patients (of the group), positives, negatives (images of the finding in the group; <NA> for MEAN), low, high (95 %
    interval), interval (what it covers: "patients", or "patients and trainings").

    evaluations: arm, value, in_mean (bool: the finding is part of the group's mean), left_out (why there is no value).
    Images in no group have one row per metric with the group UNKNOWN, a count and the reason, but no value.
    gaps: arm, gap (the group minus all other compared groups). Only gaps that can be estimated.
    changes: first (the control), second (the distilled student), first_gap, second_gap, change (second minus first,
    paired on the same patients and seeds), p and p_holm; NaN for a single seed. p_holm is corrected for all changes of
    the same metric, over all networks and groups; the means over findings and the single findings are two families.
    """

    evaluations: pd.DataFrame
    gaps: pd.DataFrame
    changes: pd.DataFrame


def subgroup_results(
    predictions: Mapping[str, Sequence[Predictions]],
    controls: Sequence[tuple[str, str]],
    settings: Evaluation = DEFAULTS,
    thresholds: ArmThresholds | None = None,
) -> SubgroupResults:
    """Return the tables of `SubgroupResults`.

    `predictions`: arm -> one per seed, all on the same images. `controls`: pairs of arms (control, distilled) with
    as many seeds in the same order. `thresholds`: arm -> one mapping per seed, finding -> threshold on the logit, the
    decision being positive if logit >= threshold; None: no sensitivity and specificity.

    Raises PredictionsError unless all predictions hold the same images, labels and descriptions of the patients, if
    thresholds are not as described, or if a control is missing or has another number of seeds.
    """
    for control, distilled in controls:
        counts = [len(predictions.get(arm, ())) for arm in (distilled, control)]
        if not counts[0] or counts[0] != counts[1]:
            raise PredictionsError(
                f"{distilled} has {counts[0]} and its control {control} {counts[1]} predictions; a change of gaps "
                "needs the same seeds of both"
            )
    tables: tuple[list[pd.DataFrame], ...] = ([], [], [])
    for bootstrap in group_bootstrap(predictions, settings, thresholds):
        for arm in predictions:
            tables[0].append(_evaluations(bootstrap, arm))
            tables[1].append(_gaps(bootstrap, arm))
        tables[2].extend(_changes(bootstrap, control, distilled) for control, distilled in controls)
    evaluations, gaps, changes = (
        _joined(frames, columns)
        for frames, columns in zip(tables, (EVALUATION_COLUMNS, GAP_COLUMNS, CHANGE_COLUMNS), strict=True)
    )
    if thresholds is None:
        evaluations = evaluations[~evaluations["metric"].isin(METRICS[2:])].reset_index(drop=True)
    return SubgroupResults(evaluations, gaps, _corrected(changes))


def _evaluations(bootstrap: GroupBootstrap, arm: str) -> pd.DataFrame:
    """The rows of one arm and one grouping in `SubgroupResults.evaluations`."""
    found, values = bootstrap.comparison, bootstrap.values[arm]
    summary = with_interval(values[:, :, OWN])
    auroc = _auroc_bounds(found, values[:, METRICS.index("auroc"), OWN])
    summary.low[METRICS.index("auroc")], summary.high[METRICS.index("auroc")] = auroc
    rows = []
    for metric, group, finding in np.ndindex(len(METRICS), len(found.images), values.shape[3]):
        is_mean = finding == len(bootstrap.findings)
        if not is_mean and not found.images[group]:
            continue  # an empty group is said once
        place = (metric, finding, group)
        left_out = found.no_mean[metric, group] if is_mean else found.left_out[place]
        low, high = _BETWEEN[METRICS[metric]]
        rows.append(
            _row(bootstrap, metric, group, finding)
            | {"in_mean": bool(not is_mean and found.in_mean[metric, finding]), "left_out": left_out}
            | {"value": summary.value[place], **_bounds(summary, place, low, high)}
        )
    rows += _unknown_rows(bootstrap, summary.covers)
    return pd.DataFrame(rows).assign(arm=arm, seeds=len(values))


def _auroc_bounds(found: Comparison, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bounds (L + 1, K) of the AUROC of each finding and of the mean in each group, from (S, L + 1, K, 1 + R)."""
    resampled = values[..., 1:]
    used = np.where(found.in_mean[METRICS.index("auroc")][:, None], variance(resampled[:, :-1].mean(axis=0)), np.nan)
    of_mean = [degrees_of_mean(*each) for each in zip(used.T, found.degrees.T, strict=True)]
    degrees = np.concatenate([found.degrees, np.reshape(of_mean, (1, -1))])
    result = infer(values[..., 0], resampled, patient_degrees=degrees, bounded=True)
    return result.low, result.high


def _unknown_rows(bootstrap: GroupBootstrap, covers: str) -> list[dict[str, Any]]:
    """One row per metric for the images that are in no group, if there are any."""
    grouping = bootstrap.comparison.grouping
    if not (reason := why_unknown(grouping)):
        return []
    about = {"by": grouping.by, "group": UNKNOWN, "finding": MEAN, "images": int((grouping.member < 0).sum()),
             "patients": bootstrap.unknown_patients, "in_mean": False, "left_out": reason,
             "interval": covers}  # fmt: skip
    return [about | {"metric": metric} for metric in METRICS]


def _gaps(bootstrap: GroupBootstrap, arm: str) -> pd.DataFrame:
    """The rows of one arm and one grouping in `SubgroupResults.gaps`."""
    summary = with_interval(bootstrap.values[arm][:, :, GAP])
    rows = [
        _row(bootstrap, *place) | {"gap": summary.value[place[0], place[2], place[1]]}
        | _bounds(summary, (place[0], place[2], place[1]))
        for place in _places_with_gap(bootstrap.comparison)
    ]  # fmt: skip
    return pd.DataFrame(rows).assign(arm=arm, seeds=len(bootstrap.values[arm]))


def _changes(bootstrap: GroupBootstrap, control: str, distilled: str) -> pd.DataFrame:
    """The rows of one distilled student and one grouping in `SubgroupResults.changes`, without `p_holm`."""
    first, second = (bootstrap.values[arm][:, :, GAP] for arm in (control, distilled))
    summary = with_interval(second - first)
    rows = []
    for metric, group, finding in _places_with_gap(bootstrap.comparison):
        place = (metric, finding, group)
        gaps = {name: values[(slice(None), *place, 0)].mean() for name, values in
                (("first_gap", first), ("second_gap", second))}  # fmt: skip
        own = {"change": summary.value[place], **_bounds(summary, place), "p": summary.p[place]}
        rows.append(_row(bootstrap, metric, group, finding) | gaps | own)
    return pd.DataFrame(rows).assign(first=control, second=distilled, seeds=len(first))


def _places_with_gap(found: Comparison) -> list[tuple[int, int, int]]:
    """The (metric, group, finding) whose gap can be estimated; the last finding is the mean."""
    count = found.in_mean.shape[1]
    places = []
    for metric in range(len(METRICS)):
        scored, compared = found.left_out[metric] == "", found.no_mean[metric] == ""
        mean, others = found.has_gap(metric), found.others[metric]
        for group in np.flatnonzero(mean | ~compared):
            for finding in np.flatnonzero(scored[:, group]):
                if (scored[finding] & others[group]).any():
                    places.append((metric, int(group), int(finding)))
            if mean[group]:
                places.append((metric, int(group), count))
    return places


def _row(bootstrap: GroupBootstrap, metric: int, group: int, finding: int) -> dict[str, Any]:
    found = bootstrap.comparison
    is_mean = finding == len(bootstrap.findings)
    counts = (None, None) if is_mean else (found.positives[finding, group], found.negatives[finding, group])
    return {
        "by": found.grouping.by, "group": found.grouping.names[group], "metric": METRICS[metric],
        "finding": MEAN if is_mean else bootstrap.findings[finding],
        "images": found.images[group], "patients": found.patients[group],
        "positives": counts[0], "negatives": counts[1],
    }  # fmt: skip


def _bounds(
    summary: WithInterval, place: tuple[int, ...], lowest: float = -np.inf, highest: float = np.inf
) -> dict[str, Any]:
    low, high = (np.clip(bound[place], lowest, highest) for bound in (summary.low, summary.high))
    return {"low": low, "high": high, "interval": summary.covers}


def _joined(frames: Sequence[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    filled = [frame.reindex(columns=list(columns)) for frame in frames if "metric" in frame]
    if not filled:
        return pd.DataFrame(columns=list(columns))
    frame = pd.DataFrame([row for each in filled for row in each.to_dict("records")], columns=list(columns))
    return frame.astype(dict.fromkeys(_COUNTS, "Int64"))


def _corrected(changes: pd.DataFrame) -> pd.DataFrame:
    """The changes with `p_holm`."""
    changes = changes.assign(p_holm=np.full(len(changes), np.nan))
    for _, rows in changes.groupby(["metric", changes["finding"] == MEAN]):
        changes.loc[rows.index, "p_holm"] = holm(rows["p"].to_numpy(float))
    return changes

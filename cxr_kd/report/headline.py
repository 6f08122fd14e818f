"""The sentences at the top of the report, computed from the results and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cxr_kd.evaluation.uncertainty import MEAN
from cxr_kd.report.style import ArmStyle
from cxr_kd.report.tables import estimate_text, records

Styles = Mapping[str, ArmStyle]
FEW_PATIENTS = 30  # a percentile interval of fewer clusters is too narrow (Cameron, Gelbach and Miller 2008)
WHERE = {
    "phantom": "On phantoms",
    "mini": "On a miniature of real radiographs",
    "full": "On the full data set",
    "own": "On the radiographs of a folder",
}


@dataclass(frozen=True)
class Badge:
    """What kind of data a figure or table is from; it stands beside each of them."""

    kind: str
    label: str
    meaning: str


def badge(data: Mapping[str, Any]) -> Badge:
    """The badge of a study's data, from `data.json`."""
    count, size = f"{data['images']:,}", f"{data['image_size']} px"
    label, meaning = {
        "phantom": (
            "Phantoms",
            f"{count} synthetic radiographs drawn by this project. They show how the study works, "
            "and say nothing about patients.",
        ),
        "mini": (
            "Miniature",
            f"{count} real radiographs at {size}: enough to show that the study works on real input, "
            "too few for a claim.",
        ),
        "full": ("Full data set", f"{count} real radiographs at {size}."),
        "own": (
            "Own data",
            f"{count} radiographs at {size} from a folder of the user's own ({data['source'].get('name', 'no name')}): "
            "where they are from and how they were labelled is the user's word.",
        ),
    }[data["kind"]]
    return Badge(data["kind"], label, meaning)


def answer(comparisons: pd.DataFrame, styles: Styles, data: Mapping[str, Any]) -> str:
    """One sentence: what distillation changed in the mean AUROC, with the interval, and whether zero is inside it.

    It claims no effect from fewer than FEW_PATIENTS test patients, whatever the interval.
    """
    means = records(comparisons[comparisons["finding"] == MEAN], "second")
    if not means:
        return f"{WHERE[data['kind']]}, no student was trained both alone and distilled: the study asks no comparison."
    patients = data["split"]["sides"]["test"]["patients"]
    clauses = [_clause(row, styles[arm], patients) for arm, row in means.items()]
    return f"{WHERE[data['kind']]}, {'; '.join(clauses)}."


def cost_sentences(cost: pd.DataFrame, taught: Sequence[tuple[str, str]], styles: Styles) -> list[str]:
    """What each teacher costs in terms of its student; `taught`: pairs of arms, a teacher and a student of it."""
    by_arm = records(cost, "arm")
    sentences = []
    for teacher, arm in taught:
        if arm in by_arm and teacher in by_arm:
            large, small = by_arm[teacher], by_arm[arm]
            ratio = {key: f"{large[key] / small[key]:.1f}" for key in ("parameters", "macs", "latency_ms_median")}
            sentences.append(
                f"{styles[teacher].label} has {ratio['parameters']} times the parameters of "
                f"{styles[arm].label.split(' from ')[0]}, {ratio['macs']} times its multiply-accumulates and "
                f"{ratio['latency_ms_median']} times its latency on this processor."
            )
    return sentences


def _clause(row: Mapping[str, Any], style: ArmStyle, patients: int) -> str:
    teacher = style.label.split(" from ", 1)[1]
    change = estimate_text(row["auroc_difference"], row["auroc_low"], row["auroc_high"], signed=True)
    if row["left_out"]:
        return f"no finding has enough positives to say what distillation from {teacher} changes"
    if patients < FEW_PATIENTS:
        return (
            f"{patients} test patients are too few to say what distillation from {teacher} does to the student's mean "
            f"AUROC: {change}"
        )
    if row["auroc_low"] > 0:
        return f"the student distilled from {teacher} had a higher mean AUROC than alone: {change}"
    if row["auroc_high"] < 0:
        return f"the student distilled from {teacher} had a lower mean AUROC than alone: {change}"
    return f"no effect of distillation from {teacher} on the student's mean AUROC could be shown: {change}"

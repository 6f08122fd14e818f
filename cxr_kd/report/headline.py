"""The sentences at the top of the report, computed from the results alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.mrmc import OVER_PATIENTS
from cxr_kd.report.style import ArmStyle
from cxr_kd.report.tables import MINUS, estimate_text, p_text, records

Styles = Mapping[str, ArmStyle]
ENDS = ("", "_low", "_high")  # of the columns of an estimate
FEW_PATIENTS = 30  # percentile intervals over fewer clusters are too narrow (Cameron, Gelbach and Miller 2008)
ONE_TRAINING = (
    " The intervals cover other patients, not other trainings, so this says nothing about the method. That takes "
    "several seeds."
)
WHERE = {
    "phantom": "On phantoms",
    "mini": "On a miniature of real radiographs",
    "full": "On the full data set",
    "own": "On the radiographs of a folder",
}


@dataclass(frozen=True)
class Badge:
    """The kind of data that a study's results are from, as the report shows it."""

    kind: str
    label: str
    meaning: str


def badge(data: Mapping[str, Any]) -> Badge:
    """Return the badge of a study's data, from its data card."""
    count, size = f"{data['images']:,}", f"{data['image_size']} px"
    label, meaning = {
        "phantom": (
            "Phantoms",
            f"{count} synthetic radiographs drawn by this project. They show that the study works "
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
            f"{count} radiographs at {size} from a folder of the user ({data['source'].get('name', 'no name')}). "
            "Their origin and labels were not checked by this project.",
        ),
    }[data["kind"]]
    return Badge(data["kind"], label, meaning)


def headline(comparisons: pd.DataFrame, styles: Styles, data: Mapping[str, Any], source: str | None = None) -> str:
    """Return one sentence: how distillation changed the mean AUROC, with its interval.

    It claims an effect only if it is shown (`uncertainty.is_shown`), on at least FEW_PATIENTS test patients. Of one
    training it says what this training did, and that this is no result about the method. `source`: the comparisons are
    on the test images of this source only, and the sentence says so.
    """
    where = WHERE[data["kind"]] + (f", within source {source}" if source else "")
    means = records(comparisons[comparisons["finding"] == MEAN], "second")
    if not means:
        return f"{where}, no student was trained both alone and distilled, so there is nothing to compare."
    patients = side_tested(data, source)["patients"]
    clauses = [_clause(row, styles[arm], patients) for arm, row in means.items()]
    once = next(iter(means.values()))["interval"] == OVER_PATIENTS
    where, end = (f"{where}, in one training of each network", ONE_TRAINING) if once else (where, "")
    return f"{where}, {'; '.join(clauses)}.{end}"


def side_tested(data: Mapping[str, Any], source: str | None = None) -> Mapping[str, Any]:
    """Return the number of `images` and `patients` of the test side, or of those of one source there."""
    side: Mapping[str, Any] = data["image_sources"][source]["test"] if source else data["split"]["sides"]["test"]
    return side


def share_sentences(kept: pd.DataFrame, styles: Styles) -> list[str]:
    """Return one sentence per teacher and student alone: how much of the teacher's advantage each student kept.

    `kept`: kept-shares.csv (`evaluation.kept_share`).
    """
    sentences = []
    pairs = kept.dropna(subset="advantage").groupby(["teacher", "alone"], sort=False)
    for (teacher, alone), rows in ((tuple(map(str, pair)), rows) for pair, rows in pairs):
        advantage = estimate_text(*(rows[f"advantage{end}"].iloc[0] for end in ENDS), signed=True)
        over = f"advantage in mean AUROC over {styles[alone].label}, {advantage}"
        told = [
            f"{styles[row['student']].label} kept {_share(*(row[f'share{end}'] for end in ENDS))}"
            for row in rows.dropna(subset="share").to_dict("records")
        ]
        sentences.append(
            f"Of {styles[teacher].label}'s {over}, {'; '.join(told)}."
            if told
            else f"{styles[teacher].label} had no clear {over}, so there was none that a student could keep."
        )
    return sentences


def _share(value: float, low: float, high: float) -> str:
    """Return a share with its interval in percent: 39 % (25 to 52 %)."""
    share, low_text, high_text = (f"{round(100 * each):d}".replace("-", MINUS) for each in (value, low, high))
    return f"{share} % ({low_text} to {high_text} %)".replace(" ", "\N{NO-BREAK SPACE}")


def cost_sentences(cost: pd.DataFrame, taught: Sequence[tuple[str, str]], styles: Styles) -> list[str]:
    """Return one sentence per pair of arms (teacher, student): the teacher's cost divided by the student's.

    `cost`: device.csv with the column `arm`. The latency ratio and its interval are from rounds that time both.
    """
    by_arm = records(cost, "arm")
    sentences = []
    for teacher, arm in taught:
        if arm in by_arm and teacher in by_arm:
            large, small = by_arm[teacher], by_arm[arm]
            parameters, macs = (f"{large[key] / small[key]:.1f}" for key in ("parameters", "macs"))
            columns = (f"latency_ratio{end}:{large['network']}" for end in ("", "_low", "_high"))
            latency, low, high = (f"{small[column]:.1f}" for column in columns)
            sentences.append(
                f"{styles[teacher].label} has {parameters} times the parameters of {styles[arm].network}, {macs} times "
                f"its multiply-accumulates (the arithmetic for one image), and {latency} times its latency on this "
                f"processor (95 % interval {low} to {high})."
            )
    return sentences


def _clause(row: Mapping[str, Any], style: ArmStyle, patients: int) -> str:
    teacher = f"{style.teachers} ({style.variant})" if style.variant else style.teachers
    change = estimate_text(row["auroc_difference"], row["auroc_low"], row["auroc_high"], signed=True)
    if row["left_out"]:
        return f"no finding has enough positives to say what distillation from {teacher} changes"
    if patients < FEW_PATIENTS:
        return (
            f"{patients} test patients are too few to say what distillation from {teacher} does to the student's mean "
            f"AUROC: {change}"
        )
    once = row["interval"] == OVER_PATIENTS
    if row["shown"] or (once and not row["auroc_low"] <= 0 <= row["auroc_high"]):
        change = change if once else f"{change}, corrected p\N{NO-BREAK SPACE}{p_text(row['auroc_p_holm'])}"
        side = "higher" if row["auroc_difference"] > 0 else "lower"
        return f"the student distilled from {teacher} had a {side} mean AUROC than alone: {change}"
    if once:
        return f"the student distilled from {teacher} and the same student alone could not be told apart: {change}"
    if not row["auroc_low"] <= 0 <= row["auroc_high"]:
        change = f"{change}, but p\N{NO-BREAK SPACE}{p_text(row['auroc_p_holm'])} after correction for all comparisons"
    return f"no effect of distillation from {teacher} on the student's mean AUROC could be shown: {change}"

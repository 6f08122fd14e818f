"""Tables about subgroups of patients: each group evaluated, gaps before and after distillation, flipped decisions.

The frames are those of `cxr_kd.evaluation.subgroup.tables` and `cxr_kd.evaluation.decision_agreement`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.decision_agreement import FLIPS, SPEARMAN
from cxr_kd.evaluation.mrmc import OVER_BOTH, OVER_PATIENTS
from cxr_kd.evaluation.subgroup.groups import ALL, FINDING_COUNT
from cxr_kd.report.style import ArmStyle, finding_name
from cxr_kd.report.tables import DASH, Cell, Table, estimate, p_text

Styles = Mapping[str, ArmStyle]
METRIC_TITLES = {
    "auroc": "AUROC",
    "log_calibration": "Expected / observed positives",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
}
RATIO = "log_calibration"  # shown as a ratio, not as its logarithm
FLIP_COLUMNS = (  # (measure, among) -> what it is
    (("flip", "all"), "Flipped"),
    (("flip_to_negative", "positives"), "Detections lost"),
    (("flip_to_positive", "positives"), "Detections gained"),
    (("flip_to_positive", "negatives"), "False alarms gained"),
    (("flip_to_negative", "negatives"), "False alarms lost"),
)


def data_line(data: Mapping[str, Any], frame: pd.DataFrame, side: str = "test") -> str:
    """Return what a table or figure is about: data set, split, side, images and patients.

    `data`: the data card. `frame`: `SubgroupResults.evaluations`, or the frame of `decision_agreement`.
    """
    row = frame[frame["by"] == ALL].iloc[0]
    counted = f"{row['images']:,} images of {row['patients']:,} patients"
    return f"{data['source']['name']}, split {data['split']['name']}, {side} side: {counted}"


def group_name(by: str, group: str) -> str:
    """Return a group as it is printed: Sex: female, Number of findings: 2 or more, All images."""
    if by == ALL:
        return "All images"
    division = "number of findings" if by == FINDING_COUNT else by
    return f"{division[:1].upper()}{division[1:]}: {group}"


def covered(frame: pd.DataFrame) -> str:
    """Return what the intervals of a frame cover: patients (one training), patients and trainings, or both kinds."""
    kinds = sorted(set(frame["interval"].dropna()))
    if len(kinds) > 1:
        return f"95 % intervals over {OVER_BOTH} (one training: {OVER_PATIENTS})"
    return f"95 % intervals over {kinds[0]}"


def subgroup_table(evaluations: pd.DataFrame, styles: Styles, about: str, metric: str = "auroc") -> Table:
    """Return one row per group and one column per arm, with the mean over findings; reasons for those not compared.

    `about`: see `data_line`.
    """
    rows_of = evaluations[(evaluations["metric"] == metric)]
    means = rows_of[rows_of["finding"] == MEAN]
    shown = [arm for arm in styles if arm in set(means["arm"])]
    rows: list[list[Any]] = []
    for (by, group), part in means.groupby(["by", "group"], sort=False):
        by_arm = {str(row["arm"]): row for row in part.to_dict("records")}
        first = by_arm[shown[0]]
        name = Cell(group_name(str(by), str(group)), strong=by == ALL)
        cells = [_value(by_arm[arm]["value"], by_arm[arm]["low"], by_arm[arm]["high"], metric) for arm in shown]
        if first["left_out"]:
            cells = [Cell("", first["left_out"], span=len(shown))]
        rows.append([name, f"{first['images']:,}", f"{first['patients']:,}", *cells])
    caption = f"{METRIC_TITLES[metric]} in each group of patients, mean over findings"
    note = f"{about}. {covered(means)}. {_over_findings(rows_of, shown[0])}"
    columns = ("Group", "Images", "Patients", *(styles[arm].label for arm in shown))
    return Table(caption, columns, rows, note.strip())


def gap_change_table(changes: pd.DataFrame, styles: Styles, about: str, metric: str = "auroc") -> Table:
    """Return one row per distilled student and group: the gap alone, the gap distilled, and the paired change.

    `about`: see `data_line`. No row if no student was trained both alone and distilled.
    """
    means = changes[(changes["metric"] == metric) & (changes["finding"] == MEAN)]
    rows = []
    for row in means.to_dict("records"):
        style = styles[row["second"]]
        gaps = [_signed(row[name], metric) for name in ("first_gap", "second_gap")]
        change = _value(row["change"], row["low"], row["high"], metric, signed=True)
        rows.append(
            [
                Cell(style.label, style=style),
                group_name(row["by"], row["group"]),
                *gaps,
                change,
                p_text(row["p"]),
                p_text(row["p_holm"]),
            ]
        )
    columns = ("Student", "Group", "Gap alone", "Gap distilled", "Change", "p", "p, corrected")
    note = (
        f"{about}. The gap is the group minus all other compared groups, mean over findings. A change with the sign of "
        "the gap alone widens the gap. A group that becomes worse also moves the gaps of the other groups a little. "
        f"{covered(means)}. {_tested(means)}"
    )
    what = f"{METRIC_TITLES[metric]}: gaps between groups of patients, before and after distillation"
    return Table(what, columns, rows, note.strip(), text_columns=frozenset({0, 1}))


def agreement_table(agreement: pd.DataFrame, styles: Styles, student: str, about: str) -> Table:
    """Return one row per finding: how `student` agrees with its teacher over all images. `about`: see `data_line`."""
    part = agreement[(agreement["student"] == student) & (agreement["by"] == ALL)]
    heads = (((SPEARMAN, "all"), "Rank correlation"), *FLIP_COLUMNS)
    rows = []
    for finding, of_finding in part.groupby("finding", sort=False):
        name = Cell("Mean", strong=True) if finding == MEAN else finding_name(str(finding))
        rows.append([name, *_agreement_cells(of_finding, heads)])
    return _agreement(styles, part, "Finding", rows, [head for _, head in heads], about)


def agreement_group_table(agreement: pd.DataFrame, styles: Styles, student: str, about: str) -> Table:
    """Return one row per group of patients: flipped decisions of `student`, mean over findings. `about` as above."""
    part = agreement[(agreement["student"] == student) & (agreement["measure"].isin(FLIPS))]
    rows = []
    for (by, group), of_group in part[part["finding"] == MEAN].groupby(["by", "group"], sort=False):
        name = Cell(group_name(str(by), str(group)), strong=by == ALL)
        rows.append([name, *_agreement_cells(of_group, FLIP_COLUMNS)])
    return _agreement(styles, part, "Group", rows, [head for _, head in FLIP_COLUMNS], about)


def _agreement(
    styles: Styles, part: pd.DataFrame, first: str, rows: list[list[Any]], heads: Sequence[str], about: str
) -> Table:
    row = part.iloc[0]
    caption = f"{styles[row['student']].label}: agreement with {styles[row['teacher']].label}"
    note = (
        f"{about}. {covered(part)}. Flipped: share of images whose decision is not the teacher's. Detections: of the "
        "images with the finding. False alarms: of those without. Gained and lost are seen from the teacher."
    )
    return Table(caption, (first, *heads), rows, note)


def _agreement_cells(part: pd.DataFrame, heads: Sequence[tuple[tuple[str, str], str]]) -> list[Cell]:
    by_measure = {(row["measure"], row["among"]): row for row in part.to_dict("records")}
    cells = []
    for measure, _ in heads:
        row = by_measure.get(measure)
        if row is None:
            cells.append(Cell(DASH))
        elif row["left_out"]:
            cells.append(Cell("", row["left_out"]))
        else:
            cells.append(estimate(row["value"], row["low"], row["high"]))
    return cells


def _value(value: float, low: float, high: float, metric: str, *, signed: bool = False) -> Cell:
    """An estimate with its interval; a logarithm of a ratio as the ratio, a change of one as a factor."""
    if metric != RATIO or not math.isfinite(value):
        return estimate(value, low, high, signed=signed)
    texts = [f"{math.exp(number):.2f}" for number in (value, low, high)]
    return Cell(f"{'×' if signed else ''}{texts[0]}", f"({texts[1]}{DASH}{texts[2]})")


def _signed(value: float, metric: str) -> str:
    return _value(value, value, value, metric, signed=True).text


def _over_findings(rows: pd.DataFrame, arm: str) -> str:
    """Say over how many findings each mean is, for each division of the images."""
    own = rows[(rows["arm"] == arm) & rows["in_mean"].astype(bool)]
    counts = own.groupby("by", sort=False)["finding"].nunique()
    texts = [f"{count} over all images" if by == ALL else f"{count} by {by}" for by, count in counts.items()]
    return f"Findings in the mean: {', '.join(texts)}." if texts else ""


def _tested(means: pd.DataFrame) -> str:
    if means["p"].isna().all():
        return "One training of each network supports no test and no claim."
    return "Corrected p: Holm's method over all changes of this metric."

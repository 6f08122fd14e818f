"""The figures and tables of `evaluation.details`, for the report and notebook 04_evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.details import AGREEMENT, GAP_CHANGES, GAPS, SUBGROUPS
from cxr_kd.report import probability_tables, subgroup_tables
from cxr_kd.report.curve_figures import precision_recall_plot, roc_plot
from cxr_kd.report.probability_figures import calibration_plot, decision_curve_plot, distribution_plot
from cxr_kd.report.style import ArmStyle
from cxr_kd.report.subgroup_figures import gap_figure, subgroup_figure
from cxr_kd.report.tables import Table

Frames = Mapping[str, pd.DataFrame]  # file name -> table, as `evaluate_details` returns them
Styles = Mapping[str, ArmStyle]


@dataclass(frozen=True)
class Drawn:
    """A figure with its name (of a file), its caption, and the CSV file that it is drawn from."""

    name: str
    caption: str
    file: str
    figure: Figure


# name -> caption, file, function
_CURVES: Mapping[str, tuple[str, str, Callable[[pd.DataFrame, Styles], Figure]]] = {
    "roc": ("ROC curves.", "roc-curves.csv", roc_plot),
    "precision-recall": ("Precision-recall curves.", "precision-recall-curves.csv", precision_recall_plot),
    "calibration-raw": (
        "Calibration of the raw scores: how often a finding is there, for each score.",
        "reliability-curves.csv",
        calibration_plot,
    ),
    "calibration-platt": (
        "Calibration after Platt scaling, fitted on validation.",
        "reliability-curves.csv",
        lambda frame, styles: calibration_plot(frame, styles, "platt"),
    ),
    "decision-curves": (
        "Decision curves: net benefit of acting on the network, by the probability from which one acts.",
        "decision-curves.csv",
        decision_curve_plot,
    ),
    "distributions": (
        "Distribution of the raw scores of images with and without each finding.",
        "probability-distributions.csv",
        distribution_plot,
    ),
}


def is_scored(frames: Frames) -> bool:
    """Return whether any finding is evaluated."""
    return bool((frames["operating-points.csv"]["left_out"] == "").any())


def curve_figures(frames: Frames, styles: Styles) -> list[Drawn]:
    """Return the figures of the curves of these arms, with a panel per finding. [] if no finding is evaluated."""
    if not is_scored(frames):
        return []
    return [
        Drawn(name, caption, file, draw(_of(frames[file], styles), styles))
        for name, (caption, file, draw) in _CURVES.items()
    ]


def arm_tables(frames: Frames, style: ArmStyle) -> list[Table]:
    """Return the tables of one arm: operating points, accuracy, calibration, predictive values, net benefit."""
    if not is_scored(frames):
        return []
    points = frames["operating-points.csv"]
    return [
        probability_tables.operating_point_table(points, style),
        probability_tables.raw_half_table(points, style),
        probability_tables.accuracy_table(points, style),
        probability_tables.calibration_table(frames["calibration.csv"], style),
        probability_tables.predictive_value_table(frames["predictive-values.csv"], style),
        probability_tables.net_benefit_table(frames["decision-curves.csv"], style),
    ]


def subgroup_figures(frames: Frames, styles: Styles, data: Mapping[str, Any]) -> list[Drawn]:
    """Return the figures of the groups of patients: AUROC of each group, gaps and their change."""
    about, changes = _about(frames, data), frames[GAP_CHANGES]
    groups = subgroup_figure(_of(frames[SUBGROUPS], styles), styles, about)
    drawn = [Drawn("subgroups", "AUROC in each group of patients.", SUBGROUPS, groups)]
    if ((changes["metric"] == "auroc") & (changes["finding"] == MEAN) & changes["change"].notna()).any():
        caption = "Gaps between groups of patients, before and after distillation."
        drawn.append(Drawn("subgroup-gaps", caption, GAP_CHANGES, gap_figure(frames[GAPS], changes, styles, about)))
    return drawn


def group_tables(frames: Frames, styles: Styles, data: Mapping[str, Any]) -> list[Table]:
    """Return the tables of the groups of patients: AUROC, sensitivity and calibration of each, changes of gaps."""
    about = _about(frames, data)
    tables = [
        subgroup_tables.subgroup_table(frames[SUBGROUPS], styles, about, metric)
        for metric in ("auroc", "sensitivity", "specificity", "log_calibration")
    ]
    means = frames[GAP_CHANGES][frames[GAP_CHANGES]["finding"] == MEAN]
    return tables + [
        subgroup_tables.gap_change_table(frames[GAP_CHANGES], styles, about, metric)
        for metric in ("auroc", "sensitivity")
        if (means["metric"] == metric).any()
    ]


def agreement_tables(frames: Frames, styles: Styles, data: Mapping[str, Any]) -> list[Table]:
    """Return one table per student: how often it decides otherwise than its teacher, by finding."""
    frame = frames[AGREEMENT]
    students = [arm for arm in styles if arm in set(frame["student"])]
    about = subgroup_tables.data_line(data, frame) if students else ""
    return [subgroup_tables.agreement_table(frame, styles, student, about) for student in students]


def _about(frames: Frames, data: Mapping[str, Any]) -> str:
    return subgroup_tables.data_line(data, frames[SUBGROUPS])


def _of(frame: pd.DataFrame, arms: Sequence[str] | Styles) -> pd.DataFrame:
    return frame[frame["arm"].isin(list(arms))]

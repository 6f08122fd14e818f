"""The figures of results: learning curves, AUROC with intervals, the effect of distillation, cost.

Each takes data frames and the styles of the study's arms (`style.arm_styles(study)`) and returns a matplotlib Figure.
`evaluations` and `comparisons` are the frames of `cxr_kd.evaluation.study_results`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.resampling import ALPHA
from cxr_kd.report.style import (
    INK,
    METRIC_NAMES,
    MUTED,
    RULE,
    ArmStyle,
    StudyFigure,
    finding_name,
    letter_panels,
    styled,
)

Styles = Mapping[str, ArmStyle]


@styled
def learning_curves(histories: Mapping[str, Sequence[pd.DataFrame]], styles: Styles, *, narrow: bool = False) -> Figure:
    """Draw training loss and validation AUROC against the epoch; `histories`: arm -> history.csv of each seed."""
    figure = StudyFigure(figsize=_size(6.4 if narrow else 3.2, narrow), layout="constrained")
    loss, score = figure.subplots(*((2, 1) if narrow else (1, 2)))
    for arm, style in styles.items():
        for history in histories.get(arm, ()):
            for axes, column in ((loss, "loss"), (score, "validation_auroc")):
                many = len(history) > 25
                axes.plot(history["epoch"], history[column], color=style.colour, linewidth=1.6,
                          marker="" if many else style.marker, markersize=4, clip_on=False)  # fmt: skip
    loss.set(title="Training loss", ylabel="loss (objectives differ between networks)")
    score.set(title="Validation", ylabel="mean AUROC over findings")
    for axes in (loss, score):
        axes.set_xlabel("epoch")
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    letter_panels((loss, score))
    legend(figure, [style for arm, style in styles.items() if arm in histories], columns=1 if narrow else 3)
    return figure


@styled
def forest(evaluations: pd.DataFrame, styles: Styles, metric: str = "auroc", *, narrow: bool = False) -> Figure:
    """Draw the metric of each finding, and the mean, for every arm with 95 % intervals; name the findings left out."""
    shown = [style for arm, style in styles.items() if arm in set(evaluations["arm"])]
    findings = [MEAN, *(f for f in evaluations["finding"].unique() if f != MEAN)]
    height = 0.2 + 0.085 * len(shown)  # inches per finding
    size = _size(1.3 + height * len(findings), narrow)
    figure = StudyFigure(figsize=size, layout="constrained")
    axes = figure.subplots()
    rows = {arm: part.set_index("finding").loc[findings] for arm, part in evaluations.groupby("arm")}
    spread = np.linspace(-0.32, 0.32, len(shown)) if len(shown) > 1 else [0.0]
    for offset, style in zip(spread, shown, strict=True):
        part = rows[style.arm]
        _intervals(
            axes, part[metric], part[f"{metric}_low"], part[f"{metric}_high"], np.arange(len(findings)) + offset, style
        )
    if metric == "auroc":
        axes.axvline(0.5, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate("chance", (0.5, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center", color=MUTED,
                      fontsize=8.5)  # fmt: skip
    _finding_rows(axes, findings, rows[shown[0].arm])
    side = evaluations["side"].iloc[0]
    axes.set_xlabel(
        f"{METRIC_NAMES[metric]} on the {side} side,{_gap(narrow)}95 % interval over {_covered(evaluations)}"
    )
    legend(figure, shown, columns=1 if narrow else 3)
    return figure


@styled
def mean_auroc(evaluations: pd.DataFrame, styles: Styles, *, narrow: bool = False) -> Figure:
    """Draw the mean AUROC over findings of each arm with its 95 % interval; a tick below it for each training."""
    rows = evaluations[evaluations["finding"] == MEAN].set_index("arm")
    shown = [style for arm, style in styles.items() if arm in rows.index]
    figure = StudyFigure(figsize=_size(0.75 + 0.42 * len(shown), narrow), layout="constrained")
    axes = figure.subplots()
    for position, style in enumerate(shown):
        row = rows.loc[style.arm]
        _intervals(axes, row["auroc"], row["auroc_low"], row["auroc_high"], position, style, size=7, width=2.2)
        trainings = row[rows.columns.str.startswith("auroc_seed")].dropna()
        if len(trainings) > 1:
            axes.plot(trainings, [position + 0.28] * len(trainings), "|", color=style.colour, markersize=7)
        text = f"{row['auroc']:.3f}" if np.isfinite(row["auroc"]) else "not scored"
        axes.annotate(text, (1, position), (8, 0), ("axes fraction", "data"), "offset points", va="center",
                      fontweight="bold", annotation_clip=False)  # fmt: skip
    axes.set_yticks(range(len(shown)), [style.label for style in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    side = evaluations["side"].iloc[0]
    over = _covered(evaluations)
    axes.set_xlabel(f"mean AUROC over findings on the {side} side,{_gap(narrow)}95 % interval over {over}")
    return figure


@styled
def paired_differences(
    comparisons: pd.DataFrame, styles: Styles, metric: str = "auroc", *, narrow: bool = False
) -> Figure:
    """Draw distilled minus alone for each finding and the mean, with one panel per distilled student.

    A marker is filled if the difference is shown (for another metric than AUROC too: by its corrected p). ValueError
    without any comparison.
    """
    pairs = [(str(second), frame) for second, frame in comparisons.groupby("second", sort=False)]
    if not pairs:
        raise ValueError("no comparison to draw: the study trains no student both alone and distilled")
    findings = [MEAN, *(f for f in comparisons["finding"].unique() if f != MEAN)]
    rows_of_panels = len(pairs) if narrow else 1
    size = _size(1.2 + rows_of_panels * (0.27 * len(findings) + 0.5 * narrow), narrow)
    figure = StudyFigure(figsize=size, layout="constrained")
    grid = figure.subplots(rows_of_panels, len(pairs) // rows_of_panels, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    for axes, (second, frame) in zip(panels, pairs, strict=True):
        rows, style = frame.set_index("finding").loc[findings], styles[second]
        estimate, low, high = (rows[f"{metric}_{part}"] for part in ("difference", "low", "high"))
        shown = (rows[f"{metric}_p_holm"] < ALPHA).to_numpy()
        for mask, filled in ((shown, True), (~shown, False)):
            _intervals(axes, estimate[mask], low[mask], high[mask], np.flatnonzero(mask), style, filled=filled)
        axes.axvline(0, color=INK, linewidth=0.9)
        axes.set_title(textwrap.fill(style.label, 33 if narrow else 66 // len(pairs), break_on_hyphens=False))
        _finding_rows(axes, findings, rows)
    if len(pairs) > 1:
        letter_panels(panels)
    figure.supxlabel(
        f"difference of {METRIC_NAMES[metric]}, distilled minus alone,{_gap(narrow)}"
        "95 % interval of the paired difference",
        fontsize=9.5,
    )
    return figure


def _intervals(
    axes: Axes,
    value: Any,
    low: Any,
    high: Any,
    position: Any,
    style: ArmStyle,
    *,
    size: float = 5,
    width: float = 1.5,
    filled: bool = True,
) -> None:
    """Draw a marker at `value` in the rows `position`, with a line from low to high; NaN draws nothing."""
    axes.hlines(position, low, high, color=style.colour, linewidth=width)
    axes.plot(np.atleast_1d(value), np.atleast_1d(position), style.marker, color=style.colour, markersize=size,
              markerfacecolor=style.colour if filled else "white", linestyle="none")  # fmt: skip


def _finding_rows(axes: Axes, findings: Sequence[str], counts: pd.DataFrame) -> None:
    """Label one row per finding with its positives, the mean first; write the reason if a finding is left out."""
    labels = ["Mean over findings"]
    for position, (finding, row) in enumerate(counts.loc[list(findings[1:])].iterrows(), start=1):
        labels.append(f"{finding_name(str(finding))}  (n = {int(row['positives']):,})")
        if row["left_out"]:
            axes.annotate(f"left out: {row['left_out']}", (0, position), (6, 0), ("axes fraction", "data"),
                          "offset points", va="center", color=MUTED, fontsize=8.5,
                          bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip
    axes.set_yticks(range(len(findings)), labels)
    for label in axes.get_yticklabels()[:1]:  # right-hand panels of a shared axis have none
        label.set_fontweight("bold")
    axes.axhline(0.5, color=RULE, linewidth=1)
    axes.set_ylim(len(findings) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _size(height: float, narrow: bool) -> tuple[float, float]:
    """Width and height of a figure in inches."""
    return (5.2, height + 0.3) if narrow else (8.6, height)


def _gap(narrow: bool) -> str:
    """What is between the parts of a label: a space, or a new line in a narrow figure."""
    return "\n" if narrow else " "


def _covered(frame: pd.DataFrame) -> str:
    """What the intervals of a frame cover."""
    return str(frame["interval"].iloc[0])


def legend(figure: Figure, shown: Sequence[ArmStyle], columns: int = 3) -> None:
    """Draw the legend, in the study's order of arms, above the axes."""
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, markersize=5.5, linewidth=1.6, label=style.label)
        for style in shown
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(columns, max(1, len(handles))), handlelength=1.8)

"""The figures of subgroups: each network in each group of patients, and gaps before and after distillation.

`evaluations`, `gaps` and `changes` are the frames of `evaluation.subgroup.tables`; `about` says which data they are of
(`subgroup_tables.data_line`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.resampling import ALPHA
from cxr_kd.report.style import INK, MUTED, RULE, ArmStyle, StudyFigure, letter_panels, styled
from cxr_kd.report.subgroup_tables import METRIC_TITLES, RATIO, covered, group_name

Styles = Mapping[str, ArmStyle]
_SPREAD = 0.32  # of a row, to either side of its middle


@styled
def subgroup_figure(evaluations: pd.DataFrame, styles: Styles, about: str, metric: str = "auroc") -> Figure:
    """Draw the mean over findings of each arm in each group of patients, with its interval.

    Each group has its number of images and patients; one that is not compared has the reason instead of a value.
    """
    means = evaluations[(evaluations["finding"] == MEAN) & (evaluations["metric"] == metric)]
    shown = [style for arm, style in styles.items() if arm in set(means["arm"])]
    lines = means[means["arm"] == shown[0].arm].to_dict("records")
    figure = StudyFigure(figsize=(8.6, 1.6 + (0.16 + 0.075 * len(shown)) * len(lines)), layout="constrained")
    axes = figure.subplots()
    for offset, style in zip(_offsets(len(shown)), shown, strict=True):
        own = means[means["arm"] == style.arm]
        _marks(axes, own["value"], own["low"], own["high"], np.arange(len(own)) + offset, style, metric)
    labels = [
        f"{group_name(row['by'], row['group'])}  ({row['images']:,} images, {row['patients']:,} patients)"
        for row in lines
    ]
    _rows(axes, labels, [row["by"] for row in lines])
    for position, row in enumerate(lines):
        if row["left_out"]:
            _reason(axes, position, str(row["left_out"]))
    _level(axes, metric)
    figure.supxlabel(f"{METRIC_TITLES[metric]}, mean over findings, {covered(means)}\n{about}", fontsize=9.5)
    _legend(figure, [(style.label, style) for style in shown])
    return figure


@styled
def gap_figure(gaps: pd.DataFrame, changes: pd.DataFrame, styles: Styles, about: str, metric: str = "auroc") -> Figure:
    """Draw the gap of each group before and after distillation, and the paired change of the gap beside it.

    A gap is the group minus all other compared groups. A mark of a change is filled if its corrected p is below 0.05;
    one seed has no p. ValueError without any change.
    """
    shown = changes[(changes["metric"] == metric) & (changes["finding"] == MEAN)]
    if shown.empty:
        raise ValueError("no change of a gap to draw: no student trained both alone and distilled has two groups")
    groups = list(dict.fromkeys(zip(shown["by"], shown["group"], strict=True)))
    students = list(dict.fromkeys(shown["second"]))
    arms = [arm for arm in styles if arm in {*shown["first"], *students}]
    figure = StudyFigure(figsize=(8.6, 1.6 + (0.18 + 0.085 * len(arms)) * len(groups)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    own = gaps[(gaps["metric"] == metric) & (gaps["finding"] == MEAN)]
    for offset, arm in zip(_offsets(len(arms)), arms, strict=True):
        rows = _in_order(own[own["arm"] == arm], groups)
        _marks(left, rows["gap"], rows["low"], rows["high"], np.arange(len(groups)) + offset, styles[arm], metric)
    for offset, arm in zip(_offsets(len(students)), students, strict=True):
        rows = _in_order(shown[shown["second"] == arm], groups)
        clear = (rows["p_holm"] < ALPHA).to_numpy()
        for mask, filled in ((clear, True), (~clear, False)):
            places = np.flatnonzero(mask) + offset
            part = rows[mask]
            _marks(right, part["change"], part["low"], part["high"], places, styles[arm], metric, filled=filled)
    for axes, title in ((left, "Gap of the group"), (right, "Change of the gap, distilled minus alone")):
        axes.set_title(title)
        axes.axvline(1 if metric == RATIO else 0, color=INK, linewidth=0.9)
        _rows(axes, [group_name(*group) for group in groups], [by for by, _ in groups])
    letter_panels((left, right))
    scale = "factor" if metric == RATIO else "difference"
    figure.supxlabel(
        f"{scale} of {METRIC_TITLES[metric]} from all other groups, {covered(shown)}\n{about}", fontsize=9.5
    )
    _legend(figure, [(styles[arm].label, styles[arm]) for arm in arms])
    return figure


def _in_order(rows: pd.DataFrame, groups: Sequence[tuple[str, str]]) -> pd.DataFrame:
    return rows.set_index(["by", "group"]).reindex(pd.MultiIndex.from_tuples(groups))


def _offsets(count: int) -> np.ndarray:
    """Where the marks of `count` networks are within a row."""
    return np.linspace(-_SPREAD, _SPREAD, count) if count > 1 else np.zeros(1)


def _marks(
    axes: Axes, value: Any, low: Any, high: Any, position: Any, style: ArmStyle, metric: str, *, filled: bool = True
) -> None:
    """Draw estimates with their intervals; the logarithm of a ratio is drawn as the ratio. NaN draws nothing."""
    value, low, high = (np.asarray(each, dtype=float) for each in (value, low, high))
    if metric == RATIO:
        value, low, high = np.exp(value), np.exp(low), np.exp(high)
    axes.hlines(position, low, high, color=style.colour, linewidth=1.5)
    axes.plot(value, position, style.marker, color=style.colour, markersize=5, linestyle="none",
              markerfacecolor=style.colour if filled else "white")  # fmt: skip


def _rows(axes: Axes, labels: Sequence[str], divisions: Sequence[str]) -> None:
    """Label one row per group and draw a line between two divisions of the images."""
    axes.set_yticks(range(len(labels)), list(labels))
    for position in range(1, len(divisions)):
        if divisions[position] != divisions[position - 1]:
            axes.axhline(position - 0.5, color=RULE, linewidth=1)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def _reason(axes: Axes, position: int, reason: str) -> None:
    axes.annotate(reason, (0, position), (6, 0), ("axes fraction", "data"), "offset points", va="center", color=MUTED,
                  fontsize=8.5, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip


def _level(axes: Axes, metric: str) -> None:
    """Draw what to compare with: chance for the AUROC, 1 for expected over observed."""
    levels = {"auroc": (0.5, "chance"), RATIO: (1.0, "as many as observed")}
    if metric in levels:
        value, text = levels[metric]
        axes.axvline(value, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(text, (value, 1), (0, 2), ("data", "axes fraction"), "offset points", ha="center", color=MUTED,
                      fontsize=8.5)  # fmt: skip


def _legend(figure: Figure, shown: Sequence[tuple[str, ArmStyle]]) -> None:
    """Draw the legend above the axes, in the study's order of arms."""
    handles = [
        Line2D([], [], color=style.colour, marker=style.marker, markersize=5.5, linewidth=1.6, label=label)
        for label, style in shown
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=min(3, max(1, len(handles))), handlelength=1.8)

"""The figure of the ablation: the difference of each arm from the reference, by question."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.report.ablation import Variant
from cxr_kd.report.style import INK, MUTED, StudyFigure, name_rows, styled


@styled
def ablation_figure(comparisons: pd.DataFrame, variants: Mapping[str, Variant], seeds: tuple[int, ...]) -> Figure:
    """Draw the mean AUROC of each arm minus that of the reference, with its 95 % interval and one tick per seed.

    A filled marker is a difference that counts as shown.
    """
    means = comparisons[comparisons["finding"] == MEAN]
    lines: list[tuple[str, dict | None]] = []
    for question, rows in means.groupby("question", sort=False):
        lines += [(str(question), None), *((variants[row["arm"]].changes, row) for row in rows.to_dict("records"))]
    figure = StudyFigure(figsize=(8.6, 0.9 + 0.26 * len(lines)), layout="constrained")
    axes = figure.subplots()
    name_rows(axes, lines)
    for position, (_, row) in enumerate(lines):
        if row is None:
            continue
        style = variants[row["arm"]].style
        axes.plot([row[f"auroc_seed{seed}"] for seed in seeds], [position + 0.26] * len(seeds), "|", color=MUTED,
                  markersize=6, markeredgewidth=1.1)  # fmt: skip
        axes.hlines(position, row["auroc_low"], row["auroc_high"], color=style.colour, linewidth=1.8)
        axes.plot(row["auroc_difference"], position, style.marker, color=style.colour, markersize=6,
                  markerfacecolor=style.colour if row["shown"] else "white")  # fmt: skip
    axes.axvline(0, color=INK, linewidth=0.9)
    axes.set_xlabel("mean AUROC, arm minus reference (95 % interval over patients and trainings; one tick per seed)")
    return figure

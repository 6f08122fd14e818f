"""ROC and precision-recall curves of every finding, with bootstrap bands.

Each figure takes a table of `evaluation.probabilities` with the column `arm`, which is also the CSV file behind it.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from cxr_kd.report.finding_panels import Panels, Styles, dashed
from cxr_kd.report.style import MUTED, styled


@styled
def roc_plot(curves: pd.DataFrame, styles: Styles) -> Figure:
    """Draw the sensitivity against the false positive rate, one panel per finding; `curves`: `roc_curves`."""
    panels = _bands(curves, styles, "false_positive_rate", "sensitivity")
    for axes in panels.axes.values():
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
    return panels.finish("false positive rate (1 - specificity)", "sensitivity", "", dashed("chance"))


@styled
def precision_recall_plot(curves: pd.DataFrame, styles: Styles) -> Figure:
    """Draw the precision against the recall, one panel per finding; `curves`: `precision_recall_curves`."""
    panels = _bands(curves, styles, "recall", "precision")
    for finding, axes in panels.axes.items():
        rows = panels.frame[panels.frame["finding"] == finding]
        axes.axhline(rows["prevalence"].iloc[0], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        beyond = rows.loc[rows["recall"] >= 0.05, "precision_high"].max()  # at smaller recalls, a few images decide
        axes.set(xlim=(0, 1), ylim=(0, min(1.0, 1.15 * beyond)))
    note = "The vertical axes differ. They are cut where a recall below 5 % has a larger precision."
    return panels.finish("recall (sensitivity)", "precision (PPV)", note, dashed("chance: the prevalence"))


def _bands(curves: pd.DataFrame, styles: Styles, x: str, y: str) -> Panels:
    """Draw the curve and the band of every finding and arm."""
    panels = Panels(curves, styles)
    for axes, style, rows in panels:
        axes.fill_between(rows[x], rows[f"{y}_low"], rows[f"{y}_high"], color=style.colour, alpha=0.15, linewidth=0)
        axes.plot(rows[x], rows[y], color=style.colour, linewidth=1.4)
    return panels

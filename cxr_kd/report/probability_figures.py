"""The figures of probabilities: calibration plots, decision curves, and distributions by label.

Each takes a table of `evaluation.probabilities` with the column `arm`, which is also the CSV file behind the figure,
and the styles of the arms.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import logit

from cxr_kd.report.finding_panels import VALUES, Panels, Styles, dashed, only
from cxr_kd.report.style import INK, MUTED, styled

TICKS = (0.0001, 0.01, 0.1, 0.5, 0.9)  # of the axis of logits, labelled as probabilities


@styled
def calibration_plot(curves: pd.DataFrame, styles: Styles, probabilities: str = "raw") -> Figure:
    """Draw the observed share of positives against the predicted one, smooth and in bins, one panel per finding.

    `curves`: `reliability_curves`. `probabilities`: the method to draw. ReportError if the table does not have it.
    """
    panels = Panels(only(curves, "probabilities", probabilities), styles)
    for axes, style, rows in panels:
        smooth, bins = rows[rows["curve"] == "smooth"], rows[rows["curve"] == "bins"]
        axes.fill_between(smooth["predicted"], smooth["observed_low"], smooth["observed_high"], color=style.colour,
                          alpha=0.15, linewidth=0)  # fmt: skip
        axes.plot(smooth["predicted"], smooth["observed"], color=style.colour, linewidth=1.4)
        axes.vlines(bins["predicted"], bins["observed_low"], bins["observed_high"], color=style.colour, linewidth=0.8)
        axes.plot(bins["predicted"], bins["observed"], style.marker, color=style.colour, markersize=3)
    for finding, axes in panels.axes.items():
        rows = panels.frame[(panels.frame["finding"] == finding) & (panels.frame["curve"] == "bins")]
        top = min(1.0, 1.1 * float(np.nanmax(rows[["predicted", "observed_high"]].to_numpy())))
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set(xlim=(0, top), ylim=(0, top))
    note = "Line: smoothed; points: bins of equal image counts. Below the diagonal, scores are too high."
    return panels.finish(VALUES[probabilities], "observed share of positives", note, dashed("perfect calibration"))


@styled
def decision_curve_plot(curves: pd.DataFrame, styles: Styles, probabilities: str = "platt") -> Figure:
    """Draw the net benefit against the threshold, with treating all and treating none, one panel per finding.

    `curves`: `decision_curves`. The thresholds shown go to four times the prevalence, at least to 10 %. ReportError if
    the table does not have the method `probabilities`.
    """
    panels = Panels(only(curves, "probabilities", probabilities), styles)
    for axes, style, rows in panels:
        prevalence = float(rows["prevalence"].iloc[0])
        rows = rows[rows["threshold"] <= min(1, max(0.1, 4 * prevalence))]
        axes.fill_between(rows["threshold"], rows["net_benefit_low"], rows["net_benefit_high"], color=style.colour,
                          alpha=0.15, linewidth=0)  # fmt: skip
        axes.plot(rows["threshold"], rows["net_benefit"], color=style.colour, linewidth=1.4)
        axes.plot(rows["threshold"], rows["net_benefit_all"], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_ylim(-0.3 * prevalence, 1.1 * prevalence)
    none = Line2D([], [], color=INK, linewidth=0.8, label="call no image positive")
    note = "Useful where a curve is above both lines."
    return panels.finish(f"threshold: {VALUES[probabilities]}", "net benefit (true positives per image)", note,
                         dashed("call every image positive"), none)  # fmt: skip


@styled
def distribution_plot(distributions: pd.DataFrame, styles: Styles, probabilities: str = "raw") -> Figure:
    """Draw the distribution of the probabilities of positives (solid) and of negatives (dashed), one panel per finding.

    `distributions`: `probability_distributions`. ReportError if the table does not have the method `probabilities`.
    """
    panels = Panels(only(distributions, "probabilities", probabilities), styles)
    for axes, style, rows in panels:
        for label, line in (("positive", "-"), ("negative", (0, (3, 2)))):
            part = rows[rows["label"] == label]
            edges = logit(np.concatenate([part["from_probability"], part["to_probability"].iloc[-1:]]))
            centres = (edges[1:] + edges[:-1]) / 2
            axes.fill_between(centres, 100 * part["share_low"], 100 * part["share_high"], color=style.colour,
                              alpha=0.15, linewidth=0)  # fmt: skip
            axes.plot(centres, 100 * part["share"], color=style.colour, linewidth=1.3, linestyle=line)
        axes.axvline(0, color=MUTED, linewidth=0.7)
        axes.set_xticks(logit(np.array(TICKS)), [f"{tick:g}" for tick in TICKS])
        axes.set_xlim(-10, 4)
        axes.set_ylim(bottom=0)
    solid = Line2D([], [], color=INK, linewidth=1.3, label="positives")
    note = "Each curve sums to 100 %. The vertical line is at 0.5."
    return panels.finish(f"{VALUES[probabilities]}, on an axis of logits", "images with this label (%)", note, solid,
                         dashed("negatives", INK))  # fmt: skip

"""The figure of where networks look: pointing game and evidence inside, beside two controls."""

from __future__ import annotations

from matplotlib.figure import Figure

from cxr_kd.explanation.measures import MEAN_PLACE, RANDOM
from cxr_kd.report.map_check_tables import Frames, Styles, bounds
from cxr_kd.report.map_views import MEASURES, overall
from cxr_kd.report.style import INK, MUTED, StudyFigure, styled

LINES = {RANDOM: "random map", MEAN_PLACE: "mean place"}  # controls that are drawn as lines


@styled
def where_figure(frames: Frames, styles: Styles) -> Figure:
    """Draw pointing game and evidence inside of each network with intervals; the controls are dashed lines."""
    shown = [style for arm, style in styles.items() if arm in overall(frames, "pointing")]
    figure = StudyFigure(figsize=(8.6, 1.5 + 0.42 * len(shown)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, measure in zip(panels, ("pointing", "inside"), strict=True):
        rows = overall(frames, measure)
        for position, style in enumerate(shown):
            value, low, high = bounds(rows[style.arm])
            axes.hlines(position, low, high, color=style.colour, linewidth=2.2)
            axes.plot(value, position, style.marker, color=style.colour, markersize=7)
        for line, (name, text) in enumerate(LINES.items()):
            if name in rows:
                at = rows[name]["estimate"]
                axes.axvline(at, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
                axes.annotate(text, (at, 1), (0, 2 + 10 * line), ("data", "axes fraction"), "offset points",
                              ha="center", color=MUTED, fontsize=8.5)  # fmt: skip
        axes.set_xlim(left=0)
        axes.set_xlabel(f"{MEASURES[measure].lower()} (0 to 1)")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
    panels[0].set_yticks(range(len(shown)), [style.label for style in shown], color=INK)
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    return figure

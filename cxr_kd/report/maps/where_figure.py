"""The figure of where networks look: pointing game, its part that is due to the image, and evidence inside."""

from __future__ import annotations

from matplotlib.figure import Figure

from cxr_kd.explanation.measures import MEAN_PLACE, RANDOM
from cxr_kd.report.maps.check_tables import Frames, Styles, bounds
from cxr_kd.report.maps.views import overall
from cxr_kd.report.style import INK, MUTED, StudyFigure, letter_panels, styled

PANELS = {
    "pointing": "pointing game (0 to 1)",
    "specific": "pointing game, beyond\nother patients' maps",
    "inside": "evidence inside (0 to 1)",
}
LINES = {RANDOM: "random map", MEAN_PLACE: "mean place"}  # controls that are drawn as lines


@styled
def where_figure(frames: Frames, styles: Styles, *, narrow: bool = False) -> Figure:
    """Draw three measures of each network with intervals; the controls are dashed lines.

    The panels are side by side, or one below the other if the figure is for a narrow screen.
    """
    shown = [style for arm, style in styles.items() if arm in overall(frames, "pointing")]
    height, count = 1.5 + 0.42 * len(shown), len(PANELS)
    figure = StudyFigure(figsize=(5.2, count * height) if narrow else (9.6, height), layout="constrained")
    panels = figure.subplots(*((count, 1) if narrow else (1, count)), sharey=True)
    for axes, (measure, label) in zip(panels, PANELS.items(), strict=True):
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
        axes.set_xlim(left=min(0, axes.get_xlim()[0]) if measure == "specific" else 0)
        axes.set_xlabel(label)
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_yticks(range(len(shown)), [style.label for style in shown], color=INK)
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    letter_panels(panels, pad=24)  # above the names of the controls
    return figure

"""The explanation figure: maps of the teacher, the student alone and the distilled student, on one colour scale.

The value of a map cell is, to first order, what would be added to the logit if the whole image looked like that cell.
Maps of different networks therefore have the same unit, and are drawn on one scale. A map is never stretched to its own
maximum: if a network has no evidence, its panel shows the bare radiograph and says so.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from cxr_kd.explanation.examples import Example
from cxr_kd.report.maps.overlays import colour_bar, draw_map, draw_place, radiograph, scale_top
from cxr_kd.report.style import ArmStyle, StudyFigure, finding_name, styled

ROOMY = 1.45  # inches; text over narrower columns is small
LARGE, SMALL = 8.0, 6.6  # points


@styled
def explanation(rows: Sequence[Example], styles: Mapping[str, ArmStyle]) -> Figure:
    """Draw one row per image and finding; columns: radiograph, outlined truth, and the map of each arm in `rows`."""
    shown = [style for arm, style in styles.items() if any(arm in row.maps for row in rows)]
    top = scale_top([each for row in rows for each in row.maps.values()])
    columns, side = 2 + len(shown), 9.2 / (2 + len(shown))
    size = LARGE if side >= ROOMY else SMALL
    names = [_wrapped(style.label, side, size) for style in shown]
    lines = 1 + max((name.count("\n") for name in names), default=0)
    above = 0.06 + 0.13 * lines  # inches for the names of the columns, above the first row
    height = (side + 0.28) * len(rows) + 0.58 + above
    tight = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.01, rect=(0, 0, 1, 1 - above / height))
    figure = StudyFigure(figsize=(9.2, height), layout=tight)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for row, axes in zip(rows, grid, strict=True):
        radiograph(axes[0], row.image, finding_name(row.finding), size)
        outlined = "outlined" if row.place is not None else "not outlined"
        radiograph(axes[1], row.image, f"{presence(row.label)}, {outlined}", size)
        draw_place(axes[1], row.image, row.place)
        for panel, style in zip(axes[2:], shown, strict=True):
            _map(panel, row, style, top, size)
    for axes, name in zip(grid[0, 2:], names, strict=True):
        text = axes.annotate(name, (0, 1), (0, 17), "axes fraction", "offset points", fontsize=size, fontweight="bold")
        text.set_in_layout(False)  # a long name must not move its column
    colour_bar(figure, grid, top, fraction=0.025, aspect=50)
    return figure


def _wrapped(name: str, side: float, size: float) -> str:
    """Return the name of a column of `side` inches in as many lines as it needs, without breaking its words."""
    return textwrap.fill(name, max(8, int(side / (0.0105 * size))), break_long_words=False, break_on_hyphens=False)


def _map(axes: Axes, row: Example, style: ArmStyle, top: float, size: float) -> None:
    """Draw the radiograph, the map over it, the outlined truth, logit, probability, and a frame in the arm's colour."""
    if style.arm not in row.maps:
        axes.set_axis_off()
        return
    logit = row.logits[style.arm]
    title = f"logit {logit:+.2f}, p = {1 / (1 + np.exp(-logit)):.2f}".replace("-", "\N{MINUS SIGN}")
    radiograph(axes, row.image, title, size)
    draw_map(axes, row.maps[style.arm], row.image.shape, top, size)
    draw_place(axes, row.image, row.place, 0.9)
    axes.spines[:].set(visible=True, color=style.colour, linewidth=1.6)


def presence(label: float) -> str:
    """Return a label (1, 0 or NaN) as a word."""
    return "unknown" if np.isnan(label) else "present" if label == 1 else "absent"

"""The explanation figure: maps of the teacher, the student alone and the distilled student, on one colour scale.

The value of a map cell is, to first order, what would be added to the logit if the whole image looked like that cell.
Maps of different networks therefore have the same unit, and are drawn on one scale. A map is never stretched to its own
maximum: if a network has no evidence, its panel shows the bare radiograph and says so.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from cxr_kd.explanation.examples import Example
from cxr_kd.report.data_figures import Picture, outline
from cxr_kd.report.style import INK, MUTED, ArmStyle, StudyFigure, finding_name, styled

TRUTH = "#56b4e9"
ROOMY = 1.45  # inches; text over narrower columns is small
LARGE, SMALL = 8.0, 6.6  # points
NO_EVIDENCE = 0.02  # fraction of the scale; less is invisible


@styled
def explanation(rows: Sequence[Example], styles: Mapping[str, ArmStyle]) -> Figure:
    """Draw one row per image and finding; columns: radiograph, outlined truth, and the map of each arm in `rows`."""
    shown = [style for arm, style in styles.items() if any(arm in row.maps for row in rows)]
    top = max((float(m.max()) for row in rows for m in row.maps.values() if m.size), default=0.0) or 1.0
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
        _radiograph(axes[0], row, finding_name(row.finding), size)
        outlined = "outlined" if row.place is not None else "not outlined"
        _radiograph(axes[1], row, f"{_presence(row.label)}, {outlined}", size)
        _truth(axes[1], row)
        for panel, style in zip(axes[2:], shown, strict=True):
            _map(panel, row, style, top, size)
    for axes, name in zip(grid[0, 2:], names, strict=True):
        text = axes.annotate(name, (0, 1), (0, 17), "axes fraction", "offset points", fontsize=size, fontweight="bold")
        text.set_in_layout(False)  # a long name must not move its column
    drawn = ScalarMappable(Normalize(0, top), _colours())
    bar = figure.colorbar(drawn, ax=grid, location="bottom", fraction=0.025, pad=0.01, aspect=50)
    bar.ax.set_facecolor("#8a8a8a")  # as a radiograph looks under the transparent end of the scale
    bar.set_label("evidence for the finding (logits; 0: none), one scale for all maps")
    return figure


def _wrapped(name: str, side: float, size: float) -> str:
    """Return the name of a column of `side` inches in as many lines as it needs, without breaking its words."""
    return textwrap.fill(name, max(8, int(side / (0.0105 * size))), break_long_words=False, break_on_hyphens=False)


def _radiograph(axes: Axes, row: Example, title: str, size: float) -> None:
    axes.imshow(row.image, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=size, fontweight="normal", color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _truth(axes: Axes, row: Example, width: float = 1.4) -> None:
    """Outline the true place of the finding, if it is known."""
    if isinstance(row.place, np.ndarray):
        outline(axes, Picture(row.image, masks={row.finding: row.place}), {row.finding: TRUTH}, width)
    elif row.place is not None:
        outline(axes, Picture(row.image, boxes={row.finding: row.place}), {row.finding: TRUTH}, width)


def _map(axes: Axes, row: Example, style: ArmStyle, top: float, size: float) -> None:
    """Draw the radiograph, the map over it, the outlined truth, logit, probability, and a frame in the arm's colour."""
    if style.arm not in row.maps:
        axes.set_axis_off()
        return
    logit = row.logits[style.arm]
    title = f"logit {logit:+.2f}, p = {1 / (1 + np.exp(-logit)):.2f}".replace("-", "\N{MINUS SIGN}")
    _radiograph(axes, row, title, size)
    values = row.maps[style.arm]
    height, across = row.image.shape
    axes.imshow(values, cmap=_colours(), vmin=0, vmax=top, interpolation="bilinear",
                extent=(-0.5, across - 0.5, height - 0.5, -0.5))  # fmt: skip
    _truth(axes, row, 0.9)
    if values.max() < NO_EVIDENCE * top:
        axes.text(0.5, 0.04, "no evidence", transform=axes.transAxes, ha="center", color="white", fontsize=size,
                  bbox={"facecolor": MUTED, "edgecolor": "none", "pad": 2})  # fmt: skip
    axes.spines[:].set(visible=True, color=style.colour, linewidth=1.6)


def _colours() -> ListedColormap:
    """Return a scale from yellow to dark red that is transparent at zero, so that the radiograph stays visible."""
    colours = colormaps["YlOrRd"](np.linspace(0.05, 1, 256))
    colours[:, 3] = 0.85 * np.linspace(0, 1, 256) ** 0.6
    return ListedColormap(colours, name="evidence")


def _presence(label: float) -> str:
    return "unknown" if np.isnan(label) else "present" if label == 1 else "absent"

"""Maps over a radiograph: the colour scale that all figures of maps share, and the figure of one image."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from cxr_kd.report.data_figures import Picture, outline
from cxr_kd.report.style import INK, MUTED, StudyFigure, styled

TRUTH = "#56b4e9"
NO_EVIDENCE = 0.02  # fraction of the scale; less is invisible
SCALE = "evidence for the finding (logits; 0: none), one scale for all maps"
SIDE, CHARACTERS = 2.9, 38  # inches of a panel, and letters that fit above it


@dataclass(frozen=True, eq=False)
class Overlay:
    """A panel: a title, the map (h, w) that is drawn over the radiograph (None: none), and the outlined true place."""

    title: str
    map: np.ndarray | None = None
    place: np.ndarray | None = None


@styled
def overlay_figure(image: np.ndarray, panels: Sequence[Overlay], title: str = "", note: str = "") -> Figure:
    """Draw a radiograph (S, S) uint8 once per panel, each with its map, and the one colour scale of all maps below.

    Maps are signed evidence or its positive part, in logits: what is not positive is not drawn. No map is stretched to
    its own maximum. `note` stands at the foot of the figure.
    """
    top = scale_top([panel.map for panel in panels if panel.map is not None])
    note = textwrap.fill(note, int(CHARACTERS * 1.15 * len(panels)))
    title = textwrap.fill(title, int(CHARACTERS * 0.95 * len(panels)))
    foot = 0.15 * (note.count("\n") + 1) + 0.1 if note else 0.0
    height = SIDE + 0.85 + foot + 0.2 * (title.count("\n") + 1)
    above_note = ConstrainedLayoutEngine(rect=(0, foot / height, 1, 1 - foot / height))
    figure = StudyFigure(figsize=(SIDE * len(panels), height), layout=above_note)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for each, panel in zip(axes, panels, strict=True):
        radiograph(each, image, panel.title)
        if panel.map is not None:
            draw_map(each, panel.map, image.shape, top)
        draw_place(each, image, panel.place)
    if any(panel.map is not None for panel in panels):
        colour_bar(figure, axes, top)
    figure.suptitle(title, fontsize=10)
    figure.text(0.5, 0.06 / height, note, ha="center", va="bottom", fontsize=7.5, color=MUTED)
    return figure


def scale_top(maps: Sequence[np.ndarray]) -> float:
    """Return the end of the maps' common colour scale: their 98th percentile above 0; 1 if none has any evidence.

    A few cells can have many times the evidence of all others. If the scale ended there, everything else would be pale.
    """
    positive = np.concatenate([np.empty(0), *(each[each > 0].ravel() for each in maps)])
    return float(np.percentile(positive, 98)) if positive.size else 1.0


def radiograph(axes: Axes, image: np.ndarray, title: str, size: float = 8.0) -> None:
    """Draw a radiograph, 8-bit grey, with its title of `size` points."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    axes.set_title(title, fontsize=size, fontweight="normal", color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def draw_map(axes: Axes, values: np.ndarray, shape: tuple[int, ...], top: float, size: float = 8.0) -> None:
    """Draw a map (h, w) over an image of `shape`, on the scale from 0 to `top`; say so if it has no evidence."""
    height, across = shape
    axes.imshow(values, cmap=evidence_colours(), vmin=0, vmax=top, interpolation="bilinear",
                extent=(-0.5, across - 0.5, height - 0.5, -0.5))  # fmt: skip
    if values.max() < NO_EVIDENCE * top:
        axes.text(0.5, 0.04, "no evidence", transform=axes.transAxes, ha="center", color="white", fontsize=size,
                  bbox={"facecolor": MUTED, "edgecolor": "none", "pad": 2})  # fmt: skip


def draw_place(axes: Axes, image: np.ndarray, place: np.ndarray | None, width: float = 1.4) -> None:
    """Outline the true place of a finding, bool (S, S); None if it is not known."""
    if place is not None:
        outline(axes, Picture(image, masks={"": place}), {"": TRUTH}, width)


def colour_bar(figure: Figure, axes: np.ndarray, top: float, fraction: float = 0.045, aspect: float = 45) -> Colorbar:
    """Draw the colour scale from 0 to `top` below these axes."""
    drawn = ScalarMappable(Normalize(0, top), evidence_colours())
    bar = figure.colorbar(
        drawn, ax=axes, location="bottom", fraction=fraction, pad=0.01, aspect=aspect, extend="max", extendfrac=0.02
    )
    bar.ax.set_facecolor("#8a8a8a")  # as a radiograph looks under the transparent end of the scale
    bar.set_label(SCALE)
    return bar


def evidence_colours() -> ListedColormap:
    """Return a scale from yellow to dark red that is transparent at zero, so that the radiograph stays visible."""
    colours = colormaps["YlOrRd"](np.linspace(0.05, 1, 256))
    colours[:, 3] = 0.85 * np.linspace(0, 1, 256) ** 0.6
    return ListedColormap(colours, name="evidence")

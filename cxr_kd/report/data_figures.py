"""The figures of the data: prevalence, co-occurrence of findings, patients, and the radiographs themselves."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from cxr_kd.report.style import MUTED, RULE, StudyFigure, finding_name, letter_panels, styled

SIDE_COLOURS = {
    "train": "#274060",
    "validation": "#6f9bc4",
    "test": "#b9cde0",
}  # one hue, because the other colours mean networks
OUTLINES = ("#56b4e9", "#e69f00", "#f0e442", "#cc79a7", "#009e73", "#d55e00")
VIEW_COLOUR = "#274060"
LONGEST_TITLE = 24  # characters above one of five pictures in a row


@dataclass(frozen=True, eq=False)
class Picture:
    """One radiograph of a contact sheet: image (H, W) uint8, boxes as fractions of the image, masks (h, w) bool."""

    image: np.ndarray
    title: str = ""
    boxes: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)  # x, y, width, height
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)


@styled
def prevalence(data: Mapping[str, Any]) -> Figure:
    """Draw the share of positive images per finding and side of the split, with the number of positives.

    `data`: the data card. The share is of the images whose label is known.
    """
    positives, sides = data["positives"], data["split"]["sides"]
    findings = sorted(data["findings"], key=lambda f: -sum(positives[side][f] for side in sides))
    figure = StudyFigure(figsize=(8.6, 0.9 + 0.42 * len(findings)), layout="constrained")
    axes = figure.subplots()
    thickness = 0.8 / len(sides)
    for i, (side, counts) in enumerate(sides.items()):
        share = [100 * (data["prevalence"][side][f] or 0) for f in findings]
        rows = np.arange(len(findings)) + (i - (len(sides) - 1) / 2) * thickness
        label = f"{side} ({counts['images']:,} images)"
        bars = axes.barh(rows, share, thickness * 0.92, color=SIDE_COLOURS.get(side, MUTED), label=label)
        axes.bar_label(bars, [f"{positives[side][f]:,}" for f in findings], padding=3, fontsize=7.5, color=MUTED)
    axes.set_yticks(range(len(findings)), [finding_name(f) for f in findings])
    axes.invert_yaxis()
    axes.set_xlabel("positive images (% of images with a known label; number: positive images)")
    axes.grid(axis="x")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper left", ncols=len(sides))
    return figure


@styled
def cooccurrence(labels: np.ndarray, findings: Sequence[str]) -> Figure:
    """Draw how many images with the row's finding have the column's too (%); labels (N, L), NaN: unknown."""
    from seaborn import heatmap  # loads scipy.stats: a second that the report's other figures need not spend

    positive = (labels == 1).astype(float)
    known = (~np.isnan(labels)).astype(float)
    both, asked = positive.T @ positive, positive.T @ known
    share = np.divide(100 * both, asked, out=np.full(both.shape, np.nan), where=asked > 0)
    np.fill_diagonal(share, np.nan)
    figure = StudyFigure(figsize=(8.2, 0.42 * len(findings) + 1.8), layout="constrained")
    axes = figure.subplots()
    top = max(np.nanmax(share), 1) if np.isfinite(share).any() else 1
    counts = positive.sum(axis=0).astype(int)
    heatmap(
        share, mask=np.isnan(share), annot=True, fmt=".0f", annot_kws={"size": 8}, cmap="Blues", vmin=0, vmax=top,
        ax=axes,
        yticklabels=[f"{finding_name(f)}  ({n:,})" for f, n in zip(findings, counts, strict=True)],
        xticklabels=[finding_name(f) for f in findings],
        cbar_kws={"label": "... have this finding too (%)", "pad": 0.02, "fraction": 0.04},
    )  # fmt: skip
    axes.tick_params(length=0)
    axes.tick_params(axis="x", rotation=45)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right")
    axes.set_ylabel("of the images with ... (positives)")
    return figure


@styled
def patients(frame: pd.DataFrame) -> Figure:
    """Draw age by sex, images per patient, and view positions; `frame`: a table with patient_id, age, sex and view."""
    figure = StudyFigure(figsize=(8.6, 2.7), layout="constrained")
    age, exams, view = figure.subplots(1, 3, width_ratios=(1.5, 1, 0.9))
    people = frame.drop_duplicates("patient_id")
    groups = [(name, people.loc[people["sex"] == sex, "age"].dropna())
              for sex, name in (("F", "women"), ("M", "men"), ("", "sex unknown"))]  # fmt: skip
    groups = [(name, ages) for name, ages in groups if len(ages)]
    bins = np.arange(0, max([100, *(ages.max() + 5 for _, ages in groups)]), 5)
    colours = ("#8c5a9e", "#5f7f3a", RULE)
    if groups:
        age.hist([ages for _, ages in groups], bins=bins, stacked=True, color=colours[: len(groups)],
                 label=[f"{name} ({len(ages):,})" for name, ages in groups])  # fmt: skip
        age.legend()
    age.set(title="Age", xlabel="age at the first image (years)", ylabel="patients")
    counts = frame["patient_id"].value_counts().clip(upper=10).value_counts().sort_index()
    exams.bar(counts.index, counts, color=VIEW_COLOUR, width=0.8)
    exams.set(title="Images per patient", xlabel="images (10: ten or more)", ylabel="patients")
    views = frame["view"].replace("", "unknown").value_counts()
    bars = view.bar(views.index, 100 * views / len(frame), color=VIEW_COLOUR, width=0.6)
    view.bar_label(bars, [f"{n:,}" for n in views], padding=2, fontsize=8, color=MUTED)
    view.set(title="View position", xlabel="view position", ylabel="images (%)")
    view.margins(y=0.12)  # room for the counts
    exams.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (age, exams, view):
        axes.grid(axis="y")
    letter_panels((age, exams, view))
    return figure


@styled
def contact_sheet(pictures: Sequence[Picture], columns: int = 5) -> Figure:
    """Draw radiographs in a grid, each with its title, and its boxes and masks outlined in one colour per finding."""
    rows = -(-len(pictures) // columns)
    marked = list(dict.fromkeys(f for picture in pictures for f in (*picture.masks, *picture.boxes)))
    colours = {finding: OUTLINES[i % len(OUTLINES)] for i, finding in enumerate(marked)}
    tight = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03)
    figure = StudyFigure(figsize=(8.6, 8.6 / columns * rows * 1.14), layout=tight)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture in zip(grid.flat, pictures, strict=False):
        axes.imshow(picture.image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axes.set_title(textwrap.fill(picture.title, LONGEST_TITLE), fontsize=8, fontweight="normal")
        outline(axes, picture, colours)
    return figure


def outline(axes: Axes, picture: Picture, colours: Mapping[str, str], width: float = 1.2) -> None:
    """Draw the edges of a picture's masks and boxes onto axes that show its image."""
    height, across = picture.image.shape
    for finding, mask in picture.masks.items():
        if mask.any():
            # contour() puts the centre of pixel i at i; the mask may have another size than the image.
            x = (np.arange(mask.shape[1]) + 0.5) * across / mask.shape[1] - 0.5
            y = (np.arange(mask.shape[0]) + 0.5) * height / mask.shape[0] - 0.5
            axes.contour(x, y, mask.astype(float), levels=[0.5], colors=[colours[finding]], linewidths=width)
    for finding, (left, top, wide, high) in picture.boxes.items():
        corner = (left * across - 0.5, top * height - 0.5)
        box = Rectangle(corner, wide * across, high * height, fill=False, edgecolor=colours[finding], linewidth=width)
        axes.add_patch(box)

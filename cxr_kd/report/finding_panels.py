"""What figures with one panel per finding share: the grid, the lines of the arms, and what the figure is drawn from."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from cxr_kd.errors import ReportError
from cxr_kd.report.style import MUTED, ArmStyle, StudyFigure, finding_name

Styles = Mapping[str, ArmStyle]
COLUMNS = 4
PANEL = (2.15, 2.05)  # inches
# method -> what its values are called on an axis. A raw score must never be taken for a probability.
VALUES = {
    "raw": "raw score (sigmoid of the logit; not a calibrated probability)",
    "temperature": "probability after temperature scaling on validation",
    "platt": "probability after Platt scaling on validation",
    "prevalence": "probability after prevalence correction on validation",
}


class Panels:
    """A figure with one panel per finding of `frame`, a table of `evaluation.probabilities` with the column `arm`.

    Findings that are left out get no panel; `finish` names them below the panels. ReportError for a frame without rows.
    """

    def __init__(self, frame: pd.DataFrame, styles: Styles) -> None:
        if frame.empty:
            raise ReportError("no row to draw: the table of the probabilities is empty")
        self.frame = frame
        self.styles = [style for arm, style in styles.items() if arm in set(frame["arm"])]
        shown = frame[frame["left_out"] == ""]
        self.findings = list(dict.fromkeys(shown["finding"]))
        rows = max(1, -(-len(self.findings) // COLUMNS))
        self.figure: Figure = StudyFigure(figsize=(COLUMNS * PANEL[0], rows * PANEL[1] + 1.2), layout="constrained")
        grid = self.figure.subplots(rows, COLUMNS, squeeze=False)
        self.axes = dict(zip(self.findings, grid.flat, strict=False))
        for axes in list(grid.flat)[len(self.findings) :]:
            axes.set_axis_off()
        self.parts = {key: part for key, part in shown.groupby(["finding", "arm"], sort=False)}

    def __iter__(self) -> Iterator[tuple[Axes, ArmStyle, pd.DataFrame]]:
        """Give the panel, the style and the rows of each finding and arm; title each panel with the positives."""
        for finding, axes in self.axes.items():
            rows = self.frame[self.frame["finding"] == finding].iloc[0]
            axes.set_title(f"{finding_name(finding)} ({int(rows['positives']):,})", fontsize=8.5)
            axes.tick_params(labelsize=7.5)
            axes.grid()
            for style in self.styles:
                if (finding, style.arm) in self.parts:
                    yield axes, style, self.parts[finding, style.arm]

    def finish(self, x: str, y: str, note: str, *marks: Line2D | Patch) -> Figure:
        """Label the axes, add the legend (with `marks` after the arms) and what the figure is drawn from."""
        handles = [Line2D([], [], color=each.colour, linewidth=1.8, label=each.label) for each in self.styles]
        self.figure.legend(handles=[*handles, *marks], loc="outside upper left", ncols=3, fontsize=8)
        self.figure.supylabel(y, fontsize=9)
        bands = f"In brackets: positive images. Bands: 95 % intervals over {covered(self.frame)}."
        text = " ".join(filter(None, (drawn_from(self.frame), bands, note, left_out(self.frame))))
        lines = "\n".join(textwrap.wrap(text, 150))
        self.figure.supxlabel(f"{x}\n{lines}", fontsize=8, ha="left", x=0.02)
        return self.figure


def drawn_from(frame: pd.DataFrame) -> str:
    """Return the data, split, side, images, patients and number of trainings of a table as a sentence."""
    row = frame.iloc[0]
    seeds = sorted({int(count) for count in frame["seeds"]})
    trained = f", mean over {' or '.join(map(str, seeds))} trainings" if seeds != [1] else ""
    return (
        f"{row['dataset']} ({row['kind']}), split {row['split']}, {row['side']} side: "
        f"{int(row['side_images']):,} images of {int(row['side_patients']):,} patients{trained}."
    )


def covered(frame: pd.DataFrame) -> str:
    """Return what the intervals of a table cover: patients, or patients and trainings."""
    return " or ".join(sorted(set(frame["interval"])))


def left_out(frame: pd.DataFrame) -> str:
    """Return the findings that are left out, with the reason, as a sentence; empty if there is none."""
    rows = frame[frame["left_out"] != ""].drop_duplicates(["finding", "left_out"])
    named = [f"{finding_name(row['finding'])} ({row['left_out']})" for row in rows.to_dict("records")]
    return f"Left out: {', '.join(named)}." if named else ""


def only(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    """Return the rows with a value in a column; ReportError names what there is if no row has it."""
    rows = frame[frame[column] == value]
    if rows.empty:
        there = ", ".join(map(str, frame[column].unique()))
        raise ReportError(f"no row with {column} {value!r} in the table; it has {there or 'no row'}")
    return rows


def dashed(label: str, colour: str = MUTED) -> Line2D:
    """Return the legend's mark of a dashed line."""
    return Line2D([], [], color=colour, linewidth=1, linestyle=(0, (4, 3)), label=label)

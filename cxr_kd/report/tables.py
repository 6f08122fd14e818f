"""What every table of the report and of the notebooks is made of: cells, values with their intervals, counts."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
from markupsafe import Markup

from cxr_kd.report.style import ArmStyle

# A notebook aligns every cell to the right; only numbers belong there.
_LEFT, _RIGHT = (f"{{text-align: {side} !important}}" for side in ("left", "right"))
_NOTEBOOK_STYLE = (
    f"<style>.cxr-kd :is(th, td) {_LEFT} .cxr-kd .number {_RIGHT} .cxr-kd td.number {{white-space: nowrap}}</style>"
)
# Simulated for 5 to 22 positives (simulations/coverage.py): the intervals cover 92 to 99 %; from 50 on, 93 to 97 %.
FEW_POSITIVES, FEW = 50, "\N{DAGGER}"
FEW_NOTE = (
    f"{FEW} Fewer than {FEW_POSITIVES} positives: 95 % intervals of so few covered 92 to 99 % of the true values in "
    "simulations (simulations/coverage.py)."
)
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """One cell of a table: a text, with smaller text after it and the coloured mark of an arm before it."""

    text: str
    detail: str = ""
    style: ArmStyle | None = None
    strong: bool = False
    span: int = 1  # columns
    values: tuple[float, ...] = ()  # what the text is rounded from: value, low, high

    def html(self) -> str:
        """Return the content of the cell as HTML."""
        mark = f'<i class="mark" style="background:{self.style.colour}"></i>' if self.style else ""
        detail = f' <span class="detail">{escape(self.detail)}</span>' if self.detail else ""
        text = unbroken(self.text)
        return mark + (f"<strong>{text}</strong>" if self.strong else text) + detail


def unbroken(text: str) -> str:
    """Return text as HTML in which no word with a hyphen, such as DenseNet-161, is broken into two lines."""
    return re.sub(r"\S+-\S+", r'<span class="together">\g<0></span>', escape(text))


@dataclass(frozen=True)
class Table:
    """A table of the report, which a notebook can show too. The first cell of a row names the row."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]  # of Cell or text
    note: str = ""
    text_columns: frozenset[int] = frozenset({0})  # the others are numbers, aligned to the right
    wrapped_columns: frozenset[int] = frozenset()  # long texts, which may have several lines

    def html(self) -> str:
        """Return the table as HTML, without caption and note. Every text in it is escaped."""
        heads = "".join(f'<th scope="col"{self._side(i)}>{unbroken(c)}</th>' for i, c in enumerate(self.columns))
        body = "".join(f"<tr>{self._row(row)}</tr>" for row in self.rows)
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"

    def markup(self) -> Markup:
        """Return `html()` for a template that escapes every other text."""
        return Markup(self.html())

    def csv(self) -> str:
        """Return the table as CSV. An estimate has three columns, value and bounds, and is not rounded.

        Smaller text after a cell's own has a column of its own.
        """
        rows = [_spread_cells(row) for row in self.rows]
        heads: list[str] = []
        columns: list[Sequence[Any]] = []
        for number, head in enumerate(self.columns):
            cells = [row[number] for row in rows]
            if any(cell.values for cell in cells):
                heads += [head, f"{head}: low", f"{head}: high"]
                columns += list(zip(*(cell.values or (cell.text, "", "") for cell in cells), strict=True))
                continue
            heads.append(head)
            columns.append([cell.text for cell in cells])
            if any(cell.detail for cell in cells):
                heads.append(f"{head}: detail")
                columns.append([cell.detail for cell in cells])
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([heads, *zip(*columns, strict=True)])
        return text.getvalue()

    def _row(self, row: Sequence[Any]) -> str:
        cells = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
        wrapped = ' class="wrapped"' if 0 in self.wrapped_columns else ""
        tag, scope = ("th", ' scope="row"') if cells[0].text else ("td", "")  # an empty header says nothing
        named = f"<{tag}{scope}{wrapped}>{cells[0].html()}</{tag}>"
        return named + "".join(f"<td{self._side(i, cell)}>{cell.html()}</td>" for i, cell in enumerate(cells[1:], 1))

    def _side(self, column: int, cell: Cell | None = None) -> str:
        if cell and cell.span > 1:
            return f' colspan="{cell.span}"'
        if column in self.wrapped_columns:
            return ' class="wrapped"'
        return "" if column in self.text_columns else ' class="number"'

    def _repr_html_(self) -> str:
        note = f"<p><small>{escape(self.note)}</small></p>" if self.note else ""
        caption = f"<p><strong>{escape(self.caption)}</strong></p>"
        return f'{_NOTEBOOK_STYLE}<div class="cxr-kd">{caption}{self.html()}{note}</div>'


def _spread_cells(row: Sequence[Any]) -> list[Cell]:
    """Return one cell per column: a cell over several columns is followed by empty ones."""
    cells = [cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row]
    return [each for cell in cells for each in (cell, *[Cell("")] * (cell.span - 1))]


def estimate(value: float, low: float, high: float, *, signed: bool = False) -> Cell:
    """Return an estimate with its interval, 0.812 (0.790-0.833) or signed +0.012 (-0.004 to +0.028); a dash for NaN."""
    if not math.isfinite(value):
        return Cell(DASH)
    form, between = ("+.3f", " to ") if signed else (".3f", DASH)
    rounded = [round(number, 3) + 0.0 for number in (value, low, high)]  # + 0.0: no minus before a zero
    texts = [format(number, form).replace("-", MINUS) for number in rounded]
    return Cell(texts[0], f"({texts[1]}{between}{texts[2]})", values=(float(value), float(low), float(high)))


def estimate_text(value: float, low: float, high: float, *, signed: bool = False) -> str:
    """Return an estimate with its interval as text without line breaks, for a sentence."""
    cell = estimate(value, low, high, signed=signed)
    return f"{cell.text} {cell.detail}".strip().replace(" ", "\N{NO-BREAK SPACE}")


def p_text(p: float) -> str:
    """Return a p-value as text: 0.042, <0.001, or a dash for NaN."""
    return DASH if pd.isna(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def records(frame: pd.DataFrame, key: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a frame by the text in the column `key`, in order."""
    return {str(row[key]): {str(name): value for name, value in row.items()} for row in frame.to_dict("records")}


def positives_cell(positives: float, images: float, more: str = "") -> Cell:
    """Return the positives of a finding and its images, marked if an interval is from few positives."""
    mark = f" {FEW}" if positives < FEW_POSITIVES else ""
    return Cell(f"{int(positives):,}", f"of {int(images):,}{more}{mark}")


def few_note(rows: pd.DataFrame, text: str = FEW_NOTE) -> str:
    """Return what the mark of `positives_cell` means, or "" if no scored row has it."""
    return text if ((rows["left_out"] == "") & (rows["positives"] < FEW_POSITIVES)).any() else ""


def thread_count(threads: float) -> str:
    """Return a number of threads as text: `1 thread`, `2 threads`."""
    return f"{int(threads)} thread{'' if threads == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return seconds as text: 70 -> 1 min 10 s; 7300 -> 2 h 1 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"

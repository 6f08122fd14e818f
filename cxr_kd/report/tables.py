"""Tables of the report and of the notebooks: values with their intervals, made from data frames."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd
from markupsafe import Markup

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.report.style import METRIC_NAMES, ArmStyle, finding_name

Styles = Mapping[str, ArmStyle]
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

    def _row(self, row: Sequence[Any]) -> str:
        cells = [cell if isinstance(cell, Cell) else Cell(cell) for cell in row]
        wrapped = ' class="wrapped"' if 0 in self.wrapped_columns else ""
        named = f'<th scope="row"{wrapped}>{cells[0].html()}</th>'
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


def estimate(value: float, low: float, high: float, *, signed: bool = False) -> Cell:
    """Return an estimate with its interval, 0.812 (0.790-0.833) or signed +0.012 (-0.004 to +0.028); a dash for NaN."""
    if not math.isfinite(value):
        return Cell(DASH)
    form, between = ("+.3f", " to ") if signed else (".3f", DASH)
    rounded = [round(number, 3) + 0.0 for number in (value, low, high)]  # + 0.0: no minus before a zero
    texts = [format(number, form).replace("-", MINUS) for number in rounded]
    return Cell(texts[0], f"({texts[1]}{between}{texts[2]})")


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


def results_table(evaluations: pd.DataFrame, comparisons: pd.DataFrame, styles: Styles) -> Table:
    """Return one row per arm: mean AUROC, mean average precision, paired difference from the same student alone."""
    means = records(evaluations[evaluations["finding"] == MEAN], "arm")
    paired = records(comparisons[comparisons["finding"] == MEAN], "second")
    rows = []
    for arm, style in styles.items():
        difference = _difference(paired[arm], "auroc") if arm in paired else DASH
        metrics = (_metric(means[arm], metric) for metric in METRIC_NAMES)
        rows.append([Cell(style.label, style=style), style.role, *metrics, difference])
    columns = ("Network", "Role", "Mean AUROC", "Mean average precision", "AUROC, distilled minus alone")
    return Table("Teacher, student alone and student distilled", columns, rows, text_columns=frozenset({0, 1}))


def positives_cell(positives: float, images: float, more: str = "") -> Cell:
    """Return the positives of a finding and its images, marked if an interval is from few positives."""
    mark = f" {FEW}" if positives < FEW_POSITIVES else ""
    return Cell(f"{int(positives):,}", f"of {int(images):,}{more}{mark}")


def few_note(rows: pd.DataFrame, text: str = FEW_NOTE) -> str:
    """Return what the mark of `positives_cell` means, or "" if no scored row has it."""
    return text if ((rows["left_out"] == "") & (rows["positives"] < FEW_POSITIVES)).any() else ""


def finding_table(evaluations: pd.DataFrame, styles: Styles, metric: str = "auroc") -> Table:
    """Return one row per finding and one column per arm; a finding that is left out has the reason instead."""
    by_arm = {str(arm): records(frame, "finding") for arm, frame in evaluations.groupby("arm", sort=False)}
    counts = next(iter(by_arm.values()))
    scored = sum(not row["left_out"] for finding, row in counts.items() if finding != MEAN)
    rows = []
    for name, row in counts.items():
        values = [_metric(by_arm[arm][name], metric) for arm in styles]
        if name == MEAN:
            rows.append([Cell("Mean", f"over {scored} findings", strong=True), "", *values])
            continue
        if row["left_out"]:
            values = [Cell("", f"left out: {row['left_out']}", span=len(styles))]
        rows.append([finding_name(name), positives_cell(row["positives"], row["images"]), *values])
    columns = ("Finding", "Positives", *(style.label for style in styles.values()))
    return Table(f"{METRIC_NAMES[metric]} of each finding, 95 % intervals", columns, rows, few_note(evaluations))


def difference_table(comparisons: pd.DataFrame, styles: Styles, metric: str = "auroc") -> Table:
    """Return one row per finding, one column per distilled student: paired difference from the same student alone."""
    by_arm = {str(arm): records(frame, "finding") for arm, frame in comparisons.groupby("second", sort=False)}
    positives = {finding: row["positives"] for finding, row in next(iter(by_arm.values())).items()}
    rows = []
    for finding in dict.fromkeys(comparisons["finding"]):
        mark = FEW if positives[finding] < FEW_POSITIVES else ""
        name = Cell("Mean", strong=True) if finding == MEAN else Cell(finding_name(finding), mark)
        rows.append([name, *(_difference(by_arm[arm][finding], metric) for arm in by_arm)])
    caption = f"{METRIC_NAMES[metric]}, distilled minus alone, paired over the same patients"
    return Table(caption, ("Finding", *(styles[arm].label for arm in by_arm)), rows, few_note(comparisons))


def cost_table(cost: pd.DataFrame, styles: Styles) -> Table:
    """Return parameters, multiply-accumulates, file size and latency of each arm.

    `cost`: device.csv with the column `arm`.
    """
    by_arm = records(cost, "arm")
    rows = []
    for arm, style in styles.items():
        if arm in by_arm:
            row = by_arm[arm]
            quartiles = f"({row['latency_ms_p25']:.1f}{DASH}{row['latency_ms_p75']:.1f})"
            rows.append([Cell(style.label, style=style), f"{row['parameters'] / 1e6:.2f}", f"{row['macs'] / 1e9:.3f}",
                         f"{row['file_mb']:.1f}", Cell(f"{row['latency_ms_median']:.1f}", quartiles)])  # fmt: skip
    columns = ("Network", "Parameters (million)", "Multiply-accumulates (10\N{SUPERSCRIPT NINE})", "File (MB)",
               "Latency (ms; median, quartiles)")  # fmt: skip
    first = cost.iloc[0]
    note = (
        f"Latency of one image of {int(first['image_size'])} px on {first['cpu']}, {thread_count(first['threads'])}. "
        "Networks of one architecture are measured once and have the same latency."
    )
    return Table("Cost of each network", columns, rows, note)


def run_table(cards: Sequence[Mapping[str, Any]]) -> Table:
    """Return one row per run card: first weights, seed, epochs, training time, peak memory, device, end."""
    rows = []
    for card in cards:
        finished, memory = str(card["finished"])[:16].replace("T", " "), f"{card['peak_memory_mb']:,.0f}"
        rows.append([card["run"], card["start"], str(card["seed"]), str(card["epochs"]), duration(card["seconds"]),
                     memory, card["device"], finished])  # fmt: skip
    columns = ("Run", "Starts from", "Seed", "Epochs", "Training time", "Peak memory (MB)", "Device", "Finished (UTC)")
    return Table("The runs", columns, rows, text_columns=frozenset({0, 1, 6, 7}), wrapped_columns=frozenset({1}))


def _metric(row: Mapping[str, Any], metric: str) -> Cell:
    return estimate(row[metric], row[f"{metric}_low"], row[f"{metric}_high"])


def _difference(row: Mapping[str, Any], metric: str) -> Cell:
    return estimate(row[f"{metric}_difference"], row[f"{metric}_low"], row[f"{metric}_high"], signed=True)


def thread_count(threads: float) -> str:
    """Return a number of threads as text: `1 thread`, `2 threads`."""
    return f"{int(threads)} thread{'' if threads == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return seconds as text: 70 -> 1 min 10 s; 7300 -> 2 h 1 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"

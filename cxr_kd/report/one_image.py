"""What notebook 3 shows of one training image: its views, the answers to it, and the objective as numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from scipy.special import expit

from cxr_kd.models import registry
from cxr_kd.report.maps.figures import presence
from cxr_kd.report.maps.overlays import radiograph
from cxr_kd.report.style import MUTED, ROLES, RULE, StudyFigure, finding_name, style_of, styled
from cxr_kd.report.tables import DASH, MINUS, Cell, Table
from cxr_kd.study.loss_table import LOSSES
from cxr_kd.study.runs import Run

if TYPE_CHECKING:
    from cxr_kd.training.one_image import OneImage  # loads torch

SAME = 0.5 / 255  # grey values that differ by less look the same


@styled
def views_figure(one: OneImage) -> Figure:
    """Draw a training image as it is in the cache, and the views of it that the student learns from."""
    panels = 1 + len(one.views)
    figure = StudyFigure(figsize=(min(2.3 * panels, 9.2), min(2.3, 9.2 / panels) + 0.5), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    radiograph(axes[0], one.image, f"{one.image_id}, as stored")
    for number, (each, view) in enumerate(zip(axes[1:], one.views, strict=True), 1):
        changed = np.abs(view - one.image / 255).max() > SAME
        count = f" of {one.number_of_views}" if one.number_of_views else ""
        radiograph(each, np.round(view * 255), f"view {number}{count}{'' if changed else ', unchanged'}")
    return figure


@styled
def answers_figure(one: OneImage, run: Run) -> Figure:
    """Draw the logits of the student and of its teachers for the first view, one row per finding.

    The line between both is the difference that losses of logits pull on. Findings that are present have a grey row.
    """
    figure = StudyFigure(figsize=(7.6, 1.1 + 0.3 * len(one.findings)), layout="constrained")
    axes = figure.subplots()
    rows = np.arange(len(one.findings))
    for row in rows[one.labels == 1]:
        axes.axhspan(row - 0.5, row + 0.5, color=RULE, alpha=0.6, linewidth=0)
    if one.teacher is not None:
        axes.hlines(rows, one.teacher, one.student, color=MUTED, linewidth=1.2, zorder=2)
        colour, marker = ROLES[f"teacher, {registry.info(run.teachers[0]).kind}"]
        axes.plot(one.teacher, rows, marker, color=colour, markersize=7, label="teacher")
    style = style_of(run.arm, run)
    axes.plot(one.student, rows, style.marker, color=style.colour, markersize=7, label="student")
    axes.axvline(0, color=MUTED, linewidth=0.8)
    names = zip(one.findings, one.labels, strict=True)
    axes.set_yticks(rows, [f"{finding_name(finding)} ({presence(label)})" for finding, label in names])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("logit (0 is a sigmoid of 0.5)")
    axes.grid(axis="x")
    figure.legend(loc="outside upper left", ncols=2)
    return figure


def answers_table(one: OneImage) -> Table:
    """Return one row per finding: its label, and the logit and its sigmoid of the teachers and of the student."""
    rows = []
    for column, finding in enumerate(one.findings):
        label, student = one.labels[column], one.student[column]
        cells = [Cell(finding_name(finding), strong=label == 1), presence(label)]
        if one.teacher is not None:
            cells += [_answer(one.teacher[column]), _answer(student), _number(student - one.teacher[column])]
        else:
            cells += [_answer(student)]
        rows.append(cells)
    networks = ("Student",) if one.teacher is None else ("Teacher", "Student", "Student \N{MINUS SIGN} teacher")
    return Table(
        f"Image {one.image_id}, first view: logits (in brackets their sigmoid)",
        ("Finding", "Label", *networks),
        rows,
        text_columns=frozenset({0, 1}),
    )


def objective_text(run: Run) -> str:
    """Return the objective of a run as one line: `loss = 1 * focal_bce(student, labels) + ...`."""
    terms = []
    for name, loss in LOSSES.items():
        if name in run.losses:
            other = "labels" if loss.against == "labels" else "teacher"
            terms.append(f"{run.objective[name]:g} * {name}(student, {other})")
    return f"loss = {' + '.join(terms)}"


def objective_table(one: OneImage) -> Table:
    """Return one row per loss of the objective: weight, formula, value for the image and for its batch; then the sum.

    The sum over losses of one column is what training makes smaller.
    """
    rows: list[list[Cell | str]] = []
    for term in one.terms.to_dict("records"):
        values = (_value(term["weight"], term[column]) for column in ("of_image", "of_batch"))
        rows.append([term["loss"], f"{term['weight']:g}", *values, LOSSES[str(term["loss"])].formula])
    sums = (_sum(one, column) for column in ("of_image", "of_batch"))
    rows.append([Cell("Sum", "of weight times value", strong=True), "", *sums, ""])
    return Table(
        "The objective: value, and weight times value",
        ("Loss", "Weight", "This image alone", f"Its batch of {one.batch_size}", "Formula"),
        rows,
        _objective_note(one),
        frozenset({0, 4}),
        frozenset({4}),
    )


def _objective_note(one: OneImage) -> str:
    notes = ["s, t: logits of student and teacher for a finding; p: sigmoid of s; a mean is over findings and images."]
    if compare := [name for name in one.terms["loss"] if LOSSES[name].compares_images]:
        notes.append(f"{', '.join(compare)}: compares the images of a batch, so one image has no value of its own.")
    if learned := [name for name in one.terms["loss"] if LOSSES[name].needs == "features"]:
        notes.append(f"{', '.join(learned)}: has a layer that is not kept after training, so its value is not shown.")
    return " ".join(notes)


def _sum(one: OneImage, column: str) -> Cell:
    """The weighted sum of a column; a dash if a loss has no value in it."""
    total = float((one.terms["weight"] * one.terms[column]).sum(skipna=False))
    return Cell(f"{total:.4f}" if math.isfinite(total) else DASH, strong=True)


def _value(weight: float, value: float) -> Cell:
    return Cell(f"{value:.4f}", f"({weight * value:.4f})") if math.isfinite(value) else Cell(DASH)


def _answer(logit: float) -> Cell:
    return Cell(_number(logit), f"({expit(logit):.2f})")


def _number(value: float) -> str:
    return f"{value + 0.0:+.2f}".replace("-", MINUS)

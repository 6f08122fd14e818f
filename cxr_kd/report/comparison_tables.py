"""Tables of paired comparisons of the mean AUROC: what chance has to do with it, and students against teachers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.mrmc import OVER_PATIENTS
from cxr_kd.report.style import ArmStyle
from cxr_kd.report.tables import DASH, MINUS, Cell, Table, estimate, p_text
from cxr_kd.study.settings import Evaluation

Styles = Mapping[str, ArmStyle]


def chance_table(comparisons: pd.DataFrame, styles: Styles, seeds: Sequence[int]) -> Table | None:
    """Return one row per comparison: its difference, standard errors and p, and the difference of each seed.

    None without a comparison, or with one seed.
    """
    means = _means(comparisons)
    if not means or len(seeds) == 1:
        return None
    rows = []
    for row in means:
        se_patients, se_trainings = row["auroc_se_patients"], row["auroc_se_trainings"]
        variance = se_patients**2 + se_trainings**2
        share = f"({se_trainings**2 / variance:.0%} of the variance)" if variance > 0 else ""
        each = ", ".join(estimate(row[f"auroc_seed{seed}"], 0, 0, signed=True).text for seed in seeds)
        student = Cell(styles[row["second"]].label, style=styles[row["second"]])
        errors = (f"{se_patients:.3f}", Cell(f"{se_trainings:.3f}", share))
        rows.append([student, _difference(row), *errors, p_text(row["auroc_p_holm"]), each])
    columns = ("Student", "Mean AUROC, distilled minus alone", "Standard error, patients", "Standard error, trainings",
               "p, corrected", f"Difference of seeds {', '.join(map(str, seeds))}")  # fmt: skip
    note = (
        "Each seed is one training of both students, from the same first weights and with the same order of images. "
        "The interval is that of a study of several readers and many patients (variance: Obuchowski and Rockette 1995; "
        f"width: Banerjee 1960), with the trainings as readers. p is corrected (Holm) for {len(rows)} "
        f"comparison{'s' if len(rows) > 1 else ''}."
    )
    return Table("How much of the difference is chance?", columns, rows, note)


def teacher_table(with_teachers: pd.DataFrame, styles: Styles, settings: Evaluation) -> Table | None:
    """Return one row per student and teacher: student minus teacher, and whether it is worse; None without a pair."""
    means, margin = _means(with_teachers), settings.non_inferiority_margin
    if not means:
        return None
    rows = []
    for row in means:
        student, teacher = styles[row["second"]], styles[row["first"]]
        rows.append([Cell(student.label, style=student), teacher.label, _difference(row), _verdict(row, margin)])
    columns = ("Student", "Teacher", "Mean AUROC, student minus teacher", "Not worse by the margin?")
    stated = (
        f"The margin of this study is {margin:g} of AUROC. A student is not worse by the margin if the whole interval "
        f"is above {MINUS}{margin:g} (non-inferiority; Piaggio et al. 2012)."
        if margin
        else "The study states no margin (evaluation: non_inferiority_margin), so this is not tested."
    )
    return Table("Students and their teachers, paired", columns, rows, stated, frozenset({0, 1, 3}))


def _verdict(row: Mapping[str, Any], margin: float | None) -> str:
    if margin is None or row["left_out"]:
        return DASH
    if row["interval"] == OVER_PATIENTS:
        return "not tested: one training"
    return "shown" if row["non_inferior"] else "not shown"


def _means(comparisons: pd.DataFrame) -> list[dict[str, Any]]:
    means = comparisons[comparisons["finding"] == MEAN]
    return [{str(name): value for name, value in row.items()} for row in means.to_dict("records")]


def _difference(row: Mapping[str, Any]) -> Cell:
    return estimate(row["auroc_difference"], row["auroc_low"], row["auroc_high"], signed=True)

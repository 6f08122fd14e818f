"""The networks of a study across data sets, for the report and notebook 04_evaluate: a heat map and two tables.

The frames are those of `cxr_kd.evaluation.across`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cxr_kd.evaluation.across import CHANGES, EVALUATIONS, INTERNAL
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.mrmc import OVER_PATIENTS
from cxr_kd.evaluation.resampling import ALPHA
from cxr_kd.report.style import ArmStyle, StudyFigure, finding_name, styled
from cxr_kd.report.tables import DASH, Cell, Table, estimate, few_note, p_text, positives_cell

Frames = Mapping[str, pd.DataFrame]  # file name -> table, as `write_across` returns them
Styles = Mapping[str, ArmStyle]
KINDS = {"phantom": "phantoms", "mini": "miniature", "full": "full data set", "own": "own data"}
HOW_TO_READ = (
    "Internal testing is on patients of the data set that the networks learned from, external testing on another data "
    "set. If a network is worse there, its AUROC does not carry over to such patients and images."
)


def matrix(frames: Frames, styles: Styles) -> Figure:
    """Draw the mean AUROC of each arm (rows) on each data set (columns), each cell with its 95 % interval."""
    return _matrix(_means(frames[EVALUATIONS]), styles)


def matrix_table(frames: Frames, styles: Styles) -> Table:
    """Return one row per arm: its mean AUROC on each data set."""
    means = _means(frames[EVALUATIONS])
    cells = {(row["arm"], _key(row)): estimate(row["auroc"], row["auroc_low"], row["auroc_high"]) for row in means}
    columns = _columns(means)
    rows = [[Cell(style.label, style=style), *(cells[arm, key] for key in columns)] for arm, style in styles.items()]
    heads = ("Network", *(_title(row, ", ") for row in columns.values()))
    note = f"{_over(frames)} 95 % intervals over {means[0]['interval']}. Values: {EVALUATIONS}."
    return Table("Mean AUROC in internal and external testing", heads, rows, note)


def change_table(frames: Frames, styles: Styles) -> Table | None:
    """Return one row per distilled student and data set: mean AUROC, distilled minus alone; None without a pair."""
    means = _means(frames[CHANGES])
    if not means:
        return None
    rows = [
        [
            Cell(styles[row["second"]].label, style=styles[row["second"]]),
            f"{_tested(row)}, {row['data_set']}",
            _counted(row),
            estimate(row["auroc_difference"], row["auroc_low"], row["auroc_high"], signed=True),
            p_text(row["auroc_p_holm"]),
            _verdict(row),
        ]
        for row in means
    ]
    heads = ("Student", "Data set", "Test side", "Mean AUROC, distilled minus alone", "p, corrected", "Shown?")
    note = (
        f"Paired over the same patients and trainings; 95 % intervals over {means[0]['interval']}. p is corrected "
        f"(Holm) for {len(means)} comparisons; a difference with p below {ALPHA} is shown. Values: {CHANGES}."
    )
    return Table("Effect of distillation in internal and external testing", heads, rows, note, frozenset({0, 1, 2, 5}))


def finding_table(frames: Frames, styles: Styles) -> Table:
    """Return one row per shared finding and data set: positives, and the AUROC of each arm."""
    frame = frames[EVALUATIONS]
    rows: list[list[Any]] = []
    for finding in dict.fromkeys(frame.loc[frame["finding"] != MEAN, "finding"]):
        of_finding = frame[frame["finding"] == finding].to_dict("records")
        for key in dict.fromkeys(map(_key, of_finding)):
            by_arm = {row["arm"]: row for row in of_finding if _key(row) == key}
            row = next(iter(by_arm.values()))
            values = [estimate(*(by_arm[arm][f"auroc{end}"] for end in ("", "_low", "_high"))) for arm in styles]
            if row["left_out"]:
                values = [Cell("", f"left out: {row['left_out']}", span=len(styles))]
            counts = positives_cell(row["positives"], row["images"])
            rows.append([finding_name(finding), f"{_tested(row)}, {row['data_set']}", counts, *values])
    heads = ("Finding", "Data set", "Positives", *(style.label for style in styles.values()))
    note = f"{_over(frames)} Values: {EVALUATIONS}. {few_note(frame)}".strip()
    return Table("AUROC of each shared finding, 95 % intervals", heads, rows, note, frozenset({0, 1}))


def section(frames: Frames, styles: Styles) -> dict[str, Any]:
    """Return what the report's section is made of beside its figure, `matrix`: tables and sentences."""
    means = _means(frames[EVALUATIONS])
    tested = "; ".join(f"{_tested(row)}: {_described(row)}" for row in _columns(means).values())
    return {
        "caption": "Mean AUROC of each network on each data set.",
        "tables": [table for table in (matrix_table(frames, styles), change_table(frames, styles)) if table],
        "findings": finding_table(frames, styles),
        "how_to_read": HOW_TO_READ,
        "over": _over(frames),
        "about": tested,
    }


def tested_externally(frames: Frames) -> list[str]:
    """Return what each data set of external testing is: its name, kind, split, images and patients."""
    columns = _columns(_means(frames[EVALUATIONS])).values()
    return [_described(row) for row in columns if row["testing"] != INTERNAL]


@styled
def _matrix(means: list[dict[str, Any]], styles: Styles) -> Figure:
    from seaborn import heatmap  # loads scipy.stats: a second that a report without this section need not spend

    columns, arms = _columns(means), list(styles)
    by_cell = {(row["arm"], _key(row)): row for row in means}
    cells = [[by_cell[arm, key] for key in columns] for arm in arms]
    values = np.array([[row["auroc"] for row in line] for line in cells], dtype=float)
    texts = np.array([[_text(row) for row in line] for line in cells])
    figure = StudyFigure(figsize=(min(8.6, 3.4 + 1.9 * len(columns)), 1.9 + 0.6 * len(arms)), layout="constrained")
    axes = figure.subplots()
    heatmap(
        values, annot=texts, fmt="", annot_kws={"size": 8.5}, cmap="Blues", vmin=0.5, vmax=1, ax=axes, linewidths=1,
        mask=np.isnan(values), xticklabels=[_title(row, "\n") for row in columns.values()],
        yticklabels=[styles[arm].label for arm in arms],
        cbar_kws={"label": "mean AUROC (0.5: chance)", "pad": 0.02, "fraction": 0.05},
    )  # fmt: skip
    axes.tick_params(length=0)
    axes.tick_params(axis="x", labelsize=8.5, rotation=0)
    axes.tick_params(axis="y", rotation=0)
    findings = _findings(means[0]["findings_in_mean"])
    figure.supxlabel(f"mean over {findings}, 95 % interval over {means[0]['interval']}", fontsize=9.5)
    return figure


def _means(frame: pd.DataFrame) -> list[dict[str, Any]]:
    rows = frame[frame["finding"] == MEAN].to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _key(row: Mapping[Any, Any]) -> tuple[str, str]:
    return row["testing"], row["data_set"]


def _columns(means: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the data sets in order, each with one of its rows."""
    return {_key(row): row for row in means}


def _tested(row: Mapping[Any, Any]) -> str:
    return str(row["testing"]).capitalize()


def _counted(row: Mapping[str, Any]) -> str:
    return f"{row['test_images']:,} images of {row['test_patients']:,} patients"


def _described(row: Mapping[str, Any]) -> str:
    """Say what a data set is: its name, kind, split, images and patients of the test side."""
    return f"{row['data_set']} ({KINDS[row['kind']]}, split {row['split']}, test side, {_counted(row)})"


def _title(row: Mapping[str, Any], separator: str) -> str:
    kind = KINDS[row["kind"]]
    name = kind if row["testing"] == INTERNAL and row["kind"] == "phantom" else f"{row['data_set']} ({kind})"
    lines = (_tested(row), name, f"split {row['split']}, test side", f"{row['test_images']:,} images",
             f"{row['test_patients']:,} patients")  # fmt: skip
    return separator.join(lines)


def _text(row: Mapping[str, Any]) -> str:
    cell = estimate(row["auroc"], row["auroc_low"], row["auroc_high"])
    return f"{cell.text}\n{cell.detail}"


def _findings(count: int) -> str:
    return f"{count} shared finding{'' if count == 1 else 's'}"


def _over(frames: Frames) -> str:
    """Say over how many findings the means are, and how many findings the data sets share."""
    frame = frames[EVALUATIONS]
    shared = frame.loc[frame["finding"] != MEAN, "finding"].nunique()
    return (
        f"Every mean is over the same {_findings(frame['findings_in_mean'].iloc[0])}, in internal testing too: of the "
        f"{shared} that all data sets share, those with enough positives in each."
    )


def _verdict(row: Mapping[str, Any]) -> str:
    if row["left_out"]:
        return DASH
    return "not tested: one training" if row["interval"] == OVER_PATIENTS else "yes" if row["shown"] else "no"

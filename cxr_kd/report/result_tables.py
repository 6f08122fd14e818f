"""Tables of the results of a study: AUROC of each network and finding, effect of distillation, cost, runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.report.style import METRIC_NAMES, ArmStyle, finding_name
from cxr_kd.report.tables import (
    DASH,
    FEW,
    FEW_POSITIVES,
    Cell,
    Table,
    duration,
    estimate,
    few_note,
    positives_cell,
    records,
    thread_count,
)

Styles = Mapping[str, ArmStyle]


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

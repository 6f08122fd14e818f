"""Published results beside those of this study, each in the column of the split that it was measured on.

Results on phantoms are never put into a table with published results.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd
import yaml

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.report.style import ArmStyle, finding_name
from cxr_kd.report.tables import DASH, Cell, Table, estimate, records, thread_count

Styles = Mapping[str, ArmStyle]
SPLITS = {"official": "Official split", "random-70-10-20": "Random 70/10/20"}  # this study's names of published splits
HEADS = {"not stated": "Split not stated", "random 70/10/20": "Random 70/10/20", "official": "Official split"}
IMITATED = {"phantom": "chestxray14"}  # the data set that the phantoms imitate


@cache
def published() -> dict[str, Any]:
    """Return the content of `published.yaml`."""
    return yaml.safe_load(files("cxr_kd.report").joinpath("published.yaml").read_text(encoding="utf-8"))


def benchmark(data: Mapping[str, Any]) -> str:
    """Return the data set whose published results are printed: the study's own, or the one that phantoms imitate."""
    return IMITATED.get(data["dataset"], data["dataset"])


def published_tables(evaluations: pd.DataFrame, data: Mapping[str, Any], styles: Styles) -> list[Table]:
    """Return the published results on the study's data set as tables; empty if there are none."""
    tables = []
    if benchmark(data) in published()["mean_auroc"]:
        tables.append(mean_table(evaluations, data, styles))
    if benchmark(data) in published()["paper"]["finding_auroc"]:
        tables.append(paper_finding_table(evaluations, data, styles))
    return tables


def published_notes(data: Mapping[str, Any]) -> list[str]:
    """Return what a reader must know about the published results before comparing them."""
    name, paper = benchmark(data), published()["paper"]
    if name not in published()["mean_auroc"]:
        return ["The paper has no results on this data set."]
    notes = [paper["split_note"], paper["level_note"].get(name)]
    if on_phantoms(data):
        notes.append(
            "The AUROCs of this study are from phantoms and cannot be compared with these, so they are not here."
        )
    return [note for note in notes if note]


def traps(data: Mapping[str, Any]) -> list[str]:
    """Return common mistakes in comparing results on the study's data set."""
    found: list[str] = published()["traps"].get(benchmark(data), [])
    return found


def on_phantoms(data: Mapping[str, Any]) -> bool:
    """Say whether a study's images are phantoms."""
    return bool(data["kind"] == "phantom")


def own_column(data: Mapping[str, Any]) -> str:
    """Return the column of this study's results: a published split's only for the full data set with that split."""
    if data["dataset"] == "chestxray14" and data["kind"] == "full" and data["split"]["name"] in SPLITS:
        return SPLITS[data["split"]["name"]]
    name = data["source"].get("name", data["dataset"])
    what = {"phantom": "phantoms", "mini": "a miniature", "full": name, "own": "own data"}[data["kind"]]
    return f"This study: {what}"


def mean_table(evaluations: pd.DataFrame, data: Mapping[str, Any], styles: Styles) -> Table:
    """Return one row per published network, and per arm of this study unless on phantoms; one column per split."""
    entries = published()["mean_auroc"][benchmark(data)]
    used = {entry["split"] for entry in entries}
    own, heads = own_column(data), [head for split, head in HEADS.items() if split in used]
    arms = {} if on_phantoms(data) else styles
    heads = heads if own in heads or not arms else [own, *heads]
    means = records(evaluations[evaluations["finding"] == MEAN], "arm")

    def line(first: Cell, source: str, column: str, value: Cell) -> list[Cell | str]:
        return [first, *(value if head == column else "" for head in heads), source]

    rows = []
    for arm, style in arms.items():
        row = means[arm]
        value = estimate(row["auroc"], row["auroc_low"], row["auroc_high"])
        rows.append(line(Cell(style.label, style=style), "this study", own, value))
    for entry in entries:
        rows.append(line(Cell(entry["what"]), entry["source"], HEADS[entry["split"]], Cell(_printed(entry["auroc"]))))
    note = "The published results have no intervals. Compare only within a column, because splits differ in difficulty."
    return Table("Mean AUROC, published results by split", ("Network", *heads, "Source"), rows, note,
                 frozenset({0, len(heads) + 1}))  # fmt: skip


def paper_finding_table(evaluations: pd.DataFrame, data: Mapping[str, Any], styles: Styles) -> Table:
    """Return the paper's AUROC of single findings, beside this study's distilled students unless on phantoms."""
    paper = published()["paper"]
    distilled = {} if on_phantoms(data) else _distilled(styles)
    ours = {arm: records(evaluations[evaluations["arm"] == arm], "finding") for arm in distilled}

    def own(arm: str, finding: str) -> Cell:
        row = ours[arm].get(finding)
        return Cell(DASH) if row is None else estimate(row["auroc"], row["auroc_low"], row["auroc_high"])

    lines = [
        [finding_name(finding), f"{value:.3f}", *(own(arm, finding) for arm in distilled)]
        for finding, value in paper["finding_auroc"][benchmark(data)].items()
    ]
    columns = [f"{own_column(data)}: {style.label}" for style in distilled.values()]
    heads = ("Finding", f"The paper: {paper['student']} (split {paper['split']})", *columns)
    return Table(
        "AUROC of single findings", heads, lines, f"Source of the paper's results: {paper['finding_auroc_source']}."
    )


def localisation_table(data: Mapping[str, Any]) -> Table | None:
    """Return published results of maps on boxes; only for the whole data set on the official split, else None."""
    entries = published()["localisation"].get(data["dataset"], [])
    if not entries or data["kind"] != "full" or data["split"]["name"] != "official":
        return None
    rows = [[entry["what"], entry["measure"], f"{entry['value']:g}", entry["source"]] for entry in entries]
    note = "Each is on the data set's boxes. They differ in method and grid, and have no intervals."
    columns = ("Network", "Measure", "Published", "Source")
    return Table("Maps against boxes, published results", columns, rows, note, frozenset({0, 1, 3}))


def paper_cost_table(cost: pd.DataFrame, styles: Styles) -> Table:
    """Return the cost of the paper's student beside that of this study's distilled students.

    `cost`: device.csv with the column `arm`.
    """
    paper, by_arm = published()["paper"], records(cost, "arm")
    arms = [arm for arm in _distilled(styles) if arm in by_arm]
    quantities = (
        ("Parameters (million)", "parameters", 1e6),
        ("Multiply-accumulates (10\N{SUPERSCRIPT NINE})", "macs", 1e9),
        ("File (MB)", "file_mb", 1),
    )
    lines = [
        [name, f"{paper['cost'][key] / unit:.3g}", *(f"{by_arm[arm][key] / unit:.3g}" for arm in arms)]
        for name, key, unit in quantities
    ]
    for device, latency in paper["latency_ms"].items():
        lines.append([f"Latency on {device} (ms)", f"{latency:g}", *("" for _ in arms)])
    first = cost.to_dict("records")[0]
    latencies = [f"{by_arm[arm]['latency_ms_median']:.1f}" for arm in arms]
    lines.append([f"Latency on {first['cpu']}, {thread_count(first['threads'])} (ms)", "", *latencies])
    columns = [f"This study: {styles[arm].label}, {int(first['image_size'])} px" for arm in arms]
    heads = ("Quantity", f"The paper: {paper['student']}, {paper['image_size']} px", *columns)
    return Table("Cost beside the paper's", heads, lines, "Latencies on different processors cannot be compared.")


def _printed(auroc: float) -> str:
    """Return a published AUROC with the digits that it was published with, at least three."""
    return f"{auroc:.3f}" if round(auroc, 3) == auroc else f"{auroc:.4f}"


def _distilled(styles: Styles) -> dict[str, ArmStyle]:
    return {arm: style for arm, style in styles.items() if style.teachers}

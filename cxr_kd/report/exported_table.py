"""The tables of exported files: do they decide as their networks do, how fast are they, and how small may they be?"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from cxr_kd.report.style import ArmStyle
from cxr_kd.report.tables import DASH, MINUS, Cell, Table, estimate, thread_count

FORMS = {
    "float32": "float32",
    "float16": "weights in 16 bits",
    "int8_weights": "weights in 8 bits",
    "int8": "8-bit arithmetic",
}
ENDS = ("", "_low", "_high")
COLUMNS = (
    "Network",
    "File",
    "Runtime",
    "MB",
    "Mean AUROC",
    "Change from PyTorch (95 % interval)",
    "Largest difference of a logit",
    "Lowest rank correlation of maps",
    "Calls that differ",
    "Latency with all maps (ms; median, quartiles)",
    "PyTorch takes, without maps (times as long)",
)
CANDIDATE_COLUMNS = (
    "Network",
    "File",
    "MB",
    "Loss of mean AUROC",
    "Largest loss of a finding",
    "Cosine of maps",
    "Float32 takes (times as long)",
    "Verdict",
)


def form_of(row: Mapping[Hashable, Any]) -> str:
    """Return how a file stores and computes, as text: `weights in 8 bits`."""
    return FORMS[row["precision"]] + (f" ({row['way']})" if row["way"] else "")


def exported_table(exported: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> Table:
    """Return size, differences from the network, and latency of each arm's exported files in each runtime.

    `exported`: exported.csv with the column `arm`.
    """
    rows = [
        [
            Cell(style.label, style=style),
            form_of(row),
            row["runtime"],
            f"{row['file_mb']:.1f}",
            DASH if pd.isna(row["auroc_exported"]) else f"{row['auroc_exported']:.3f}",
            estimate(*(row[f"auroc_change{end}"] for end in ENDS), signed=True),
            f"{row['logit_difference']:.1g}",
            DASH if pd.isna(row["map_correlation"]) else f"{row['map_correlation']:.3f}",
            f"{row['flipped']:,} of {row['decisions']:,}" if row["decisions"] else DASH,
            _range([row[f"latency_ms_{end}"] for end in ("median", "p25", "p75")], 1),
            _range([row[f"faster{end}"] for end in ENDS], 1),
        ]
        for style, row in _by_arm(exported, styles)
    ]
    first = exported.iloc[0]
    note = (
        f"First seed of each network; {int(first['images']):,} test images; {first['cpu']}, "
        f"{thread_count(first['threads'])}. A call is a finding of an image, at Youden's threshold on validation. Rank "
        "correlation of the file's and the network's map of one finding in one image: 1 is the same order of cells."
    )
    title = "The exported files, compared with their networks"
    return Table(title, COLUMNS, rows, note, text_columns=frozenset({0, 1, 2}))


def candidates_table(candidates: pd.DataFrame, styles: Mapping[str, ArmStyle], limits: str) -> Table:
    """Return what each candidate for a smaller file loses on validation images, and which one was chosen.

    `candidates`: smaller.csv with the column `arm`. `limits`: the study's limits as text.
    """
    rows = [
        [
            Cell(style.label, style=style),
            form_of(row),
            f"{row['file_mb']:.1f}",
            _loss(row["auroc_loss"]),
            Cell(_loss(row["finding_loss"]), f"({row['finding']})" if row["finding"] else ""),
            DASH if pd.isna(row["map_cosine"]) else f"{row['map_cosine']:.3f}",
            _range([row[f"faster{end}"] for end in ENDS], 2),
            "chosen" if row["chosen"] else ("refused" if row["refused"] else ""),
        ]
        for style, row in _by_arm(candidates, styles)
    ]
    note = (
        f"Against the file in float32, on validation images, in ONNX Runtime with one thread. Refused: {limits}. Of "
        "the others, the fastest is chosen if it is faster than float32 by a tenth; if none is, the smallest, for its "
        "size only. "
        "Weights in 16 or 8 bits are turned into float32 when the file is loaded. With 8-bit arithmetic, convolutions "
        "compute in 8 bits; how their ranges were found, and which layers stay in float32, is in brackets. "
        + _what_was_needed(candidates)
    )
    last = len(CANDIDATE_COLUMNS) - 1
    text, wrapped = frozenset({0, 1, last}), frozenset({1})
    return Table("Smaller files", CANDIDATE_COLUMNS, rows, note, text_columns=text, wrapped_columns=wrapped)


def _by_arm(frame: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> Iterator[tuple[ArmStyle, dict[Hashable, Any]]]:
    for arm, style in styles.items():
        for row in frame[frame["arm"] == arm].to_dict(orient="records"):
            yield style, row


def _what_was_needed(candidates: pd.DataFrame) -> str:
    without = [arm for arm, rows in candidates.groupby("arm", sort=False) if not rows["chosen"].any()]
    if without:
        return (
            f"No candidate was within the limits for {', '.join(map(str, without))}, which only training could change."
        )
    return "Each student has a file within the limits, so no further training with simulated 8 bits was needed."


def _range(values: Sequence[float], digits: int) -> Cell:
    middle, low, high = (f"{value:.{digits}f}" for value in values)
    return Cell(middle, f"({low}{DASH}{high})")


def _loss(value: float) -> str:
    if pd.isna(value):
        return DASH
    return f"{round(value, 3) + 0.0:.3f}".replace("-", MINUS)  # + 0.0: no minus before a zero

"""The table of exported files: do they decide as their networks do, and how fast are they?"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from cxr_kd.report.style import ArmStyle
from cxr_kd.report.tables import DASH, Cell, Table, records, thread_count

COLUMNS = (
    "Network",
    "File (MB)",
    "Mean AUROC (PyTorch's)",
    "Largest difference of a logit",
    "Lowest rank correlation of maps",
    "Calls that differ",
    "Latency with all maps (ms; median, quartiles)",
    "PyTorch takes, without maps (times as long)",
)


def exported_table(exported: pd.DataFrame, styles: Mapping[str, ArmStyle]) -> Table:
    """Return size, differences from the network, and latency of each arm's exported file.

    `exported`: exported.csv with the column `arm`.
    """
    by_arm = records(exported, "arm")
    rows = []
    for arm, style in styles.items():
        if arm not in by_arm:
            continue
        row = by_arm[arm]
        quartiles = f"({row['latency_ms_p25']:.1f}{DASH}{row['latency_ms_p75']:.1f})"
        same = Cell(f"{row['auroc_exported']:.3f}", f"({row['auroc']:.3f})")
        rows.append(
            [
                Cell(style.label, style=style),
                f"{row['file_mb']:.1f}",
                DASH if pd.isna(row["auroc_exported"]) else same,
                f"{row['logit_difference']:.1g}",
                DASH if pd.isna(row["map_correlation"]) else f"{row['map_correlation']:.4f}",
                f"{row['flipped']:,} of {row['decisions']:,}" if row["decisions"] else DASH,
                Cell(f"{row['latency_ms_median']:.1f}", quartiles),
                Cell(f"{row['faster']:.1f}", f"({row['faster_low']:.1f}{DASH}{row['faster_high']:.1f})"),
            ]
        )
    first = exported.iloc[0]
    note = (
        f"First seed of each network; {int(first['images']):,} test images; {first['precision']}, {first['runtime']}, "
        f"{first['cpu']}, {thread_count(first['threads'])}. A call is a finding of an image, at Youden's threshold on "
        "validation. Rank correlation of the file's and the network's map of one finding in one image: 1 is the "
        "same order of cells."
    )
    return Table("The exported files, compared with their networks", COLUMNS, rows, note)

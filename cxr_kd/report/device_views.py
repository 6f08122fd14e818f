"""What notebook 07_device shows: the report's tables of the cost, of the exported files and of refused images."""

from __future__ import annotations

import pandas as pd

from cxr_kd.report import exported_table, result_tables, tables
from cxr_kd.report.lesson import say
from cxr_kd.report.style import arm_styles
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms

TEXTS = ("way", "finding", "refused")  # columns that are empty where there is nothing to say


def cost_table(study: Study, cost: pd.DataFrame) -> tables.Table:
    """Return parameters, multiply-accumulates, file size and latency of each network; `cost`: device.csv."""
    return result_tables.cost_table(_with_arms(study, cost), arm_styles(study))


def latency_ratios(study: Study, cost: pd.DataFrame) -> tables.Table:
    """Return how many times as long each architecture takes as the smallest one, with its 95 % interval over rounds."""
    styles, frame = arm_styles(study), _with_arms(study, cost).drop_duplicates("network")
    rows = frame.sort_values("parameters").to_dict("records")
    fewest = rows[0]
    column = f"latency_ratio:{fewest['network']}"
    cells = [[styles[row["arm"]].network, tables.estimate(*(row[name] for name in _with_ends(column)))] for row in rows]
    smallest = styles[fewest["arm"]].network
    note = "The median of the ratios within each round of measurements: a slow moment of the machine slows both."
    return tables.Table(f"Latency, as a multiple of that of {smallest}", ("Network", "Ratio"), cells, note)


def exported(study: Study, frame: pd.DataFrame) -> tables.Table:
    """Return what each exported file changes and how long it takes; `frame`: exported.csv."""
    return exported_table.exported_table(_with_arms(study, frame), arm_styles(study))


def smaller(study: Study, frame: pd.DataFrame) -> tables.Table | None:
    """Return what each candidate for a smaller file loses; `frame`: smaller.csv; None if nothing was tried."""
    if frame.empty:
        return None
    device = study.device
    limits = (
        f"a loss above {device.auroc_loss:g} of the mean AUROC or {device.finding_loss:g} of any finding's, or a mean "
        f"cosine of maps below {device.map_cosine:g}"
    )
    return exported_table.candidates_table(_with_arms(study, frame), arm_styles(study), limits)


def why_refused(frame: pd.DataFrame) -> object:
    """Return a sentence that names the refused candidates' reasons; None if none was refused. `frame`: smaller.csv."""
    reasons = sorted({str(reason) for reason in frame.get("refused", ()) if isinstance(reason, str) and reason})
    return say("Reasons for refusing a candidate: " + "; ".join(reasons) + ".") if reasons else None


def _with_ends(column: str) -> list[str]:
    start, network = column.split(":")
    return [f"{start}{end}:{network}" for end in ("", "_low", "_high")]


def _with_arms(study: Study, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with the column `arm`; missing texts are empty."""
    arm_of_run = {run.name: arm for arm, runs in all_arms(study).items() for run in runs}
    texts = {column: frame[column].astype(object).fillna("") for column in TEXTS if column in frame}
    return frame.assign(arm=frame["run"].map(arm_of_run), **texts)

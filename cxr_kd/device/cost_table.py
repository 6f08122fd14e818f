"""The cost of each network: parameters, multiply-accumulates, file size and latency."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cxr_kd.device.latency import cpu_name, latencies_ms, latency_ratio
from cxr_kd.files import write_csv
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.cost import file_size_mb, macs, parameters
from cxr_kd.study import Study

COLUMNS = (
    "run",
    "network",
    "image_size",
    "parameters",
    "macs",
    "file_mb",
    "latency_ms_median",
    "latency_ms_p25",
    "latency_ms_p75",
    "latency_ms_iqr",
    "repeats",
    "threads",
    "cpu",
)


def write_cost_table(study: Study, models: Mapping[str, CxrClassifier]) -> pd.DataFrame:
    """Write `device.csv` of a study and return it: `cost_table` with as many rounds as the study says."""
    cost = cost_table(models, repeats=study.device.latency_repeats)
    write_csv(study.runs_folder / "device.csv", cost)
    return cost


def cost_table(models: Mapping[str, CxrClassifier], *, repeats: int = 50, threads: int = 1) -> pd.DataFrame:
    """Return one row per entry of `models` (name of a run -> its network), measured at the networks' image size.

    Each network name is measured once, and all its runs have the same values: the time for one image depends on the
    architecture, not on the weights.

    Columns: those of COLUMNS, then three for each network N of the table, which compare N with the row's own network:

    - `latency_ratio:N`: latency of N divided by the latency of this row's network (above 1: N is slower)
    - `latency_ratio_low:N`, `latency_ratio_high:N`: 95 % interval of this ratio over the rounds (`latency_ratio`)

    So in a student's row, `latency_ratio:densenet161` says how many times the student's latency DenseNet-161 has; in
    the row of DenseNet-161 itself it is 1. file_mb is in MB of 2**20 bytes. latency_ms_* are median, quartiles and
    their distance over `repeats` rounds of one image each, on this CPU with `threads` threads. Raises ValueError for
    networks of several image sizes.
    """
    if len(sizes := {model.image_size for model in models.values()}) > 1:
        raise ValueError(f"the networks were built for several image sizes {sorted(sizes)}; compare them at one")
    networks = {model.name: model for model in models.values()}
    milliseconds = latencies_ms(networks, repeats=repeats, threads=threads)
    measured = {
        name: {
            "network": name,
            "image_size": model.image_size,
            "parameters": parameters(model),
            "macs": macs(model),
            "file_mb": file_size_mb(model),
            **_percentiles(milliseconds[name]),
            "repeats": repeats,
            "threads": threads,
            "cpu": cpu_name(),
            **_ratios(milliseconds, name),
        }
        for name, model in networks.items()
    }
    return pd.DataFrame([{"run": run, **measured[model.name]} for run, model in models.items()])


def _percentiles(milliseconds: np.ndarray) -> dict[str, float]:
    p25, median, p75 = (float(value) for value in np.percentile(milliseconds, (25, 50, 75)))
    return {
        "latency_ms_median": median,
        "latency_ms_p25": p25,
        "latency_ms_p75": p75,
        "latency_ms_iqr": p75 - p25,
    }


def _ratios(milliseconds: Mapping[str, np.ndarray], own: str) -> dict[str, float]:
    """The ratio columns of one row: every network against `own`."""
    columns = {}
    for other, of_other in milliseconds.items():
        for end, value in zip(("", "_low", "_high"), latency_ratio(of_other, milliseconds[own]), strict=True):
            columns[f"latency_ratio{end}:{other}"] = value
    return columns

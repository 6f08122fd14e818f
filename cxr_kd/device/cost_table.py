"""One row a model: what it costs to keep and to run."""

from collections.abc import Mapping

import pandas as pd

from cxr_kd.device.latency import latency_ms
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.models.cost import file_size_mb, macs, parameters

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


def cost_table(
    models: Mapping[str, CxrClassifier], image_size: int | None = None, *, repeats: int = 50, threads: int = 1
) -> pd.DataFrame:
    """Measure each of `models` (a run's name to its network) at `image_size` px (each model's own); see COLUMNS.

    file_mb is in MB of 2**20 bytes; latency_ms is over `repeats` single images, on this CPU.
    """
    rows = []
    for label, model in models.items():
        size = image_size or model.image_size
        latency = latency_ms(model, size, repeats=repeats, threads=threads)
        rows.append(
            {
                "run": label,
                "network": model.name,
                "image_size": size,
                "parameters": parameters(model),
                "macs": macs(model, size),
                "file_mb": file_size_mb(model),
                "latency_ms_median": latency.median,
                "latency_ms_p25": latency.p25,
                "latency_ms_p75": latency.p75,
                "latency_ms_iqr": latency.iqr,
                "repeats": latency.repeats,
                "threads": latency.threads,
                "cpu": latency.cpu,
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))

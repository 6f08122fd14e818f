"""The figure of AUROC against latency, at the head of the report."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.report.figures import Styles, legend
from cxr_kd.report.style import StudyFigure, styled
from cxr_kd.report.tables import thread_count

REFERENCE_RUNTIME = "ONNX Runtime"


@styled
def cost_against_auroc(
    cost: pd.DataFrame, exported: pd.DataFrame, evaluations: pd.DataFrame, styles: Styles, *, narrow: bool = False
) -> Figure:
    """Draw mean AUROC against latency, of each network in PyTorch and of its exported files in ONNX Runtime.

    `cost`: one row per arm with latency_ms_median, _p25, _p75 and threads. `exported`: exported.csv with the column
    `arm`; a file's AUROC is the network's plus `auroc_change`. Latency has a logarithmic axis, because its ratios
    matter.
    """
    latencies = cost.set_index("arm")[["latency_ms_median", "latency_ms_p25", "latency_ms_p75"]]
    rows = evaluations[evaluations["finding"] == MEAN].set_index("arm").join(latencies, how="inner")
    shown = [style for arm, style in styles.items() if arm in rows.index]
    figure = StudyFigure(figsize=(4.6 if narrow else 6, 4.3), layout="constrained")
    axes = figure.subplots()
    for style in shown:
        row = rows.loc[style.arm]
        latency, score = row["latency_ms_median"], row["auroc"]
        axes.errorbar(
            latency, score, color=style.colour, marker=style.marker, markersize=8, elinewidth=1.2, alpha=0.9,
            xerr=[[latency - row["latency_ms_p25"]], [row["latency_ms_p75"] - latency]],
            yerr=[[score - row["auroc_low"]], [row["auroc_high"] - score]],
        )  # fmt: skip
        files = exported[(exported["arm"] == style.arm) & exported["runtime"].str.startswith(REFERENCE_RUNTIME)]
        times, scores = files["latency_ms_median"], score + files["auroc_change"]
        axes.plot([latency, *times], [score, *scores], color=style.colour, linewidth=0.8, linestyle=":")
        for time, value, precision in zip(times, scores, files["precision"], strict=True):
            axes.plot(time, value, style.marker, color=style.colour, markersize=5.5,
                      markerfacecolor=style.colour if precision == "float32" else "white")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    threads = thread_count(cost["threads"].iloc[0])
    axes.set_xlabel(f"latency of one image on this processor, {threads} (ms)")
    axes.set_ylabel("mean AUROC (95 % interval)")
    axes.grid()
    legend(figure, shown, columns=1 if narrow else 2)
    return figure

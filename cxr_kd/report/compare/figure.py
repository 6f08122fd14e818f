"""The figures of several studies side by side: one row per network, grouped by study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cxr_kd.evaluation.between_studies import Network
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.report.style import INK, MUTED, StudyFigure, name_rows, style_of, styled
from cxr_kd.report.tables import DASH, estimate, records
from cxr_kd.report.wording import listed


@styled
def mean_auroc_by_study(evaluations: pd.DataFrame, networks: Sequence[Network]) -> Figure:
    """Draw the mean AUROC of each network with its 95 % interval."""
    means = records(evaluations[evaluations["finding"] == MEAN], "arm")
    values = {name: (row["auroc"], row["auroc_low"], row["auroc_high"], True) for name, row in means.items()}
    side = evaluations["side"].iloc[0]
    return _drawn(networks, values, f"mean AUROC over findings on the {side} side, 95 % interval{_over(evaluations)}")


@styled
def differences_by_study(comparisons: pd.DataFrame, networks: Sequence[Network], reference: Network) -> Figure:
    """Draw the mean AUROC of each network minus the reference's; a marker is filled if the difference is shown."""
    means = records(comparisons[comparisons["finding"] == MEAN], "second")
    values = {name: (row["auroc_difference"], row["auroc_low"], row["auroc_high"], bool(row["shown"]))
              for name, row in means.items()}  # fmt: skip
    figure = _drawn(
        [each for each in networks if each is not reference],
        values,
        f"mean AUROC, network minus reference, 95 % interval of the paired difference{_over(comparisons)}",
        signed=True,
    )
    figure.axes[0].axvline(0, color=INK, linewidth=0.9)
    return figure


def grouped(networks: Sequence[Network]) -> dict[str, list[Network]]:
    """Return the networks by the studies that have them, `demo` or `demo and mine`, in the order of their first one."""
    found: dict[str, list[Network]] = {}
    for network in networks:
        found.setdefault(listed(network.studies), []).append(network)
    return found


def _over(frame: pd.DataFrame) -> str:
    """What the intervals cover, for a label; "" if they do not all cover the same."""
    covered = set(frame["interval"])
    return f" over {covered.pop()}" if len(covered) == 1 else ""


def _drawn(
    networks: Sequence[Network],
    values: Mapping[str, tuple[float, float, float, bool]],
    label: str,
    *,
    signed: bool = False,
) -> Figure:
    """One row per network under the name of its studies; `values`: name -> value, low, high, whether it is filled."""
    lines: list[tuple[str, Any]] = []
    for studies, members in grouped(networks).items():
        lines += [(studies, None), *((style_of(each.arm, each.runs[0]).label, each) for each in members)]
    figure = StudyFigure(figsize=(8.6, 0.9 + 0.3 * len(lines)), layout="constrained")
    axes = figure.subplots()
    name_rows(axes, lines)
    for position, (_, network) in enumerate(lines):
        if network is None:
            continue
        text = DASH
        if network.name in values:
            (value, low, high, filled), style = values[network.name], style_of(network.arm, network.runs[0])
            axes.hlines(position, low, high, color=style.colour, linewidth=2)
            axes.plot(value, position, style.marker, color=style.colour, markersize=6.5,
                      markerfacecolor=style.colour if filled else "white")  # fmt: skip
            text = estimate(value, low, high, signed=signed).text
        axes.annotate(text, (1, position), (8, 0), ("axes fraction", "data"), "offset points", va="center",
                      fontweight="bold", color=MUTED if text == DASH else INK, annotation_clip=False)  # fmt: skip
    axes.set_xlabel(label)
    return figure

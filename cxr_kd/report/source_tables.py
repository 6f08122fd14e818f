"""What the report and notebook 04 say about the sources of the images: a sentence and two tables.

A source is the collection, hospital or scanner that an image is from. Source-only scores know nothing else of an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.study_results import SourceResults
from cxr_kd.report.style import ArmStyle
from cxr_kd.report.tables import DASH, Cell, Table, estimate, estimate_text, records

Styles = Mapping[str, ArmStyle]
MOST_SOURCES = 6  # columns of the tables; the CSV files hold all sources


@dataclass(frozen=True)
class SourceSection:
    """The sentence for the top of the report, and the tables within each source (the second only with a control)."""

    sentence: str
    tables: tuple[Table, ...]


def source_section(
    data: Mapping[str, Any],
    evaluations: pd.DataFrame,
    comparisons: pd.DataFrame,
    results: SourceResults,
    styles: Styles,
    headline_source: str | None = None,
) -> SourceSection:
    """Return what to say about the sources of a study's images.

    `data` is the data card; `evaluations` and `comparisons` are over all images, `results` within each source.
    `headline_source` comes first in the tables.
    """
    columns = _columns(data, results.evaluations, headline_source)
    only = results.source_only[results.source_only["finding"] == MEAN].iloc[0]
    within = _within_table(data, evaluations, only, results.evaluations, styles, columns)
    tables = [within] if comparisons.empty else [within, _difference_table(comparisons, results, styles, columns)]
    return SourceSection(_sentence(only, headline_source), tuple(tables))


def _sentence(only: pd.Series, headline_source: str | None) -> str:
    """Say whether the source gives the labels away, with the mean AUROC of the source-only scores; "" without one."""
    if only["left_out"]:
        return ""
    reached = estimate_text(only["auroc"], only["auroc_low"], only["auroc_high"])
    about = f" The figures at the top are those of source {headline_source}." if headline_source else ""
    if only["auroc_low"] > 0.5:
        return (
            "The source of an image (the collection, hospital or scanner that it is from) goes with its labels: scores "
            f"that know the source, and nothing else of the image, reach a mean AUROC of {reached} over all test "
            "images. So an AUROC over all images misleads: part of it can come from recognising the source instead of "
            f"the disease. Read the AUROC within each source, where the source is of no use.{about}"
        )
    return (
        "The images have several sources, but these test images do not show that the source goes with the labels: "
        f"scores that know only the source reach a mean AUROC of {reached}, and 0.5 is chance.{about}"
    )


def _columns(data: Mapping[str, Any], evaluations: pd.DataFrame, first: str | None) -> dict[str, str]:
    """Return source -> head of its column, for the largest sources in which a finding can be scored."""
    one_arm = evaluations[(evaluations["arm"] == evaluations["arm"].iloc[0]) & (evaluations["left_out"] == "")]
    findings = one_arm[one_arm["finding"] != MEAN].groupby("source").size()
    images = {source: sides["test"]["images"] for source, sides in data["image_sources"].items()}
    order = sorted(findings.index, key=lambda source: (source != first, -images[source]))[:MOST_SOURCES]
    return {s: f"Within {s} ({_some(images[s], 'image')}, {_some(int(findings[s]), 'finding')})" for s in order}


def _within_table(
    data: Mapping[str, Any],
    evaluations: pd.DataFrame,
    only: pd.Series,
    by_source: pd.DataFrame,
    styles: Styles,
    columns: Mapping[str, str],
) -> Table:
    """Return one row per arm and one for the source-only scores: mean AUROC over all images and within each source."""
    pooled = records(evaluations[evaluations["finding"] == MEAN], "arm")
    means = _means(by_source, "arm", columns)
    rows = [
        [Cell(style.label, style=style), *(_auroc(row[arm]) for row in (pooled, *means.values()))]
        for arm, style in styles.items()
    ]
    rows.append([Cell("Source only"), _auroc(dict(only)), *(Cell("0.500", "by construction") for _ in columns)])
    scored = evaluations[(evaluations["finding"] != MEAN) & (evaluations["left_out"] == "")]["finding"].nunique()
    everywhere = f"All images ({_some(data['split']['sides']['test']['images'], 'image')}, {_some(scored, 'finding')})"
    note = (
        "A mean within a source is over the findings with enough positive and negative images there, so it is over "
        "other findings than the mean over all images. Source only: the score of a finding is its rate among the "
        f"training images of the same source. {_left_out(data, by_source, columns)}"
    )
    return Table("Mean AUROC within each source", ("Network", everywhere, *columns.values()), rows, note.strip())


def _difference_table(
    comparisons: pd.DataFrame, results: SourceResults, styles: Styles, columns: Mapping[str, str]
) -> Table:
    """Return one row per distilled student: paired difference from the same student alone, over all and within each."""
    pooled = records(comparisons[comparisons["finding"] == MEAN], "second")
    means = _means(results.comparisons, "second", columns)
    rows = [
        [Cell(styles[arm].label, style=styles[arm]), *(_difference(row[arm]) for row in (pooled, *means.values()))]
        for arm in pooled
    ]
    heads = ("Student", "All images", *(f"Within {source}" for source in columns))
    return Table("Mean AUROC, distilled minus alone, paired, within each source", heads, rows)


def _left_out(data: Mapping[str, Any], by_source: pd.DataFrame, columns: Mapping[str, str]) -> str:
    """Name the sources that have no column, with the reason."""
    scored = set(by_source[(by_source["finding"] == MEAN) & (by_source["left_out"] == "")]["source"])
    images = {source: sides["test"]["images"] for source, sides in data["image_sources"].items()}
    few = ", ".join(f"{s} ({_some(images[s], 'test image')})" for s in images if s not in scored)
    more = ", ".join(sorted(scored - set(columns)))
    told = [f"Left out, because no finding has enough positives and negatives there: {few}."] if few else []
    told += [f"Smaller sources, in evaluations-by-source.csv only: {more}."] if more else []
    return " ".join(told)


def _means(frame: pd.DataFrame, key: str, columns: Mapping[str, str]) -> dict[str, dict[str, dict[str, Any]]]:
    means = frame[frame["finding"] == MEAN]
    return {source: records(means[means["source"] == source], key) for source in columns}


def _auroc(row: Mapping[str, Any]) -> Cell:
    return Cell(DASH) if row["left_out"] else estimate(row["auroc"], row["auroc_low"], row["auroc_high"])


def _difference(row: Mapping[str, Any]) -> Cell:
    return estimate(row["auroc_difference"], row["auroc_low"], row["auroc_high"], signed=True)


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"

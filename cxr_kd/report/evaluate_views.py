"""What notebook 04_evaluate shows of its tables; each function returns [] if there is nothing to show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.study_results import Results
from cxr_kd.report import across_views, figures, tables
from cxr_kd.report.comparison_tables import chance_table
from cxr_kd.report.headline import share_sentences
from cxr_kd.report.lesson import say
from cxr_kd.report.run_views import sources
from cxr_kd.report.style import ArmStyle
from cxr_kd.study import Study

Styles = Mapping[str, ArmStyle]


def distilled_minus_alone(results: Results, styles: Styles, seeds: Sequence[int]) -> list[Any]:
    """Return the figure of paired differences, a table, and what each student kept of its teacher's advantage.

    With several seeds, the table says what chance has to do with the differences.
    """
    comparisons = results.comparisons
    if comparisons.empty:
        return []
    table = chance_table(comparisons, styles, seeds) or _means(comparisons, styles)
    kept = [say(sentence) for sentence in share_sentences(results.kept_shares, styles)]
    return [figures.paired_differences(comparisons, styles), table, *kept]


def _means(comparisons: pd.DataFrame, styles: Styles) -> tables.Table:
    """One row per distilled student: its mean difference from the same student alone, with one training of each."""
    rows = [
        [
            tables.Cell(styles[row["second"]].label, style=styles[row["second"]]),
            tables.estimate(row["auroc_difference"], row["auroc_low"], row["auroc_high"], signed=True),
        ]
        for row in comparisons[comparisons["finding"] == MEAN].to_dict("records")
    ]
    note = "One training of each network: the interval covers other patients, not other trainings."
    return tables.Table("Distilled minus alone", ("Student", "Mean AUROC, distilled minus alone"), rows, note)


def within_sources(study: Study) -> list[Any]:
    """Return the sentence and the tables about the sources of the images."""
    section = sources(study)
    return [say(section.sentence), *section.tables] if section else []


def on_other_data(across: Mapping[str, pd.DataFrame] | None, styles: Styles) -> list[Any]:
    """Return the heat map and the tables of internal and external testing; `across`: what `write_across` returned."""
    if not across:
        return []
    shown = (
        across_views.matrix(across, styles),
        across_views.matrix_table(across, styles),
        across_views.change_table(across, styles),
        across_views.finding_table(across, styles),
    )
    return [each for each in shown if each is not None]

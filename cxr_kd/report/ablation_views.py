"""What notebook 05_ablation shows; each function returns [] for a study without an ablation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from cxr_kd.evaluation.ablation import write_ablation
from cxr_kd.report import ablation
from cxr_kd.report.ablation_figure import ablation_figure
from cxr_kd.study import Study

if TYPE_CHECKING:
    from cxr_kd.data.prepare import Prepared

Frames = tuple[pd.DataFrame, pd.DataFrame]


def measured(study: Study, data: Prepared) -> Frames | None:
    """Write and return the tables of `write_ablation`; None without an ablation. All runs must be trained."""
    if not study.ablation:
        return None
    from cxr_kd.explanation.agreement import agreement_of_students  # loads torch

    return write_ablation(study, agreement_of_students(study, data))


def differences(frames: Frames | None, study: Study) -> list[Any]:
    """Return the figure and the table of each arm's difference from the reference."""
    if frames is None:
        return []
    figure = ablation_figure(frames[0], ablation.variants_of(study), study.seeds)
    return [figure, ablation.difference_table(frames[0], study)]


def cost_and_agreement(frames: Frames | None, study: Study) -> list[Any]:
    """Return the tables of what each arm cost, and of its agreement with its teacher if a student has one."""
    if frames is None:
        return []
    tables = (ablation.cost_table(*frames, study), ablation.agreement_table(frames[1], study))
    return [table for table in tables if table is not None]

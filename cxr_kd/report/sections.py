"""The sections of the report: what the page's template shows in each, from the files of the study."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cxr_kd.evaluation.across import EVALUATIONS
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.report import (
    ablation,
    across_views,
    comparison_tables,
    data_figures,
    data_tables,
    detail_views,
    figures,
    result_tables,
)
from cxr_kd.report.ablation_figure import ablation_figure
from cxr_kd.report.cost_figure import cost_against_auroc
from cxr_kd.report.exported_table import candidates_table, exported_table
from cxr_kd.report.familiar_table import familiar_table
from cxr_kd.report.headline import cost_sentences, share_sentences
from cxr_kd.report.maps import views
from cxr_kd.report.maps.where_figure import where_figure
from cxr_kd.report.page_files import PageFigure, PageFiles
from cxr_kd.report.probability_tables import RAW_IS_NO_PROBABILITY
from cxr_kd.report.published import (
    localisation_table,
    paper_cost_table,
    published,
    published_notes,
    published_tables,
    traps,
)
from cxr_kd.report.source_tables import source_section
from cxr_kd.report.study_files import StudyFiles
from cxr_kd.report.style import ArmStyle, arm_labels
from cxr_kd.study import Study
from cxr_kd.study.arms import arms_of, main_arms


def data_section(files: StudyFiles, drawn: PageFiles) -> dict[str, Any]:
    """Return the figures and tables of the data."""
    data = files.data
    return {
        "prevalence_figure": drawn.add("prevalence", data_figures.prevalence(data), data_tables.prevalence_frame(data)),
        "prevalence_table": data_tables.prevalence_table(data),
        "people_table": data_tables.people_table(data),
        "darkness": data_tables.darkness(data),
        "marks": data_tables.marks(data),
        "pictures": [(_picture(drawn, file), caption) for file, caption in files.pictures],
        "split_table": data_tables.split_table(data),
        "left_out_table": data_tables.left_out_table(data),
        "source_table": data_tables.source_table(data),
        "quarantine_table": data_tables.quarantine_table(data),
        "shared_table": data_tables.shared_table(data),
    }


def results(study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle], drawn: PageFiles) -> dict[str, Any]:
    """Return the figures and tables of the results. A figure that would be empty is None."""
    evaluations, comparisons = files.evaluations, files.comparisons
    one_arm = evaluations[(evaluations["arm"] == next(iter(styles))) & (evaluations["finding"] != MEAN)]
    left_out = one_arm[one_arm["left_out"] != ""]
    scored, compared = len(left_out) < len(one_arm), not comparisons.empty
    first = study.evaluation.headline_source
    mean = forest = difference = None
    if scored:
        mean = _in_both_widths(drawn, "mean-auroc", evaluations, figures.mean_auroc, evaluations, styles)
        forest = _in_both_widths(drawn, "auroc", evaluations, figures.forest, evaluations, styles)
        if compared:
            draw = figures.paired_differences
            difference = _in_both_widths(drawn, "differences", comparisons, draw, comparisons, styles)
    histories = _histories(study, files)
    curves = _in_both_widths(drawn, "training", histories, figures.learning_curves, files.histories, styles)
    return {
        "sources": files.by_source
        and source_section(files.data, evaluations, comparisons, files.by_source, styles, first),
        "left_out_findings": list(zip(left_out["finding"], left_out["left_out"], strict=True)),
        "scored": scored,
        "mean_figure": mean,
        "forest_figure": forest,
        "difference_figure": difference,
        "results_table": result_tables.results_table(evaluations, comparisons, styles),
        "auroc_table": result_tables.finding_table(evaluations, styles),
        "precision_table": result_tables.finding_table(evaluations, styles, "average_precision"),
        "difference_table": result_tables.difference_table(comparisons, styles) if compared else None,
        "chance_table": comparison_tables.chance_table(comparisons, styles, study.seeds),
        "teacher_table": comparison_tables.teacher_table(files.with_teachers, styles, study.evaluation),
        "curves_figure": curves,
    }


def explanations(study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle], drawn: PageFiles) -> dict[str, Any]:
    """Return the maps of examples, and what all maps found: the answer, its figure and tables."""
    figure = None
    if views.measured(files.maps):
        values = files.maps["maps.csv"]
        figure = _in_both_widths(drawn, "where-networks-look", values, where_figure, files.maps, styles)
    found = views.tables(files.maps, styles, arm_labels(study))
    return {
        "explanations": [(_picture(drawn, file), caption) for file, caption in files.explanations],
        "maps_gains": views.gains(files.maps, study, arm_labels(study)),
        "maps_answer": views.answer(files.maps, styles),
        "maps_figure": figure,
        "maps_tables": found[:2] if figure else (),
        "maps_details": found[2:] if figure else found,
        "maps_published": localisation_table(files.data) if figure else None,
    }


def _in_both_widths(
    drawn: PageFiles, name: str, values: pd.DataFrame, draw: Callable[..., Figure], *shown: Any
) -> PageFigure:
    """A figure that `draw` draws from `shown`, with its form for narrow screens; `values` are those that it shows."""
    return drawn.add(name, draw(*shown), values, narrow=draw(*shown, narrow=True))


def _histories(study: Study, files: StudyFiles) -> pd.DataFrame:
    """The history of every training, with the columns arm and seed."""
    arms = arms_of(study)
    return pd.concat(
        [
            history.assign(arm=arm, seed=run.seed)
            for arm, histories in files.histories.items()
            for run, history in zip(arms[arm], histories, strict=True)
        ]
    )


def details(study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle], drawn: PageFiles) -> dict[str, Any]:
    """Return the figures and tables about probabilities, groups of patients, and the agreement with teachers."""
    frames, shown = files.details, {arm: styles[arm] for arm in main_arms(study)}
    figures = detail_views.curve_figures(frames, shown)
    groups = detail_views.subgroup_figures(frames, styles, files.data) if figures else []
    return {
        "styles_shown": len(styles),
        "curve_figures": [(_added(drawn, each, frames, crowded=True), each) for each in figures],
        "raw_is_no_probability": RAW_IS_NO_PROBABILITY,
        "arm_tables": [(style.label, detail_views.arm_tables(frames, style)) for style in styles.values()],
        "subgroup_figures": [(_added(drawn, each, frames), each) for each in groups],
        "group_tables": detail_views.group_tables(frames, styles, files.data),
        "agreement_tables": detail_views.agreement_tables(frames, styles, files.data),
    }


def _added(
    drawn: PageFiles, each: detail_views.Drawn, frames: detail_views.Frames, *, crowded: bool = False
) -> PageFigure:
    return drawn.add(each.name, each.figure, frames[each.file], crowded=crowded)


def ablation_results(study: Study, files: StudyFiles, drawn: PageFiles) -> dict[str, Any] | None:
    """Return what the ablation found; None if the study has none."""
    if not files.ablation:
        return None
    comparisons, arms = files.ablation
    variants = ablation.variants_of(study)
    return {
        "reference": ablation.settings_of(ablation.reference_run(study)),
        "network": next(iter(variants.values())).style.network,
        "answers": ablation.answers(comparisons, study, files.data["split"]["sides"]["test"]["patients"]),
        "figure": drawn.add("ablation", ablation_figure(comparisons, variants, study.seeds), comparisons),
        "differences": ablation.difference_table(comparisons, study),
        "findings": ablation.finding_table(comparisons, study),
        "cost": ablation.cost_table(comparisons, arms, study),
        "agreement": ablation.agreement_table(arms, study),
    }


def across(files: StudyFiles, styles: Mapping[str, ArmStyle], drawn: PageFiles) -> dict[str, Any] | None:
    """Return what external testing found; None if the study names no further data set."""
    if not (frames := files.across):
        return None
    figure = drawn.add("across-data-sets", across_views.matrix(frames, styles), frames[EVALUATIONS])
    return {"figure": figure, **across_views.section(frames, styles)}


def published_results(files: StudyFiles, styles: Mapping[str, ArmStyle]) -> dict[str, Any]:
    """Return the tables that set published results beside those of the study."""
    return {
        "published": published(),
        "published_tables": published_tables(files.evaluations, files.data, styles),
        "published_notes": published_notes(files.data),
        "traps": traps(files.data),
    }


def cost(
    study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle], drawn: PageFiles, scored: bool
) -> dict[str, Any]:
    """Return what each network costs, and the figure of AUROC against latency if any finding is `scored`."""
    first = {arm: runs[0] for arm, runs in arms_of(study).items()}
    # One sentence for each teacher of each network that it teaches, even if it teaches several arms of this network.
    taught = {(t.arm, run.network): (t.arm, arm) for arm, run in first.items() for t in study.teacher_runs(run)}
    figure = None
    if scored:
        means = files.evaluations[files.evaluations["finding"] == MEAN].drop(columns="run")
        shown = files.cost, files.exported, files.evaluations, styles
        figure = _in_both_widths(drawn, "cost", means.merge(files.cost, on="arm"), cost_against_auroc, *shown)
    return {
        "share_sentences": [] if study.evaluation.headline_source else share_sentences(files.kept_shares, styles),
        "cost_sentences": cost_sentences(files.cost, list(taught.values()), styles),
        "cost_figure": figure,
        "cost_table": result_tables.cost_table(files.cost, styles),
        "exported_table": exported_table(files.exported, styles),
        "smaller_table": candidates_table(files.smaller, styles, _limits(study)) if len(files.smaller) else None,
        "familiar_table": familiar_table(files.familiar),
        "paper_cost_table": paper_cost_table(files.cost, styles),
    }


def _limits(study: Study) -> str:
    device = study.device
    return (
        f"a loss above {device.auroc_loss:g} of the mean AUROC or {device.finding_loss:g} of any finding's, or a mean "
        f"cosine of maps below {device.map_cosine:g}"
    )


def _picture(drawn: PageFiles, file: Path) -> PageFigure:
    """Return a PNG file of the study as a picture of the page."""
    return drawn.picture(file.stem, file.read_bytes())

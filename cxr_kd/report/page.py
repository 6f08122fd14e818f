"""The report of a study: one HTML file that needs no other file and no network. Every number comes from a file.

Beside it are the page of reporting guidelines and the methods as text to paste.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.resampling import ALPHA
from cxr_kd.files import check_room, written_whole
from cxr_kd.report import ablation, comparison_tables, data_figures, data_tables, detail_views, figures, tables
from cxr_kd.report.ablation_figure import ablation_figure
from cxr_kd.report.guidelines.page import page_context
from cxr_kd.report.headline import FEW_PATIENTS, badge, cost_sentences, headline, side_tested
from cxr_kd.report.methods import methods_text
from cxr_kd.report.probability_tables import RAW_IS_NO_PROBABILITY
from cxr_kd.report.published import paper_cost_table, published, published_notes, published_tables, traps
from cxr_kd.report.rendering import rendered
from cxr_kd.report.source_tables import source_section
from cxr_kd.report.study_files import StudyFiles, headline_results, read_study_files
from cxr_kd.report.style import ArmStyle, arm_styles, to_png, to_svg
from cxr_kd.study import Study
from cxr_kd.study.arms import arms_of, main_arms

NOTEBOOKS = {
    "01_data": "The data",
    "02_teacher": "Training a teacher",
    "03_distill": "Training a student",
    "04_evaluate": "Comparing the networks",
    "05_ablation": "Which part of the distillation matters",
    "06_explain": "What the networks look at",
    "07_device": "What the networks cost",
    "08_report": "Writing this report",
}


def write_report(study: Study) -> Path:
    """Write `reports/STUDY/index.html` and return its path; beside it, `guidelines.html` and `methods.md`.

    Raises:
        ReportError: if a file of the study is missing or belongs to another split, data or settings.
        StorageError: if the disk has no room for the report or refuses it. An older report then stays as it is.
    """
    files, styles = read_study_files(study), arm_styles(study)
    context = {
        "study": study,
        "badge": badge(files.data),
        "data": files.data,
        "notebooks": _notebooks(study),
        **_data_section(files),
        **_top(study, files, styles),
        **(results := _results(study, files, styles)),
        **_details(study, files, styles),
        "ablation": _ablation(study, files),
        **_published(files, styles),
        **_cost(study, files, styles, results["scored"]),
        **_how_to_repeat(study, files),
        "methods": (methods := methods_text(study, files)),
    }
    html = rendered("report.html", context)
    guidelines = rendered("guidelines.html", {**context, **page_context(study, files, html)})
    pages = {"guidelines.html": guidelines, "methods.md": methods, "index.html": html}
    return _written(study.report_folder, pages)


def _written(folder: Path, pages: Mapping[str, str]) -> Path:
    """Write the pages into a folder and return the path of the last one."""
    check_room(folder, sum(len(text.encode()) for text in pages.values()), "the report")
    for name, text in pages.items():
        with written_whole(folder / name) as temporary:
            temporary.write_bytes(text.encode())
    return folder / list(pages)[-1]


def _top(study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle]) -> dict[str, Any]:
    """Headline and key figures: over all test images, or those of the study's headline source."""
    evaluations, comparisons = headline_results(study, files)
    source = study.evaluation.headline_source
    means = tables.records(evaluations[evaluations["finding"] == MEAN], "arm")
    keys = ("auroc", "auroc_low", "auroc_high")
    return {
        "few_patients": FEW_PATIENTS,
        "alpha": ALPHA,
        "intervals": evaluations["interval"].iloc[0],
        "headline": headline(comparisons, styles, files.data, source),
        "headline_source": source,
        "headline_side": side_tested(files.data, source),
        "key_figures": [(style, tables.estimate(*(means[arm][key] for key in keys))) for arm, style in styles.items()],
    }


def _results(study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle]) -> dict[str, Any]:
    """Figures and tables of the results. A figure that would be empty is None."""
    evaluations, comparisons = files.evaluations, files.comparisons
    one_arm = evaluations[(evaluations["arm"] == next(iter(styles))) & (evaluations["finding"] != MEAN)]
    left_out = one_arm[one_arm["left_out"] != ""]
    scored, compared = len(left_out) < len(one_arm), not comparisons.empty
    first = study.evaluation.headline_source
    return {
        "sources": files.by_source
        and source_section(files.data, evaluations, comparisons, files.by_source, styles, first),
        "left_out_findings": list(zip(left_out["finding"], left_out["left_out"], strict=True)),
        "scored": scored,
        "mean_figure": _drawn(figures.mean_auroc(evaluations, styles)) if scored else None,
        "forest_figure": _drawn(figures.forest(evaluations, styles)) if scored else None,
        "difference_figure": _drawn(figures.paired_differences(comparisons, styles)) if compared and scored else None,
        "results_table": tables.results_table(evaluations, comparisons, styles),
        "auroc_table": tables.finding_table(evaluations, styles),
        "precision_table": tables.finding_table(evaluations, styles, "average_precision"),
        "difference_table": tables.difference_table(comparisons, styles) if compared else None,
        "chance_table": comparison_tables.chance_table(comparisons, styles, study.seeds),
        "teacher_table": comparison_tables.teacher_table(files.with_teachers, styles, study.evaluation),
        "curves_figure": _drawn(figures.learning_curves(files.histories, styles)),
        "explanations": [(_picture(file), caption) for file, caption in files.explanations],
    }


def _details(study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle]) -> dict[str, Any]:
    """Figures and tables about probabilities, groups of patients, and the agreement with teachers."""
    frames, shown = files.details, {arm: styles[arm] for arm in main_arms(study)}
    figures = detail_views.curve_figures(frames, shown)
    groups = detail_views.subgroup_figures(frames, styles, files.data) if figures else []
    return {
        "styles_shown": len(styles),
        "curve_figures": [(_drawn_small(each.figure), each) for each in figures],
        "raw_is_no_probability": RAW_IS_NO_PROBABILITY,
        "arm_tables": [(style.label, detail_views.arm_tables(frames, style)) for style in styles.values()],
        "subgroup_figures": [(_drawn(each.figure), each) for each in groups],
        "group_tables": detail_views.group_tables(frames, styles, files.data),
        "agreement_tables": detail_views.agreement_tables(frames, styles, files.data),
    }


def _published(files: StudyFiles, styles: Mapping[str, ArmStyle]) -> dict[str, Any]:
    return {
        "published": published(),
        "published_tables": published_tables(files.evaluations, files.data, styles),
        "published_notes": published_notes(files.data),
        "traps": traps(files.data),
    }


def _cost(study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle], scored: bool) -> dict[str, Any]:
    first = {arm: runs[0] for arm, runs in arms_of(study).items()}
    # One sentence for each teacher of each network that it teaches, even if it teaches several arms of this network.
    taught = {(t.arm, run.network): (t.arm, arm) for arm, run in first.items() for t in study.teacher_runs(run)}
    return {
        "cost_sentences": cost_sentences(files.cost, list(taught.values()), styles),
        "cost_figure": _drawn(figures.cost_against_auroc(files.cost, files.evaluations, styles)) if scored else None,
        "cost_table": tables.cost_table(files.cost, styles),
        "paper_cost_table": paper_cost_table(files.cost, styles),
    }


def _ablation(study: Study, files: StudyFiles) -> dict[str, Any] | None:
    if not files.ablation:
        return None
    comparisons, arms = files.ablation
    variants = ablation.variants_of(study)
    return {
        "reference": ablation.settings_of(ablation.reference_run(study)),
        "network": next(iter(variants.values())).style.network,
        "answers": ablation.answers(comparisons, study, files.data["split"]["sides"]["test"]["patients"]),
        "figure": _drawn(ablation_figure(comparisons, variants, study.seeds)),
        "differences": ablation.difference_table(comparisons, study),
        "findings": ablation.finding_table(comparisons, study),
        "cost": ablation.cost_table(comparisons, arms, study),
        "agreement": ablation.agreement_table(arms, study),
    }


def _data_section(files: StudyFiles) -> dict[str, Any]:
    data = files.data
    return {
        "prevalence_figure": _drawn(data_figures.prevalence(data)),
        "prevalence_table": data_tables.prevalence_table(data),
        "people_table": data_tables.people_table(data),
        "darkness": data_tables.darkness(data),
        "marks": data_tables.marks(data),
        "pictures": [(_picture(file), caption) for file, caption in files.pictures],
        "split_table": data_tables.split_table(data),
        "left_out_table": data_tables.left_out_table(data),
        "source_table": data_tables.source_table(data),
        "quarantine_table": data_tables.quarantine_table(data),
        "shared_table": data_tables.shared_table(data),
    }


def _how_to_repeat(study: Study, files: StudyFiles) -> dict[str, Any]:
    """The command that repeats the study, and what it ran with according to its run cards."""
    cards = list(files.cards.values())
    data_folder = "" if study.data.dataset == "phantom" else " DATA=DIR"
    versions: dict[str, set[str]] = {}
    for card in cards:
        for name, version in card["versions"].items():
            versions.setdefault(name, set()).add(str(version))
    return {
        "command": f"make study STUDY=studies/{study.file.name}{data_folder}",
        "run_table": tables.run_table(cards),
        "versions": {name: ", ".join(sorted(found)) for name, found in versions.items()},
        "finished": max(str(card["finished"]) for card in cards)[:16].replace("T", " "),
        "commits": sorted({str(card["git_commit"] or "not in a git checkout") for card in cards}),
        "study_text": study.file.read_text(encoding="utf-8"),
    }


def _notebooks(study: Study) -> list[tuple[str, str, str]]:
    """Return link, name and title of each executed notebook; 08_report's page is written after the report."""
    trained = [f"{'02_teacher' if run.role == 'teacher' else '03_distill'}-{run.name}" for run in study.all_runs]
    names = sorted([*trained, *(name for name in NOTEBOOKS if name not in ("02_teacher", "03_distill"))])
    executed = [name for name in names if (study.report_folder / "notebooks" / f"{name}.html").is_file()]
    if executed and "08_report" not in executed:
        executed.append("08_report")
    return [(f"notebooks/{name}.html", name, NOTEBOOKS[name.split("-")[0]]) for name in executed]


def _drawn(figure: Figure) -> str:
    """Return a figure as a data URL of an SVG."""
    return "data:image/svg+xml;base64," + base64.b64encode(to_svg(figure)).decode()


def _drawn_small(figure: Figure) -> str:
    """Return a crowded figure as a data URL of a PNG of 256 colours; thousands of paths are slow in a browser."""
    image, buffer = Image.open(io.BytesIO(to_png(figure))).convert("RGB"), io.BytesIO()
    image.quantize(256).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _picture(file: Path) -> str:
    """Return a PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()

"""The report of a study: one HTML file that needs no other file and no network. Every number comes from a file.

Beside it are the page of reporting guidelines and the methods as text to paste.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.resampling import ALPHA
from cxr_kd.files import check_room, written_whole
from cxr_kd.report import sections, tables
from cxr_kd.report.figure_files import FigureFiles
from cxr_kd.report.guidelines.page import page_context
from cxr_kd.report.headline import FEW_PATIENTS, badge, headline, side_tested
from cxr_kd.report.methods import methods_text
from cxr_kd.report.rendering import rendered
from cxr_kd.report.study_files import StudyFiles, headline_results, read_study_files
from cxr_kd.report.style import ArmStyle, arm_styles
from cxr_kd.study import Study

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
    files, styles, drawn = read_study_files(study), arm_styles(study), FigureFiles()
    context = {
        "study": study,
        "badge": badge(files.data),
        "data": files.data,
        "notebooks": _notebooks(study),
        **sections.data_section(files, drawn),
        **_top(study, files, styles),
        **(results := sections.results(study, files, styles, drawn)),
        **sections.details(study, files, styles, drawn),
        **sections.explanations(study, files, styles, drawn),
        "across": sections.across(files, styles, drawn),
        "ablation": sections.ablation_results(study, files, drawn),
        **sections.published_results(files, styles),
        **sections.cost(study, files, styles, drawn, results["scored"]),
        **_how_to_repeat(study, files),
        "methods": (methods := methods_text(study, files)),
    }
    html = rendered("report.html", context)
    guidelines = rendered("guidelines.html", {**context, **page_context(study, files, html)})
    pages = {"guidelines.html": guidelines, "methods.md": methods, "index.html": html}
    return _written(study.report_folder, pages, drawn)


def _written(folder: Path, pages: Mapping[str, str], drawn: FigureFiles) -> Path:
    """Write the pages into a folder, and their figures; return the path of the last page."""
    check_room(folder, drawn.size + sum(len(text.encode()) for text in pages.values()), "the report")
    drawn.write(folder)
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

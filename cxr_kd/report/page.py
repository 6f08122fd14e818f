"""The report of a study: one HTML file that needs no other file and no network. Every number comes from a file.

Beside it are the page of reporting guidelines, the methods as text to paste, and the files that it was written from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.resampling import ALPHA
from cxr_kd.files import check_room, written_whole
from cxr_kd.report import result_tables, sections, tables
from cxr_kd.report.citations import bibtex, link
from cxr_kd.report.crate import write_crate
from cxr_kd.report.guidelines.page import page_context
from cxr_kd.report.headline import badge, headline, side_tested
from cxr_kd.report.limits import intended_use, limits
from cxr_kd.report.methods import methods_text, references_of
from cxr_kd.report.page_files import PageFiles
from cxr_kd.report.rendering import rendered
from cxr_kd.report.scheme import scheme
from cxr_kd.report.study_copy import FOLDER as COPY
from cxr_kd.report.study_copy import copied_files, write_copy
from cxr_kd.report.study_files import StudyFiles, headline_results, read_study_files
from cxr_kd.report.style import ArmStyle, arm_styles
from cxr_kd.report.trust import trust
from cxr_kd.study import Study

# The sections of the page in their order: anchor, which is also the name of the template, and title in the contents.
SECTIONS = {
    "asked": "What was asked", "results": "Results", "explanations": "Explanations", "cost": "On the device",
    "ablation": "Ablation", "external": "Other hospitals", "probabilities": "Probabilities",
    "groups": "Groups of patients", "agreement": "Student and teacher", "published": "Published results",
    "limits": "Use and limitations", "data": "The data", "training": "Training", "methods": "Methods and guidelines",
    "again": "Run it again",
}  # fmt: skip
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


# What links to them in the page: who gets the page need not get them too.
NOTEBOOK_LIST = re.compile(r'<h3>The executed notebooks</h3>\s*<ul class="notebooks">.*?</ul>', re.DOTALL)


@dataclass(frozen=True)
class Pages:
    """The content of a report: its texts by file name, index.html last, and its figures and tables."""

    texts: Mapping[str, str]
    drawn: PageFiles


def write_report(study: Study) -> Path:
    """Write `reports/STUDY/index.html` and return its path.

    Beside it are `guidelines.html`, `methods.md`, `references.bib`, the folders `data` (`page_files`) and `study`
    (`study_copy`), and `ro-crate-metadata.json` (`crate`), with which `verify` checks the report.

    Raises:
        ReportError: if a file of the study is missing or belongs to another split, data or settings.
        StorageError: if the disk has no room for the report or refuses it. An older report then stays as it is.
    """
    files = read_study_files(study)
    pages, folder, copied = make_pages(study, files), study.report_folder, copied_files(study)
    size = pages.drawn.size + sum(len(text.encode()) for text in pages.texts.values())
    size += sum(path.stat().st_size for path in copied.values())
    check_room(folder, size, "the report")
    names = [*write_copy(copied, folder), *pages.drawn.write(folder), *pages.texts]
    for name, text in pages.texts.items():
        with written_whole(folder / name) as temporary:
            temporary.write_bytes(text.encode())
    write_crate(study, files, folder, names)
    return folder / "index.html"


def make_pages(study: Study, files: StudyFiles, *, draws: bool = True) -> Pages:
    """Return the content of a study's report; nothing is written. Without `draws`, all pictures are empty."""
    styles, drawn = arm_styles(study), PageFiles(draws)
    context = {
        "study": study,
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
        "references": [(reference, link(reference)) for reference in references_of(methods)],
        "drawn": drawn,
    }
    html = rendered("report.html", {**context, "contents": _contents(context)})
    guidelines = rendered("guidelines.html", {**context, **page_context(study, files, html)})
    references = bibtex(references_of(methods))
    texts = {"guidelines.html": guidelines, "methods.md": methods, "references.bib": references, "index.html": html}
    return Pages(texts, drawn)


def _contents(context: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the sections that this study has."""
    scored = bool(context["curve_figures"])
    has = {
        "ablation": context["ablation"],
        "external": context["across"],
        "probabilities": scored,
        "groups": scored,
        "agreement": scored and context["agreement_tables"],
    }
    return [(anchor, title) for anchor, title in SECTIONS.items() if has.get(anchor, True)]


def _top(study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle]) -> dict[str, Any]:
    """The head of the page: over all test images, or those of the study's headline source."""
    evaluations, comparisons = headline_results(study, files)
    source = study.evaluation.headline_source
    means = tables.records(evaluations[evaluations["finding"] == MEAN], "arm")
    keys = ("auroc", "auroc_low", "auroc_high")
    side, kind = side_tested(files.data, source), badge(files.data)
    return {
        "badge": kind,
        "alpha": ALPHA,
        "intervals": evaluations["interval"].iloc[0],
        "headline": headline(comparisons, styles, files.data, source),
        "headline_source": source,
        "headline_side": side,
        "trust": trust(study, files, styles, side),
        "scheme": scheme(study, files, styles),
        "intended_use": intended_use(study, files),
        "limits": limits(study, files, side),
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
        "run_table": result_tables.run_table(cards),
        "versions": {name: ", ".join(sorted(found)) for name, found in versions.items()},
        "finished": max(str(card["finished"]) for card in cards)[:16].replace("T", " "),
        "commits": sorted({str(card["git_commit"] or "not in a git checkout") for card in cards}),
        "copy": f"{COPY}/runs/{study.name}",  # relative to the page
        "shared": study.predictions_are_shared,
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

"""The report of a study: one self-contained HTML file that a browser opens from disk, its every number from a file."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from cxr_kd.evaluation.uncertainty import MEAN
from cxr_kd.files import written_whole
from cxr_kd.report import ablation, data_figures, data_tables, figures, tables
from cxr_kd.report.ablation_figure import ablation_figure
from cxr_kd.report.headline import FEW_PATIENTS, answer, badge, cost_sentences
from cxr_kd.report.published import paper_cost_table, published, published_notes, published_tables, traps
from cxr_kd.report.study_files import Inputs, read_inputs
from cxr_kd.report.style import ArmStyle, arm_styles, finding_name, to_svg
from cxr_kd.study import Study
from cxr_kd.study.arms import arms_of

NOTEBOOKS = {
    "01_data": "The data",
    "02_teacher": "Training a teacher",
    "03_distill": "Training a student",
    "04_ablation": "Comparing the networks",
    "05_explain": "What the networks look at",
    "06_device": "What the networks cost",
    "07_report": "Writing this report",
}


def write_report(study: Study) -> Path:
    """Write `reports/STUDY/index.html`, whole, and give its path.

    Raises ReportError (cxr_kd.report.study_files) where a file of the study is missing or belongs to another split.
    """
    inputs, styles = read_inputs(study), arm_styles(study)
    context = {
        "study": study,
        "badge": badge(inputs.data),
        "data": inputs.data,
        "notebooks": _notebooks(study),
        **_results(study, inputs, styles),
        **_data_section(inputs),
        "ablation": _ablation(study, inputs),
        **_again(study, inputs),
    }
    environment = Environment(
        loader=PackageLoader("cxr_kd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["finding"] = finding_name
    environment.globals["style_sheet"] = Markup(environment.get_template("report.css").render())
    target = study.report_folder / "index.html"
    with written_whole(target) as temporary:
        temporary.write_text(environment.get_template("report.html").render(context), encoding="utf-8")
    return target


def _results(study: Study, inputs: Inputs, styles: Mapping[str, ArmStyle]) -> dict[str, Any]:
    """Answer, figures and tables of results, of the paper's figures beside them, and of cost."""
    evaluations, comparisons, cost = inputs.evaluations, inputs.comparisons, inputs.cost
    first = {arm: runs[0] for arm, runs in arms_of(study).items()}
    # One sentence for each teacher of each kind of student, however many students it teaches.
    taught = {(t.arm, run.network): (t.arm, arm) for arm, run in first.items() for t in study.teacher_runs(run)}
    means = tables.records(evaluations[evaluations["finding"] == MEAN], "arm")
    one_arm = evaluations[(evaluations["arm"] == next(iter(styles))) & (evaluations["finding"] != MEAN)]
    left_out = one_arm[one_arm["left_out"] != ""]
    keys = ("auroc", "auroc_low", "auroc_high")
    differ = not comparisons.empty
    return {
        "few_patients": FEW_PATIENTS,
        "answer": answer(comparisons, styles, inputs.data),
        "cost_sentences": cost_sentences(cost, list(taught.values()), styles),
        "key_figures": [(style, tables.estimate(*(means[arm][key] for key in keys))) for arm, style in styles.items()],
        "left_out_findings": list(zip(left_out["finding"], left_out["left_out"], strict=True)),
        "mean_figure": _drawn(figures.mean_auroc(evaluations, styles)),
        "forest_figure": _drawn(figures.forest(evaluations, styles)),
        "difference_figure": _drawn(figures.paired_differences(comparisons, styles)) if differ else None,
        "results_table": tables.results_table(evaluations, comparisons, styles),
        "auroc_table": tables.finding_table(evaluations, styles),
        "precision_table": tables.finding_table(evaluations, styles, "average_precision"),
        "difference_table": tables.difference_table(comparisons, styles) if differ else None,
        "curves_figure": _drawn(figures.learning_curves(inputs.histories, styles)),
        "published": published(),
        "published_tables": published_tables(evaluations, inputs.data, styles),
        "published_notes": published_notes(inputs.data),
        "traps": traps(inputs.data),
        "cost_figure": _drawn(figures.cost_against_auroc(cost, evaluations, styles)),
        "cost_table": tables.cost_table(cost, styles),
        "paper_cost_table": paper_cost_table(cost, styles),
        "explanations": [(_picture(file), caption) for file, caption in inputs.explanations],
    }  # fmt: skip


def _ablation(study: Study, inputs: Inputs) -> dict[str, Any] | None:
    if not inputs.ablation:
        return None
    comparisons, arms = inputs.ablation
    variants = ablation.variants_of(study)
    return {
        "reference": next(iter(variants.values())).changes.removeprefix("the reference: "),
        "network": next(iter(variants.values())).style.label.split(" from ")[0],
        "answers": ablation.answers(comparisons, study, inputs.data["split"]["sides"]["test"]["patients"]),
        "figure": _drawn(ablation_figure(comparisons, variants, study.seeds)),
        "differences": ablation.difference_table(comparisons, study),
        "findings": ablation.finding_table(comparisons, study),
        "cost": ablation.cost_table(comparisons, arms, study),
        "agreement": ablation.agreement_table(arms, study),
    }


def _data_section(inputs: Inputs) -> dict[str, Any]:
    data = inputs.data
    return {
        "prevalence_figure": _drawn(data_figures.prevalence(data)),
        "prevalence_table": data_tables.prevalence_table(data),
        "people_table": data_tables.people_table(data),
        "darkness": data_tables.darkness(data),
        "marks": data_tables.marks(data),
        "pictures": [(_picture(file), caption) for file, caption in inputs.pictures],
        "split_table": data_tables.split_table(data),
        "left_out_table": data_tables.left_out_table(data),
        "quarantine_table": data_tables.quarantine_table(data),
        "shared_table": data_tables.shared_table(data),
    }


def _again(study: Study, inputs: Inputs) -> dict[str, Any]:
    """How to run the study again, and what it ran with, from the cards."""
    cards = list(inputs.cards.values())
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
    """Relative link, name and title of each executed notebook, in order; this report's own is written after it."""
    trained = [f"{'02_teacher' if run.role == 'teacher' else '03_distill'}-{run.name}" for run in study.all_runs]
    names = sorted([*trained, *(name for name in NOTEBOOKS if name not in ("02_teacher", "03_distill"))])
    executed = [name for name in names if (study.report_folder / "notebooks" / f"{name}.html").is_file()]
    if executed and "07_report" not in executed:
        executed.append("07_report")
    return [(f"notebooks/{name}.html", name, NOTEBOOKS[name.split("-")[0]]) for name in executed]


def _drawn(figure: Figure) -> str:
    """A figure as the address of an inlined SVG."""
    return "data:image/svg+xml;base64," + base64.b64encode(to_svg(figure)).decode()


def _picture(file: Path) -> str:
    """A PNG file as the address of an inlined image."""
    return "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()

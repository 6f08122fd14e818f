"""The methods of a study as text to paste into a manuscript: title, abstract, methods, references.

Every value is from the study's settings, its data card, its run cards or its result files. Data and training are in
`methods_training`, statistics in `methods_statistics`.
"""

from __future__ import annotations

import re

import pandas as pd

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.report.citations import Citations
from cxr_kd.report.guidelines.checklist import data_set_facts
from cxr_kd.report.headline import headline
from cxr_kd.report.methods_statistics import statistics_text
from cxr_kd.report.methods_training import data_name, data_text, networks_text, testing, training_text
from cxr_kd.report.study_files import StudyFiles, headline_results
from cxr_kd.report.style import arm_styles
from cxr_kd.report.tables import estimate_text, records
from cxr_kd.report.wording import listed, number
from cxr_kd.study import Study


def methods_text(study: Study, files: StudyFiles) -> str:
    """Return the methods as plain text that is also Markdown: one paragraph per topic, then numbered references.

    Two studies with different settings have different texts.
    """
    cite = Citations()
    paragraphs = {
        "Data": data_text(study, files, cite),
        "Networks": networks_text(study, files, cite),
        "Training": training_text(study, files, cite),
        **statistics_text(study, files, cite),
        "Software": _software(study, files, cite),
    }
    methods = "\n\n".join(f"**{topic}.** {text}" for topic, text in paragraphs.items())
    return (
        f"# {title_text(study, files)}\n\n## Abstract\n\n{abstract_text(study, files)}\n\n## Methods\n\n{methods}\n\n"
        f"## References\n\n{cite.listed()}\n"
    )


def references_of(methods: str) -> list[str]:
    """Return the references at the end of `methods_text`, in order."""
    return re.findall(r"(?m)^\d+\. (.*)$", methods.rpartition("\n## References\n")[2])


def title_text(study: Study, files: StudyFiles) -> str:
    """Return a title that names what is done (development, testing), the kind of model, the images and the outcome."""
    styles, count = arm_styles(study).values(), len(files.data["findings"])
    students = [style.network for style in styles if not style.role.startswith("teacher")]
    findings = f"{count} findings" if count > 1 else f"{count} finding"
    return (
        f"Development and {testing(study)} of deep-learning models ({listed(list(dict.fromkeys(students)))}, alone and "
        f"distilled) that predict {findings} from {_images(files)}"
    )


def abstract_text(study: Study, files: StudyFiles) -> str:
    """Return the abstract: aim, design and data, methods, results. The results are the headline's, with intervals."""
    sides, source = files.data["split"]["sides"], study.evaluation.headline_source
    evaluations, comparisons = headline_results(study, files)
    within = f" within source {source}" if source else ""
    counts = {side: f"{number(sides[side]['images'])} images" for side in ("train", "validation", "test")}
    outcome = sum(files.data["positives"]["test"].values())
    seeds = f"{len(study.seeds)} seeds" if len(study.seeds) > 1 else "one seed"
    return (
        f"Aim: {' '.join(study.question.split())} Design: development and {testing(study)} of deep-learning models on "
        f"{_images(files)}, divided by split {study.data.split} into {counts['train']} for training, "
        f"{counts['validation']} for validation and {counts['test']} of {number(sides['test']['patients'])} patients "
        f"for testing (with {number(outcome)} positive labels of {len(files.data['findings'])} findings). "
        f"{_setting(study, files)}Methods: each network was trained with {seeds}; students were trained alone and "
        f"distilled from {_teachers(study)}. Discrimination was measured by the mean AUROC over findings{within}, with "
        f"95 % intervals over {evaluations['interval'].iloc[0]}; calibration and net benefit were measured too. "
        f"Results: {aurocs_text(study, evaluations)} "
        f"{headline(comparisons, arm_styles(study), files.data, source)}{_registration(study)}"
    )


def _setting(study: Study, files: StudyFiles) -> str:
    """Return where the images were taken, if a person or the data set's authors say it."""
    published = "" if files.data["kind"] == "phantom" else data_set_facts(files.data["dataset"]).get("setting", "")
    said = study.reporting.setting or published.partition(" (Source:")[0]
    return f"Setting: {said} " if said else ""


def _registration(study: Study) -> str:
    return f" Registration: {study.reporting.registration}" if study.reporting.registration else ""


def _images(files: StudyFiles) -> str:
    if files.data["kind"] == "phantom":
        return "synthetic chest radiographs (phantoms)"
    return f"chest radiographs of {data_name(files)}"


def _teachers(study: Study) -> str:
    styles = arm_styles(study).values()
    return listed([style.label for style in styles if style.role.startswith("teacher")])


def aurocs_text(study: Study, evaluations: pd.DataFrame) -> str:
    """Return the mean AUROC of each arm with its interval, or why there is none."""
    means = records(evaluations[evaluations["finding"] == MEAN], "arm")
    keys = ("auroc", "auroc_low", "auroc_high")
    if any(means[arm]["left_out"] for arm in means):
        return "No finding has enough positive test images to be scored."
    told = [
        f"{style.label} {estimate_text(*(means[arm][k] for k in keys))}" for arm, style in arm_styles(study).items()
    ]
    return f"mean AUROC of {listed(told)}."


def _software(study: Study, files: StudyFiles, cite: Citations) -> str:
    cards = list(files.cards.values())
    versions = {name: sorted({str(card["versions"][name]) for card in cards}) for name in cards[0]["versions"]}
    names = [f"{name} {' and '.join(found)}" for name, found in versions.items()]
    commits = sorted({str(card["git_commit"]) for card in cards if card["git_commit"]})
    code = f"commit {listed(commits)}" if commits else "not run in a git checkout"
    return (
        f"The code is cxr_kd ({code}), which reproduces and extends the distillation of a published study "
        f"{cite('paper')}. Versions: {listed(names)}; networks are from PyTorch {cite('torch')} and timm "
        f"{cite('timm')}. Trained on: {listed(sorted({str(card['device']) for card in cards}))}. The study file is "
        f"{study.file.name}."
    )

"""Answers about aims, predictors, networks and training."""

from __future__ import annotations

import re

from cxr_kd.report.citations import Citations
from cxr_kd.report.guidelines.answers_data import source_lines
from cxr_kd.report.guidelines.checklist import Answer
from cxr_kd.report.guidelines.known import STUDY_FILE, Known, found, inapplicable, told
from cxr_kd.report.methods import title_text
from cxr_kd.report.methods_training import (
    augmentation_text,
    budgets_text,
    losses_text,
    networks_text,
    testing,
    views_text,
)
from cxr_kd.report.wording import counted, listed, number
from cxr_kd.study.arms import arms_of

AGAINST_IMBALANCE = {
    "focal_bce": "focal cross-entropy weighs easy images less, most of which are negative",
    "focal_bce_balanced": "class-balanced focal cross-entropy weighs positives by how rare their finding is",
    "asymmetric": "the asymmetric loss weighs negatives less than positives",
}


def plain(text: str) -> str:
    """Return a text of the methods without its numbered citations, whose list stands beside the methods only."""
    return re.sub(r" \[[\d, ]+\]", "", text)


def title(known: Known) -> Answer:
    """A title that says what is done."""
    return found(f"Title to paste: {title_text(known.study, known.files)}.", "methods")


def abstract(known: Known) -> Answer:
    """An abstract with the results."""
    return found(
        "An abstract to paste is above the methods: aim, design, data with setting and the numbers of images and "
        "positive labels, methods, measures, results with intervals, and what they show; registration, if the study "
        "file states it.",
        "methods",
    )


def objectives(known: Known) -> Answer:
    """The study's question, and what is compared."""
    margin = known.study.evaluation.non_inferiority_margin
    inferior = f" A student may be worse than its teacher by less than {margin:g} of AUROC." if margin else ""
    return found(
        f"Question: {known.study.question} The study is development and {testing(known.study)} of models. "
        "Hypothesis: a distilled student has another mean AUROC than the same student trained alone on the same "
        f"budget.{inferior}",
        "asked", STUDY_FILE,
    )  # fmt: skip


def goal(known: Known) -> Answer:
    """What kind of study this is."""
    kind = (
        "a feasibility study of the method on phantoms"
        if known.phantom
        else f"development of models with {testing(known.study)}"
    )
    return found(
        f"Goal: {kind}. It compares ways of training a small network; it is no study of clinical use.", "asked"
    )


def predictors_chosen(known: Known) -> Answer:
    """How inputs were chosen."""
    return found("The only input is the radiograph. All of its pixels are used, and none were selected before.", "data")


def predictors_defined(known: Known) -> Answer:
    """What the inputs are."""
    size = known.study.image_size
    return found(
        f"Input: the grey values of one radiograph of {size} x {size} pixels. Age, sex, view position, source and "
        "report are not given to a network, and no label is used to prepare an image.",
        "data", "methods",
    )  # fmt: skip


def predictor_assessors(known: Known) -> Answer:
    """Who judged the inputs."""
    return inapplicable("The inputs are pixel values, which nobody judges.")


def model(known: Known) -> Answer:
    """The networks."""
    return found(plain(networks_text(known.study, known.files, Citations())), "methods", "cost")


def full_model(known: Known) -> Answer:
    """How somebody else can use the networks."""
    cost = known.files.cost[["run", "parameters", "file_mb"]].to_dict("records")
    sizes = [f"{row['run']}: {number(int(row['parameters']))} parameters, {row['file_mb']:g} MB" for row in cost]
    said = known.said("code_availability")
    return found(
        "Each run folder holds the trained network as model.safetensors, which cxr_kd.load reads, with its findings, "
        "image size and input statistics; fitted thresholds and recalibration lie beside it (operating-points.json, "
        "recalibration.json). model.onnx there is the exported network of the first seed, with a copy of both. "
        f"Sizes: {'; '.join(sizes)}. Network code is in cxr_kd and timm. {said}".strip(),
        "cost", "again",
    )  # fmt: skip


def software(known: Known) -> Answer:
    """Libraries with versions."""
    cards = list(known.files.cards.values())
    versions = {f"{name} {version}" for card in cards for name, version in card["versions"].items()}
    return found(f"{listed(sorted(versions))}; code of commit {listed(_commits(known))}.", "again", "methods")


def _commits(known: Known) -> list[str]:
    return sorted({str(card["git_commit"] or "not in a git checkout") for card in known.files.cards.values()})


def initialisation(known: Known) -> Answer:
    """What the weights were before training."""
    starts: dict[str, str] = {str(card["network"]): str(card["start"]) for card in known.files.cards.values()}
    told_starts = [f"{network} from {start}" for network, start in starts.items()]
    return found(
        f"First weights: {listed(told_starts)}. Random weights are drawn from the seed of the run.", "methods", "again"
    )


def training(known: Known) -> Answer:
    """Losses, budgets, augmentation, seeds."""
    study = known.study
    runs = len(known.files.cards)
    parts = [
        losses_text(study, Citations()),
        budgets_text(study, Citations()),
        augmentation_text(study),
        views_text(study),
    ]
    seeds = f"{counted(runs, 'training')} with {counted(len(study.seeds), 'seed')}."
    return found(plain(" ".join([*parts, seeds])), "methods", "training")


def selection(known: Known) -> Answer:
    """How the final weights were chosen."""
    within = " among images of one source" if known.files.data["image_sources"] else ""
    return found(
        f"Of each training, the weights of the epoch with the best mean AUROC on the validation side{within} are "
        "kept. No network is chosen among the seeds: results are means over all of them. The test side takes no "
        "part. No hyperparameter is tuned by the study; all are in the study file.",
        "training", STUDY_FILE,
    )  # fmt: skip


def ensembling(known: Known) -> Answer:
    """Whether networks are combined."""
    several = [arm for arm, runs in arms_of(known.study).items() if len(runs[0].teachers) > 1]
    if several:
        return found(f"The outputs of several teachers are averaged to teach {listed(several)}.", "methods")
    return inapplicable("No predictions of several networks are combined; results over seeds are means of measures.")


def class_imbalance(known: Known) -> Answer:
    """What is done against imbalance."""
    used = sorted({name for run in known.study.all_runs for name in run.losses if name in AGAINST_IMBALANCE})
    text = "; ".join(AGAINST_IMBALANCE[name] for name in used)
    method = f"Imbalance is met by the loss alone: {text}" if used else "No method against imbalance is used"
    return found(
        f"{method}. No image is sampled more often than another. Scores are recalibrated on the validation side "
        "afterwards.",
        "methods", "probabilities",
    )  # fmt: skip


def predictions(known: Known) -> Answer:
    """How predictions were computed for testing."""
    return found(
        "Each finished network reads each test image once, without augmentation, and its logits are stored "
        "(predictions-test.parquet in its run folder). All measures are computed from these files.",
        "methods", "again",
    )  # fmt: skip


def model_output(known: Known) -> Answer:
    """What the networks give, and how thresholds are chosen."""
    return found(
        f"One logit for each of {counted(len(known.files.data['findings']), 'finding')}; its sigmoid is a score in "
        "[0, 1], and a probability only after recalibration. Thresholds are chosen on the validation side by "
        "Youden's index, because it needs no costs, and by a sensitivity or specificity of 90 %, for ruling out and "
        "ruling in.",
        "probabilities", "methods",
    )  # fmt: skip


def protocol(known: Known) -> Answer:
    """Where the protocol is."""
    fixed = (
        "The study file fixes data, split, networks, losses, seeds and statistics before anything is trained; every "
        "run card holds the hash of its settings, and a run with other settings is refused."
    )
    other = "" if known.said("protocol") else " The study file names no other protocol."
    return told(known, "protocol", more=fixed + other, places=(STUDY_FILE, "methods"), enough=True)


def data_availability(known: Known) -> Answer:
    """How others get the data."""
    if known.phantom:
        return found("Anybody can draw the same phantoms again from the study file.", "data", "again")
    text = source_lines(known, "where", "licence")
    split_hash = f"SHA-256 of the split: {known.files.data['split']['sha256']}."
    return told(
        known, "data_availability", more=f"{text} {split_hash}" if text else "", places=("data",), enough=bool(text)
    )


def code_availability(known: Known) -> Answer:
    """How others get the code and the trained networks."""
    code = f"The code is cxr_kd (licence Apache-2.0), commit {listed(_commits(known))}."
    return told(known, "code_availability", more=code, places=("again",))

"""Answers about evaluation and results."""

from __future__ import annotations

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.details import SUBGROUPS
from cxr_kd.report import across_views
from cxr_kd.report.citations import Citations
from cxr_kd.report.guidelines.answers_models import plain
from cxr_kd.report.guidelines.checklist import Answer
from cxr_kd.report.guidelines.known import Known, found, inapplicable, told
from cxr_kd.report.headline import headline
from cxr_kd.report.methods import aurocs_text
from cxr_kd.report.methods_statistics import (
    explanations_text,
    intervals_text,
    measures_text,
    probabilities_text,
    tests_text,
)
from cxr_kd.report.methods_training import data_name
from cxr_kd.report.study_files import headline_results
from cxr_kd.report.style import arm_styles
from cxr_kd.report.wording import counted, listed, number

NOT_SCORED = Answer(
    "open",
    "No finding has enough positive test images to be scored: take more images and run the study again.",
    ("results",),
)


def _results(known: Known, text: str, *places: str) -> Answer:
    """Return an answer made of results; open if there are none, which no text can change."""
    return found(text, *places) if known.scored else NOT_SCORED


def measures(known: Known) -> Answer:
    """All measures."""
    return found(
        plain(f"{measures_text(known.study)} {probabilities_text(known.study, Citations())}"), "methods", "results"
    )


def uncertainty(known: Known) -> Answer:
    """Intervals and tests."""
    cite = Citations()
    return found(plain(f"{intervals_text(known.study, cite)} {tests_text(known.study, cite)}"), "methods", "effect")


def clusters(known: Known) -> Answer:
    """How differences between sources are handled."""
    if not known.files.data["image_sources"]:
        return inapplicable(
            "The data set names no hospitals, scanners or collections, so there are no clusters but the "
            "patients, whom the intervals take into account."
        )
    return found(
        f"Images are from {counted(len(known.files.data['image_sources']), 'source')}: every network is also evaluated "
        "within each source, beside scores that know the source only.",
        "results", "data",
    )  # fmt: skip


def cluster_results(known: Known) -> Answer:
    """Results within each source."""
    if not known.files.data["image_sources"]:
        return clusters(known)
    return _results(known, "AUROC and its differences within each source are in the results.", "results")


def recalibration(known: Known) -> Answer:
    """How scores are recalibrated."""
    return found(
        "No network is changed by its evaluation. Its scores are recalibrated by temperature scaling, Platt scaling "
        "and prevalence correction, fitted on the validation side for all patients together and kept beside the "
        "network.",
        "probabilities", "methods",
    )  # fmt: skip


def recalibration_results(known: Known) -> Answer:
    """What recalibration reached."""
    if not known.scored:
        return NOT_SCORED
    frame = known.files.details["calibration.csv"]
    medians = frame[frame["left_out"].fillna("") == ""].groupby("probabilities", sort=False)["ece"].median()
    told_methods = [f"{method} {value:.3f}" for method, value in medians.items()]
    text = f"Median calibration error over findings and networks: {listed(told_methods)}. All values: calibration.csv."
    return _results(known, text, "probabilities")


def fairness(known: Known) -> Answer:
    """What is done for fairness."""
    more = (
        "The networks are compared between groups of patients, and so are the gaps of a student alone and distilled. "
        "Nothing in training or thresholds treats groups differently."
    )
    return told(known, "fairness", more=more, places=("groups",), enough=True)


def robustness(known: Known) -> Answer:
    """Analyses of robustness."""
    parts = [
        f"{counted(len(known.study.seeds), 'training')} of each network",
        "groups of patients",
    ]
    parts += ["each source of images"] if known.files.data["image_sources"] else []
    parts += ["an ablation of single settings"] if known.files.ablation else []
    return found(f"Results are given over {listed(parts)}.", "effect", "groups", "ablation")


def explanations(known: Known) -> Answer:
    """How decisions are explained."""
    marks = known.files.data["marks"]
    drawn = marks["masks"] or marks["boxed_images"]
    checked = "beside the marked place of the finding" if drawn else "without marked places, which the data do not have"
    return found(f"{plain(explanations_text(known.study, Citations()))} They are shown {checked}.", "explanations")


def internal_testing(known: Known) -> Answer:
    """How the networks were tested on data of the same origin."""
    test = known.files.data["split"]["sides"]["test"]
    return found(
        f"Internal testing on {counted(test['images'], 'image')} of {counted(test['patients'], 'patient')} of "
        f"{data_name(known.files)} that took no part in training or in choosing an epoch or a threshold.",
        "results",
    )  # fmt: skip


def external_testing(known: Known) -> Answer:
    """How the networks were tested on data of another origin."""
    if known.files.across:
        tested = listed(across_views.tested_externally(known.files.across))
        return found(f"External testing over the shared findings, without training again: {tested}.", "external")
    return found(
        f"Internal testing only: no network was tested on data of another origin than {data_name(known.files)}. How "
        "the results carry over to other hospitals is not known.",
        "results", "data",
    )  # fmt: skip


def trial_registration(known: Known) -> Answer:
    """Whether this is a clinical trial."""
    return inapplicable("This is no clinical trial: no patient's care is changed by it.")


def performance(known: Known) -> Answer:
    """Mean AUROC of each network, with intervals."""
    if not known.scored:
        return NOT_SCORED
    evaluations, _ = headline_results(known.study, known.files)
    source = known.study.evaluation.headline_source
    on = (" on phantoms" if known.phantom else "") + (f" within source {source}" if source else "")
    told_arms = aurocs_text(known.study, evaluations)
    return found(f"With 95 % intervals{on}, {told_arms}", "results", "single-findings")


def diagnostic_performance(known: Known) -> Answer:
    """Sensitivity, specificity and predictive values."""
    if not known.scored:
        return NOT_SCORED
    frame = known.files.details["operating-points.csv"]
    frame = frame[(frame["rule"] == "youden") & (frame["left_out"].fillna("") == "")]
    told_arms = [
        f"{style.label} {own['sensitivity'].median():.2f} and {own['specificity'].median():.2f}"
        for arm, style in arm_styles(known.study).items()
        if not (own := frame[frame["arm"] == arm]).empty
    ]
    text = (
        f"Median over findings of sensitivity and specificity at Youden's threshold: {'; '.join(told_arms)}. "
        "Intervals, predictive values and the other thresholds are in operating-points.csv and predictive-values.csv."
    )
    return found(text, "probabilities") if told_arms else NOT_SCORED


def group_results(known: Known) -> Answer:
    """Results in groups of patients."""
    frame = known.files.details[SUBGROUPS]
    shown = frame[(frame["metric"] == "auroc") & (frame["finding"] == MEAN) & frame["value"].notna()]
    groups = {
        str(by): listed(list(dict.fromkeys(map(str, own["group"])))) for by, own in shown.groupby("by", sort=False)
    }
    groups.pop("all images", None)
    told_groups = [f"{by!s} ({names})" for by, names in groups.items()]
    missing = (
        "" if {"sex", "age"} <= set(groups) else " Sex and age are not known for enough test images to be compared."
    )
    text = f"By {listed(told_groups)}" if told_groups else "No group has enough positive images"
    return _results(known, f"AUROC in groups: {text}.{missing}", "groups")


def failures(known: Known) -> Answer:
    """What went wrong in wrongly classified images."""
    more = (
        "The report counts errors by finding, threshold and group, and the decisions in which student and teacher "
        "differ; nobody has described single images by this."
    )
    return told(known, "failures", more=more, places=("probabilities", "agreement"))


def interpretation(known: Known) -> Answer:
    """What the results mean: the headline is not enough."""
    _, comparisons = headline_results(known.study, known.files)
    source = known.study.evaluation.headline_source
    said = headline(comparisons, arm_styles(known.study), known.files.data, source)
    return told(known, "interpretation", more=f"The report's headline: {said}", places=("published",))


def limitations(known: Known) -> Answer:
    """Limitations that a person states; the files know three of them."""
    facts = [] if known.files.across else ["internal testing only"]
    facts += ["the images are phantoms"] if known.phantom else ["training on one data set"]
    facts += ["one training of each network"] if len(known.study.seeds) == 1 else []
    test = known.files.data["split"]["sides"]["test"]["patients"]
    more = f"From the files: {listed(facts)}; {number(test)} test patients."
    return told(known, "limitations", more=more, places=("results",))

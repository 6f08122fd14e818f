"""How far the results can be trusted, in a few sentences at the head of the report. Each is computed from the files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cxr_kd.report.headline import FEW_PATIENTS
from cxr_kd.report.study_files import StudyFiles
from cxr_kd.report.style import ArmStyle
from cxr_kd.report.wording import counted, listed
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, main_arms


def trust(
    study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle], tested: Mapping[str, Any]
) -> list[tuple[str, str]]:
    """Return (subject, sentence) about trainings, patients, what the networks have seen, probabilities, and use.

    `tested`: the images and patients that the headline is about.
    """
    told = [
        ("Trainings", _trainings(study)),
        ("Patients", _patients(study, files, tested)),
        ("Test images", _unseen(study)),
        ("Probabilities", _probabilities(study, files, styles)),
        ("Use", "For research only. No network of this study may be used for decisions about patients."),
    ]
    return [(subject, sentence) for subject, sentence in told if sentence]


def _trainings(study: Study) -> str:
    if len(study.seeds) == 1:
        return (
            "Each network was trained once. Another training would give other numbers: no difference counts as shown."
        )
    return f"Each network was trained with {len(study.seeds)} seeds. Intervals and tests cover other trainings."


def _patients(study: Study, files: StudyFiles, tested: Mapping[str, Any]) -> str:
    patients = tested["patients"]
    known = "patients" not in files.data["source"]
    few = " Intervals from so few patients are too narrow." if patients < FEW_PATIENTS else ""
    apart = "No patient is on two sides of the split." if known else "The patients are not known, only the images."
    others = (
        f"The networks were also tested on {listed(list(study.evaluate_on))}."
        if study.evaluate_on
        else "There was no test on images of another data set."
    )
    counts = f"{counted(tested['images'], 'test image', 'test images')} of {counted(patients, 'patient', 'patients')}"
    return f"{counts}.{few} {apart} {others}"


def _unseen(study: Study) -> str:
    """Say that no network has learned from a test image, and what networks from elsewhere were trained on."""
    published = [weights for runs in all_arms(study).values() if (weights := study.published_weights(runs[0]))]
    seen = sorted({name for weights in published for name in weights.trained_on})
    elsewhere = f" Published weights were trained on {listed(seen)}." if seen else ""
    pretrained = " Pretraining was on ImageNet, which has no radiographs." if any(
        run.pretrained for run in study.all_runs
    ) else ""  # fmt: skip
    return (
        "No network has learned from a test image: weights keep a list of their training images, and scoring stops if "
        f"one of them is tested.{elsewhere}{pretrained}"
    )


def _probabilities(study: Study, files: StudyFiles, styles: Mapping[str, ArmStyle]) -> str:
    """Say how far the scores of the last main student are from probabilities, before and after recalibration."""
    arm = main_arms(study)[-1]
    frame = files.details["calibration.csv"]
    rows = frame[(frame["arm"] == arm) & (frame["left_out"].fillna("") == "")]
    errors = rows.groupby("probabilities")["ece"].mean()
    if not {"raw", "platt"} <= set(errors.index):
        return ""
    return (
        f"Raw scores are not probabilities. Those of {styles[arm].label} differ from the observed frequencies by "
        f"{100 * errors['raw']:.0f} percentage points (expected calibration error, mean over findings), and by "
        f"{100 * errors['platt']:.0f} after recalibration on validation."
    )

"""What the results of a study do not show, and what its networks are for. Each sentence follows from the files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cxr_kd.report.guidelines.known import NOT_OF_PHANTOMS
from cxr_kd.report.headline import FEW_PATIENTS
from cxr_kd.report.study_files import StudyFiles
from cxr_kd.report.wording import counted, listed
from cxr_kd.study import Study


def intended_use(study: Study, files: StudyFiles) -> str:
    """Return what the networks are for: what the study file says under `reporting`, after what holds for each study."""
    said = study.reporting.intended_use or (
        NOT_OF_PHANTOMS["intended_use"] if files.data["kind"] == "phantom" else ""
    )  # fmt: skip
    return (
        "Research on distillation and on the explanation of networks. No network of this study is a medical device, "
        f"and none may be used for decisions about patients. {said}"
    ).strip()


def limits(study: Study, files: StudyFiles, tested: Mapping[str, Any]) -> list[str]:
    """Return the limitations that apply; `tested`: the images and patients that the headline is about."""
    left_out = files.evaluations.loc[files.evaluations["left_out"] != "", "finding"].nunique()
    cpu, threads = files.cost["cpu"].iloc[0], int(files.cost["threads"].iloc[0])
    applies = {
        "The images are drawn by a program. They show that the method and the software work, and nothing about "
        "patients.": files.data["kind"] == "phantom",
        "This is a small selection of a data set. Results on all of it can differ.": files.data["kind"] == "mini",
        "Each network was trained once, so nothing is known about another training.": len(study.seeds) == 1,
        f"The test side has {counted(tested['patients'], 'patient')}: intervals from so few are too narrow.": (
            tested["patients"] < FEW_PATIENTS
        ),
        "All test images are from the data set that the networks learned from. Images of another hospital can be read "
        "worse.": not study.evaluate_on,
        f"{counted(left_out, 'finding')} had too few test images to be scored.": left_out > 0,
        "The labels were extracted from reports by a program, and some are wrong; a score is compared with the label, "
        "not with the patient.": files.data["dataset"] in ("chestxray14", "chestmnist", "chexpert", "padchest"),
        f"Times were measured on {cpu} with {counted(threads, 'thread')}, not on a phone.": True,
        "A map shows where a network has evidence, not why. It is no segmentation, and a map on the finding does not "
        "mean that the answer is right.": True,
        "Differences between groups of patients are given only for "
        f"{listed(['sex', 'age', 'view position'])}, where they are known.": True,
    }
    return [sentence for sentence, holds in applies.items() if holds]

"""What is known of a study when its checklists are filled, and answers that a person or a data set's authors give."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.report.guidelines.checklist import Answer, data_set_facts
from cxr_kd.report.study_files import StudyFiles
from cxr_kd.study import Study
from cxr_kd.study.reporting import REPORTING_FIELDS

STUDY_FILE = "study-file"  # anchor of the report
_NO_PATIENTS = "The images are phantoms, drawn by this project: there are no"
# Settings of `reporting` that do not apply to phantoms, and why.
NOT_OF_PHANTOMS = {
    "intended_use": "A network trained on phantoms is for no patient: the study tests the method and its software.",
    "implications": "Results from phantoms have no meaning for practice.",
    "inequalities": f"{_NO_PATIENTS} groups of patients.",
    "setting": f"{_NO_PATIENTS} hospitals.",
    "dates": f"{_NO_PATIENTS} examinations.",
    "eligibility": f"{_NO_PATIENTS} participants.",
    "representativeness": "Phantoms represent no patients.",
    "acquisition": "The images are phantoms, drawn by this project: no device took them.",
    "deidentification": f"{_NO_PATIENTS} data of persons.",
    "annotators": f"{_NO_PATIENTS} annotators: the labels follow from what was drawn.",
    "rater_agreement": f"{_NO_PATIENTS} annotators: the labels follow from what was drawn.",
    "blinding": f"{_NO_PATIENTS} annotators: the labels follow from what was drawn.",
    "design": "The images were drawn for the study: it is neither prospective nor retrospective.",
    "ethics": f"{_NO_PATIENTS} participants.",
    "patients_involved": f"{_NO_PATIENTS} patients.",
    "input_quality": "A network trained on phantoms is not for use on real images.",
    "users": "A network trained on phantoms has no users in health care.",
}
NOT_NEEDED = {  # Settings of `reporting` that apply only if a person writes them, and why they do not otherwise.
    "treatments": "The outcome is a finding on the same image that is the input. Treatments are neither predictors nor "
    "part of the outcome, and there is no follow-up.",
}


@dataclass(frozen=True, eq=False)
class Known:
    """A study with the content of its files."""

    study: Study
    files: StudyFiles

    @property
    def phantom(self) -> bool:
        """Whether the images are phantoms."""
        return bool(self.files.data["kind"] == "phantom")

    @cached_property
    def scored(self) -> bool:
        """Whether a mean AUROC could be computed for every network."""
        means = self.files.evaluations[self.files.evaluations["finding"] == MEAN]
        return bool((means["left_out"] == "").all())

    def said(self, field: str) -> str:
        """Return what the study file says under `reporting`; "" if nothing."""
        return getattr(self.study.reporting, field) or ""

    def fact(self, field: str) -> str:
        """Return what the authors of the data set say; "" if nothing is kept."""
        return "" if self.phantom else data_set_facts(self.files.data["dataset"]).get(field, "")


def told(known: Known, field: str, *, more: str = "", places: tuple[str, ...] = (), enough: bool = False) -> Answer:
    """Return the answer to a topic that a person or the data set's authors answer.

    `more` is what the study's files add, which stands at `places`; it answers the topic alone only if it is `enough`.
    A person's text comes first. Without any, the answer is open, or does not apply (phantoms).
    """
    said, fact = known.said(field), known.fact(field)
    text = " ".join(part for part in (said, fact, more) if part)
    where = ((STUDY_FILE,) if said else ()) + ((*places, "data") if fact else places)
    if said or fact or (more and enough):
        return Answer("answered", text, tuple(dict.fromkeys(where)))
    if known.phantom and field in NOT_OF_PHANTOMS:
        return Answer("does not apply", NOT_OF_PHANTOMS[field])
    if field in NOT_NEEDED:
        return Answer("does not apply", NOT_NEEDED[field])
    return Answer(
        "open", " ".join(filter(None, [f"A person has to write: {REPORTING_FIELDS[field]}.", more])), places, field
    )


def found(text: str, *places: str) -> Answer:
    """Return an answer that the study's files give."""
    return Answer("answered", text, places)


def inapplicable(reason: str) -> Answer:
    """Return why a topic does not apply."""
    return Answer("does not apply", reason)

"""What only a person can say about a study: the setting `reporting`, which the page of reporting guidelines prints."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from cxr_kd.study.settings import Settings

SHORTEST, LONGEST = 12, 4000  # characters of an answer
_PLACEHOLDERS = ("todo", "tbd", "to do", "to be", "xxx", "fixme", "lorem", "...", "?")


def one_line(text: Any) -> Any:
    """Return a text with every run of white space as one blank; another value unchanged."""
    return " ".join(text.split()) if isinstance(text, str) else text


def sentence(text: str) -> str:
    """Return an answer unchanged. Raises ValueError if it is empty, a placeholder, or longer than a page."""
    if not text or text.lower().startswith(_PLACEHOLDERS):
        raise ValueError(f"{text!r} is not an answer: write it, or leave the line out, which keeps the item open")
    if len(text) < SHORTEST:
        raise ValueError(f"{text!r} is too short to answer the item: write a whole sentence")
    if len(text) > LONGEST:
        raise ValueError(f"has {len(text):,} characters; write at most {LONGEST:,}")
    return text


Answer = Annotated[str, BeforeValidator(one_line), AfterValidator(sentence)] | None


def _asked(what: str) -> Any:
    return Field(None, description=what)


class Reporting(Settings):
    """A person's answers to TRIPOD+AI and CLAIM 2024, as plain text. What is left out stays open on the page."""

    background: Answer = _asked("the clinical or scientific problem, why a model helps, and which models exist")
    intended_use: Answer = _asked("for which patients, at which point of care and for which users the model is meant")
    inequalities: Answer = _asked("known inequalities in health care between groups of the patients concerned")
    implications: Answer = _asked("what the results mean for practice")
    representativeness: Answer = _asked("why these data were chosen, and which patients they represent")
    setting: Answer = _asked("kind, number and place of the hospitals that the images are from")
    dates: Answer = _asked("first and last date of the examinations")
    eligibility: Answer = _asked("which patients and images were included and excluded when the data were collected")
    treatments: Answer = _asked("treatments that matter for the findings, and how they were handled")
    acquisition: Answer = _asked("devices, views and settings with which the images were taken")
    deidentification: Answer = _asked("how the images and their data were de-identified")
    reference_standard: Answer = _asked("how it was decided which findings an image has")
    reference_rationale: Answer = _asked("why this reference standard was chosen, and its known weaknesses")
    annotators: Answer = _asked("who made the labels: number, training, experience, demographics, tools")
    rater_agreement: Answer = _asked("how far annotators agreed, and how disagreements were resolved")
    blinding: Answer = _asked("what annotators did not know when they made the labels")
    design: Answer = _asked("whether the images were collected before or after the study was planned")
    sample_size: Answer = _asked("how many patients were thought to be needed, and why")
    fairness: Answer = _asked("what was done so that the model serves all groups equally well, and why")
    ethics: Answer = _asked("ethics committee with the number of its approval, and consent or its waiver")
    funding: Answer = _asked("who paid for the study, and what the funders decided")
    conflicts: Answer = _asked("conflicts of interest of all authors, or that there are none")
    protocol: Answer = _asked("where the protocol of the study can be read")
    registration: Answer = _asked("register and number, or that the study was not registered")
    data_availability: Answer = _asked("how others get the data")
    code_availability: Answer = _asked("how others get the code and the trained networks")
    patients_involved: Answer = _asked("how patients and the public took part, or that they did not")
    failures: Answer = _asked("what somebody saw who looked at images that were classified wrongly")
    interpretation: Answer = _asked("what the main results mean beside earlier studies, fairness included")
    limitations: Answer = _asked("limitations of the study and their effects on bias and generalisability")
    input_quality: Answer = _asked("how images of poor quality are to be noticed and handled in use")
    users: Answer = _asked("what a user must do with images and results, and what training this takes")
    next_steps: Answer = _asked("which studies should follow")


REPORTING_FIELDS = {name: str(field.description) for name, field in Reporting.model_fields.items()}

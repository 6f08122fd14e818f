"""The page of reporting guidelines: both checklists, item by item, with links into the report."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from cxr_kd.report.citations import references
from cxr_kd.report.guidelines.answers import answer_all
from cxr_kd.report.guidelines.checklist import (
    CHECKLISTS,
    Answer,
    Checklist,
    Counts,
    Filled,
    count,
    fill,
    read_checklist,
)
from cxr_kd.report.guidelines.known import Known
from cxr_kd.report.study_files import StudyFiles
from cxr_kd.report.wording import counted
from cxr_kd.study import Study
from cxr_kd.study.reporting import REPORTING_FIELDS

PLACES = {  # anchor of the report -> how a link to it is called
    "asked": "What was asked", "data": "The data", "prevalence": "Findings on each side",
    "patients": "Patients and radiographs", "results": "Results", "single-findings": "Single findings",
    "effect": "Effect of distillation", "probabilities": "Probabilities", "groups": "Groups of patients",
    "agreement": "Student and teacher", "external": "Other hospitals: external testing", "ablation": "Ablation",
    "published": "Published results",
    "training": "Training", "explanations": "Explanations", "cost": "Cost on the device",
    "methods": "Methods", "again": "Run it again", "study-file": "The study file",
}  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A filled checklist as the page shows it."""

    key: str
    checklist: Checklist
    reference: str
    counts: Counts
    items: Sequence[Filled]

    @property
    def sentence(self) -> str:
        """How many items are answered: `TRIPOD+AI: 44 of 48 items that apply are answered, 4 are open`."""
        counts, total = self.counts, len(self.items)
        return (
            f"{self.checklist.title}: {counts.answered} of {counts.apply} items that apply are answered "
            f"({100 * counts.share:.0f} %), {counts.open} {'is' if counts.open == 1 else 'are'} open. "
            f"{counted(total - counts.apply, 'item does', 'items do')} not apply."
        )


def checklists(study: Study, files: StudyFiles) -> list[Section]:
    """Return both checklists, filled from a study and its files."""
    answers = answer_all(Known(study, files))
    sections = []
    for name in CHECKLISTS:
        checklist = read_checklist(name)
        items = fill(checklist, answers)
        sections.append(Section(name, checklist, references()[checklist.reference], count(items), items))
    return sections


def page_context(study: Study, files: StudyFiles, report: str) -> dict[str, Any]:
    """Return what the template `guidelines.html` shows; `report` is the HTML of the report that it links to."""
    sections = checklists(study, files)
    anchors = set(re.findall(r'\sid="([^"]+)"', report))
    return {
        "sections": sections,
        "open_settings": open_settings(sections),
        "open_otherwise": [(s.checklist.title, each) for s in sections for each in s.items
                           if each.state == "open" and not each.asked],
        "links": lambda part: links(part, anchors),
    }  # fmt: skip


def open_settings(sections: Sequence[Section]) -> Mapping[str, tuple[str, list[str]]]:
    """Return setting of `reporting` -> what a person has to write, and the items that wait for it."""
    waiting: dict[str, tuple[str, list[str]]] = {}
    for section in sections:
        for each in section.items:
            for field in each.asked:
                waiting.setdefault(field, (REPORTING_FIELDS[field], []))[1].append(
                    f"{section.checklist.title} {each.item.number}"
                )
    return waiting


def links(part: Answer, anchors: Set[str]) -> list[tuple[str, str]]:
    """Return (address, name) of each place of an answer that the report has; its top if it has none of them."""
    if part.state == "does not apply":
        return []
    there = [(f"index.html#{place}", PLACES[place]) for place in part.places if place in anchors]
    return there or ([("index.html", "Report")] if part.state == "answered" else [])

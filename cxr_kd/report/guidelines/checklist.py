"""The items of the two checklists, and what an answer to an item is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import yaml

State = Literal["answered", "open", "does not apply"]
CHECKLISTS = ("tripod_ai", "claim_2024")  # files of this folder


@dataclass(frozen=True)
class Answer:
    """What the study says about a topic.

    places: anchors of the report (`index.html#ANCHOR`) where it stands; those that the report does not have are not
    linked. ask: for an open answer, the setting of `reporting` in the study file that a person has to write.
    """

    state: State
    text: str
    places: tuple[str, ...] = ()
    ask: str = ""


@dataclass(frozen=True)
class Item:
    """An item of a checklist: `answers` are the names of the answers that it needs (`answers.ANSWERS`)."""

    number: str
    section: str
    topic: str
    asks: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Checklist:
    """A checklist: its name, the key of its reference in `references.yaml`, its items in order."""

    title: str
    reference: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Filled:
    """An item with its state and the parts of its answer."""

    item: Item
    state: State
    parts: tuple[Answer, ...]

    @property
    def asked(self) -> tuple[str, ...]:
        """Settings of `reporting` that a person has to write."""
        return tuple(part.ask for part in self.parts if part.state == "open" and part.ask)


@dataclass(frozen=True)
class Counts:
    """How many items of a checklist apply, and how many of those are answered or open."""

    apply: int
    answered: int
    open: int

    @property
    def share(self) -> float:
        """Share of the items that apply that are answered, 0 to 1; 1 if none applies."""
        return self.answered / self.apply if self.apply else 1.0


@cache
def read_checklist(name: str) -> Checklist:
    """Return one of CHECKLISTS from its file."""
    content = _read(f"{name}.yaml")
    items = tuple(
        Item(each["number"], each["section"], each["topic"], each["asks"], tuple(each["answer"]))
        for each in content["items"]
    )
    return Checklist(content["title"], content["reference"], items)


@cache
def data_set_facts(dataset: str) -> Mapping[str, str]:
    """Return what the authors of a data set say about it, each fact with its source; empty for other data."""
    facts: Mapping[str, Mapping[str, str]] = _read("data_sets.yaml").get(dataset, {})
    return {name: f"{fact['text']} (Source: {fact['source']}.)" for name, fact in facts.items()}


def fill(checklist: Checklist, answers: Mapping[str, Answer]) -> list[Filled]:
    """Return each item with its state: open if a part is open, not applicable if no part applies, else answered."""
    filled = []
    for item in checklist.items:
        parts = tuple(answers[name] for name in item.answers)
        filled.append(Filled(item, state_of([part.state for part in parts]), parts))
    return filled


def state_of(states: Sequence[State]) -> State:
    """Return the state of an item from those of its parts."""
    if "open" in states:
        return "open"
    return "answered" if "answered" in states else "does not apply"


def count(filled: Sequence[Filled]) -> Counts:
    """Return the counts of a filled checklist."""
    answered, still_open = (sum(each.state == state for each in filled) for state in ("answered", "open"))
    return Counts(answered + still_open, answered, still_open)


def _read(name: str) -> Any:
    return yaml.safe_load(files("cxr_kd.report.guidelines").joinpath(name).read_text("utf-8"))

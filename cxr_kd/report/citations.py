"""Numbered citations: each reference gets its number when a text first cites it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml


@cache
def references() -> dict[str, str]:
    """Return key -> reference, from `references.yaml`."""
    content: dict[str, str] = yaml.safe_load(files("cxr_kd.report").joinpath("references.yaml").read_text("utf-8"))
    return content


class Citations:
    """The references that a text has cited so far, in their order."""

    def __init__(self) -> None:
        self._cited: list[str] = []

    def __call__(self, *keys: str) -> str:
        """Return the citation of references of `references.yaml`: `[3, 5]`. Raises KeyError for another key."""
        return self.text(*(references()[key] for key in keys))

    def text(self, *cited: str) -> str:
        """Return the citation of references given as text, such as a data card's; "" without one."""
        cited = tuple(dict.fromkeys(cited))
        self._cited += [each for each in cited if each not in self._cited]
        return f"[{', '.join(str(self._cited.index(each) + 1) for each in cited)}]" if cited else ""

    def listed(self) -> str:
        """Return the list of references, one numbered line each."""
        return "\n".join(f"{number}. {text}" for number, text in enumerate(self._cited, 1))

"""Numbered citations: each reference gets its number when a text first cites it. References as links and BibTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
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


_PLACES = {"arXiv:": "https://arxiv.org/abs/", "doi:": "https://doi.org/"}


def link(reference: str) -> str:
    """Return the address of a reference that names its DOI or its number at arXiv; "" for another."""
    found = re.search(r"\b(arXiv:|doi:)(\S+?)[.,]?(?= |$)", reference)
    return _PLACES[found[1]] + found[2] if found else ""


def bibtex(cited: Sequence[str]) -> str:
    """Return references as BibTeX, one entry each; the name of an entry is its key in `references.yaml`, or ref1 ...

    A reference reads: authors. Title. Where and when. One without these three parts, such as a data card's, is kept
    whole as a title.
    """
    keys = {text: key for key, text in reversed(references().items())}
    return "\n".join(_entry(keys.get(text, f"ref{number}"), text) for number, text in enumerate(cited, 1))


def _entry(key: str, reference: str) -> str:
    authors, title, *where = [*re.split(r"(?<=[.?!]) ", reference, maxsplit=2), "", ""]
    year = re.search(r"\b(?:19|20)\d\d\b(?!.*\b(?:19|20)\d\d\b)", re.sub(r"(arXiv:|doi:)\S+", "", reference))
    if not where[0]:
        authors, title = "", reference
    names = [name.rpartition(" ") for name in authors.removesuffix(".").split(", ") if name and name != "et al"]
    others = ["others"] if "et al" in authors else []
    fields = {
        "author": " and ".join([*(f"{surname}, {initials}" for surname, _, initials in names), *others]),
        "title": f"{{{title.removesuffix('.')}}}",
        "howpublished": where[0].removesuffix("."),
        "year": year[0] if year else "",
        "url": link(reference),
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}\n"])

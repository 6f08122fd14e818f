"""Numbers, lists and kinds of testing as words, for the text of the report."""

from __future__ import annotations

from collections.abc import Sequence


def number(value: float) -> str:
    """Return a number with thousands separated: 112,120; 0.001; 3."""
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def percent(share: float) -> str:
    """Return a share as a percentage: 0.05 -> 5 %."""
    return f"{100 * share:g} %"


def listed(texts: Sequence[str]) -> str:
    """Return texts as a list in a sentence: a, b and c."""
    return " and ".join([", ".join(texts[:-1]), texts[-1]]) if len(texts) > 1 else "".join(texts)


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun: 1 image, 2 images."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"

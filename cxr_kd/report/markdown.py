"""Text from data, made safe for Markdown: a title or a file name is shown as it is and never read as markup.

Titles, questions, names of findings, reasons and paths come from files of the user or of a data set. Every one of them
goes through `text` or `code` before it becomes part of a Markdown cell.
"""

import re
from typing import Any

_SPECIAL = re.compile(r"[\\`*_{}\[\]<>()#+\-.!|~$&\"'=:^@]")


def text(value: Any) -> str:
    """Return a value as Markdown text in one line; characters with a meaning in Markdown or HTML are escaped."""
    return _SPECIAL.sub(r"\\\g<0>", _one_line(value))


def code(value: Any) -> str:
    """Return a value as a Markdown code span, fenced by more backticks than it contains itself."""
    content = _one_line(value)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", content)), default=0))
    padding = " " if content.startswith("`") or content.endswith("`") or not content else ""
    return f"{fence}{padding}{content}{padding}{fence}"


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())

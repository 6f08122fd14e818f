"""What notebooks say and show: a study's title and question, a sentence, and a sentence where there is no table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cxr_kd.report import markdown

if TYPE_CHECKING:
    from IPython.display import Markdown

    from cxr_kd.study import Study


def about(study: Study) -> Markdown:
    """Return the title and the question of a study, for the first cell of a notebook."""
    from IPython.display import Markdown  # not needed outside notebooks

    end = "" if study.title.rstrip().endswith((".", "?", "!")) else "."
    return Markdown(f"**{markdown.text(study.title)}{end}** {markdown.text(study.question)}")


def say(sentence: Any) -> Markdown:
    """Return a sentence for a cell to show. Characters with a meaning in Markdown are shown as they are."""
    from IPython.display import Markdown

    return Markdown(markdown.text(sentence))


def code(line: Any) -> Markdown:
    """Return one line of code, a path or a formula for a cell to show, in a fixed-width font."""
    from IPython.display import Markdown

    return Markdown(markdown.code(line))


def show(*things: Any, otherwise: str = "") -> None:
    """Show tables, figures and sentences; None is left out. If nothing is left, show the sentence `otherwise`."""
    from IPython.display import display

    display(*([thing for thing in things if thing is not None] or [say(otherwise)]))


def show_drawn(drawn: Iterable[Any]) -> None:
    """Show figures, each with its caption above it (`detail_views.Drawn`)."""
    from IPython.display import display

    for each in drawn:
        display(say(each.caption), each.figure)

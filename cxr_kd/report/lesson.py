"""What notebooks say and show: a study's title and question, a sentence, and a sentence where there is no table."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

from cxr_kd.report import markdown

if TYPE_CHECKING:
    from IPython.display import HTML, Markdown

    from cxr_kd.study import Study


# What each notebook makes of what: number of the notebook -> its name, and what comes in and out.
STEPS = {
    1: ("1 Data", "radiographs \N{RIGHTWARDS ARROW} images, split by patient"),
    2: ("2 Teacher", "images, labels \N{RIGHTWARDS ARROW} a large network"),
    3: ("3 Student", "labels, teacher's answers \N{RIGHTWARDS ARROW} a small network"),
    4: ("4 Evaluation", "answers on the test side \N{RIGHTWARDS ARROW} AUROC, intervals"),
    5: ("5 Ablation", "students with one difference \N{RIGHTWARDS ARROW} what matters"),
    6: ("6 Explanation", "maps, known places \N{RIGHTWARDS ARROW} where networks look"),
    7: ("7 Device", "networks \N{RIGHTWARDS ARROW} cost, one file each"),
    8: ("8 Report", "all results \N{RIGHTWARDS ARROW} one page"),
}
# Styles that a page made from the notebook keeps. The notebook's own step has a colour.
_ELSEWHERE = ' style="text-align: left; vertical-align: top"'
_HERE = ' style="text-align: left; vertical-align: top; background-color: rgba(0, 114, 178, 0.18)"'


def about(study: Study, step: int) -> HTML:
    """Return the title and the question of a study, and the steps of all notebooks, in which this one's is marked."""
    from IPython.display import HTML  # not needed outside notebooks

    def row(tag: str, column: int) -> str:
        of_steps = ((_HERE if number == step else _ELSEWHERE, escape(said[column])) for number, said in STEPS.items())
        return f"<tr>{''.join(f'<{tag}{look}>{text}</{tag}>' for look, text in of_steps)}</tr>"

    asked = f"<p><strong>{escape(study.title)}</strong> {escape(study.question)}</p>"
    return HTML(f"{asked}<table><thead>{row('th', 0)}</thead><tbody>{row('td', 1)}</tbody></table>")


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

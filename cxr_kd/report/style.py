"""The look of every figure of the study: one colour and one marker per role of a network, one typography.

The colours are those of Okabe and Ito (2008), which people with common colour vision deficiencies can tell apart. The
control, the student alone, is grey. Each role also has a marker of its own, for print without colour.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import Any, TypeVar

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cxr_kd.models import registry
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, arms_of, main_arms
from cxr_kd.study.runs import Run

INK, MUTED, RULE = "#1b1f24", "#5c6570", "#d7dce1"
# role -> (colour, marker)
ROLES = {
    "teacher, CNN": ("#0072b2", "o"),
    "teacher, transformer": ("#009e73", "D"),
    "student alone": ("#6e7680", "s"),
    "student distilled from a CNN": ("#d55e00", "^"),
    "student distilled from a transformer": ("#c78500", "v"),
    "student distilled from several": ("#cc79a7", "P"),
}
# The second and third arm of a role have a darker colour and another marker.
_AGAIN = ((1.0, ""), (0.5, "<"), (0.25, ">"))
METRIC_NAMES = {"auroc": "AUROC", "average_precision": "Average precision"}
TYPOGRAPHY: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "white",
    "svg.hashsalt": "cxr_kd",  # the same figure gives the same file
    "svg.fonttype": "path",  # looks the same if a font is missing
}
DPI = 160
Drawn = TypeVar("Drawn", bound=Callable[..., Figure])


class StudyFigure(Figure):
    """A figure that a notebook can show without pyplot. pyplot would keep every figure in memory."""

    def _repr_png_(self) -> bytes:
        return to_png(self)


@dataclass(frozen=True)
class ArmStyle:
    """How an arm of the study is called and drawn, in every table and figure.

    `network` is the title of its own network, `teachers` those of its teachers ("" without one), `variant` the label
    that the study gives the student. `label` has all three.
    """

    arm: str
    label: str
    role: str
    colour: str
    marker: str
    network: str
    teachers: str = ""
    variant: str = ""


def styled(draw: Drawn) -> Drawn:
    """Return a drawing function that uses TYPOGRAPHY, whatever the caller's matplotlib settings are."""

    @functools.wraps(draw)
    def wrapped(*arguments: Any, **settings: Any) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(TYPOGRAPHY)
            return draw(*arguments, **settings)

    return wrapped  # type: ignore[return-value]


def letter_panels(panels: Iterable[Axes], pad: float = 6) -> None:
    """Put a, b, c, ... before the titles of a figure's panels, `pad` points above them."""
    for letter, axes in zip(ascii_lowercase, panels, strict=False):
        axes.set_title(f"{letter}  {axes.get_title(loc='left')}".rstrip(), pad=pad)


def name_rows(axes: Axes, lines: Sequence[tuple[str, Any]]) -> None:
    """Name the rows of a figure, from the top. A row without a value (None) is the bold head of those below it."""
    for position, (_, value) in enumerate(lines):
        if value is None:
            axes.axhline(position - 0.5, color=RULE, linewidth=0.8)
    axes.set_yticks(range(len(lines)), [text for text, _ in lines])
    for label, (_, value) in zip(axes.get_yticklabels(), lines, strict=True):
        label.set_fontweight("bold" if value is None else "normal")
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")


def arm_styles(study: Study) -> dict[str, ArmStyle]:
    """Return the style of each arm, in the study's order. Every figure draws the arms in this order.

    Up to three arms of one role, such as students of one teacher with other losses, differ in colour and marker.
    """
    styles: dict[str, ArmStyle] = {}
    for arm, runs in arms_of(study).items():
        style = style_of(arm, runs[0])
        earlier = sum(each.role == style.role for each in styles.values())
        light, marker = _AGAIN[min(earlier, len(_AGAIN) - 1)]
        red, green, blue = mpl.colors.to_rgb(style.colour)
        colour = mpl.colors.to_hex((light * red, light * green, light * blue))
        styles[arm] = replace(style, colour=colour, marker=marker or style.marker)
    return styles


def main_styles(study: Study) -> dict[str, ArmStyle]:
    """Return the style of each arm of crowded figures (`arms.main_arms`)."""
    styles = arm_styles(study)
    return {arm: styles[arm] for arm in main_arms(study)}


def arm_labels(study: Study) -> dict[str, str]:
    """Return the name of each arm, an ablation's variants included."""
    return {arm: style_of(arm, runs[0]).label for arm, runs in all_arms(study).items()}


def style_of(arm: str, run: Run) -> ArmStyle:
    """Return the style of an arm, from any of its runs."""
    network, teachers = registry.info(run.network), [registry.info(name) for name in run.teachers]
    names = " and ".join(teacher.title for teacher in teachers)
    if run.role == "teacher":
        role, label = f"teacher, {network.kind}", network.title
    elif not teachers:
        role, label = "student alone", f"{network.title} alone"
    else:
        kind = f"a {teachers[0].kind}" if len(teachers) == 1 else "several"
        role, label = f"student distilled from {kind}", f"{network.title} from {names}"
    label = f"{label} ({run.label})" if run.label else label
    return ArmStyle(arm, label, role, *ROLES[role], network.title, names, run.label)


def plain_styles(arms: Sequence[str]) -> dict[str, ArmStyle]:
    """Return a style for each arm that no study describes, labelled by its name; colours repeat after six."""
    looks = list(ROLES.values())
    return {
        arm: ArmStyle(arm, arm, "network", *looks[number % len(looks)], arm, "", "") for number, arm in enumerate(arms)
    }


def finding_name(finding: str) -> str:
    """Return a finding as it is printed: Pleural_Thickening -> Pleural thickening, COPD -> COPD."""
    text = finding.replace("_", " ")
    return text if text.isupper() else text[:1].upper() + text[1:].lower()


def to_png(figure: Figure) -> bytes:
    """Return the figure as PNG, for notebooks."""
    return _save(figure, "png", {"Software": None})


def to_svg(figure: Figure) -> bytes:
    """Return the figure as SVG, for the report. The same figure gives the same bytes.

    The coordinates of paths are cut to a hundredth of a point, which makes the report a fifth smaller.
    """
    svg = _save(figure, "svg", {"Date": None, "Creator": None})
    return re.sub(rb' d="[^"]*"', lambda path: re.sub(rb"(\.\d\d)\d+", rb"\1", path.group()), svg)


def _save(figure: Figure, kind: str, metadata: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context(TYPOGRAPHY):
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    return buffer.getvalue()

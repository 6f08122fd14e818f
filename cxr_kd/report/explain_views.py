"""What notebook 06_explain shows: maps of single images, and the report's tables of all maps.

`tables` are those of `explanation.map_tables`: file name -> table. What a study or its data do not have is None, or an
empty list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from cxr_kd.explanation.cases import choose_cases
from cxr_kd.explanation.examples import Example, choose_examples, explain_examples
from cxr_kd.report import pictures
from cxr_kd.report.lesson import say
from cxr_kd.report.maps import check_tables, figures, other_methods, panel, views
from cxr_kd.report.maps.check_tables import Frames
from cxr_kd.report.maps.where_figure import where_figure
from cxr_kd.report.style import arm_labels, arm_styles
from cxr_kd.report.tables import Table
from cxr_kd.study import Study
from cxr_kd.study.arms import arms_of, main_arms, taught

if TYPE_CHECKING:
    from cxr_kd.data.prepare import Prepared
    from cxr_kd.explanation.choice import Choice  # loads torch, as the networks do
    from cxr_kd.models.classifier import CxrClassifier

NO_PLACES = "These data do not say where a finding is, so no map can be compared with its place."


@dataclass(frozen=True, eq=False)
class SingleImages:
    """Maps of single test images by the first training of each network, in the form that `choice` names."""

    study: Study
    data: Prepared
    choice: Choice

    @cached_property
    def networks(self) -> dict[str, CxrClassifier]:
        """Arm -> network."""
        from cxr_kd.training.finished_run import load_run

        return {arm: load_run(self.study, runs[0], self.data) for arm, runs in arms_of(self.study).items()}

    @cached_property
    def examples(self) -> list[Example]:
        """Images drawn at random among those with a finding; no network takes part in the choice."""
        return self._explain(choose_examples(self.data, self.study.explanation.images))

    def figure(self) -> Figure:
        """Return the figure of the examples, and write it for the report."""
        return pictures.write_explanations(self.study, self.data, self.examples, self.choice)

    def panel(self) -> panel.Panel:
        """Return the panel in which image, finding, network and form of map can be chosen."""
        styles, forms = arm_styles(self.study), ("plain", self.choice.form)
        return panel.panel_of_examples(self.examples, self.networks, styles, self.data, forms)

    def cases(self) -> None:
        """Show images that teacher and student both find or overlook, and those that only one of them finds."""
        from IPython.display import Markdown, display

        teacher, student = taught(self.study)[0][0], main_arms(self.study)[-1]
        for kind, pairs in choose_cases(self.study, self.data, teacher, student).items():
            display(Markdown(f"### {kind.capitalize()}"))
            if pairs:
                display(figures.explanation(self._explain(pairs), arm_styles(self.study)))
            else:
                display(say("There is no such case."))

    def other_methods(self) -> list[Figure]:
        """Return the first example explained by SHAP and by integrated gradients, of the last distilled student."""
        student = main_arms(self.study)[-1]
        label = arm_styles(self.study)[student].label
        return other_methods.other_methods(self.networks[student], self.examples[0], label)

    def _explain(self, pairs: Sequence[tuple[str, str]]) -> list[Example]:
        form, reading = self.choice.form, self.choice.reading
        return explain_examples(self.networks, self.data, pairs, form=form, reading=reading)


def forms(study: Study, tables: Frames) -> Table | None:
    """Return what each form of map found on validation images."""
    return check_tables.form_table(tables, arm_styles(study))


def where(study: Study, tables: Frames) -> list[Any]:
    """Return where each network looks: a sentence, the report's figure and its table."""
    if not views.measured(tables):
        return []
    styles = arm_styles(study)
    found = say(views.answer(tables, styles)), where_figure(tables, styles)
    return [*found, views.headline_table(tables, styles)]


def placement(study: Study, tables: Frames) -> Table | None:
    """Return whether the cells of the maps are drawn where they look."""
    return check_tables.placement_table(tables, arm_styles(study)) if views.measured(tables) else None


def groups(study: Study, tables: Frames) -> list[Table]:
    """Return the pointing game by size of the finding, and by finding."""
    if not views.measured(tables):
        return []
    return [views.group_table(tables, arm_styles(study), by) for by in ("size", "finding")]


def differences(study: Study, tables: Frames) -> Table | None:
    """Return what distillation did to the maps."""
    return views.difference_table(tables, arm_labels(study))


def agreement(study: Study, tables: Frames) -> Table | None:
    """Return how far students look where their teachers look."""
    return check_tables.agreement_table(tables, arm_styles(study))


def faithful(study: Study, tables: Frames) -> Table:
    """Return whether the networks need what their maps mark."""
    return check_tables.faithful_table(tables, arm_styles(study))


def drain(study: Study, tables: Frames) -> Table | None:
    """Return what a chest drain does to the networks' answers."""
    return check_tables.drain_table(tables, arm_styles(study))

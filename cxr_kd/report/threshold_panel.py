"""A panel about one threshold: a slider in a live notebook, a figure everywhere.

It shows what a threshold on the score of one finding and one network does on the validation side. Thresholds are chosen
there; the test side must not take part in the choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.special import expit

from cxr_kd.errors import ReportError
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.probability.operating_points import choose_operating_points
from cxr_kd.evaluation.study_results import read_predictions
from cxr_kd.report.maps.panel import is_live
from cxr_kd.report.style import INK, MUTED, StudyFigure, arm_styles, finding_name, styled, to_png
from cxr_kd.report.tables import DASH
from cxr_kd.study import Study
from cxr_kd.study.arms import arms_of

if TYPE_CHECKING:
    import ipywidgets

PRESENT, ABSENT = "#274060", "#b9cde0"  # images with and without the finding
RIGHT, WRONG = "#e4ebf2", "#f6dfd3"
BINS = np.linspace(0, 1, 41)


@dataclass(frozen=True)
class Counts:
    """What a threshold does to the images with a known label: how many of each kind there are."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def sensitivity(self) -> float:
        """Share of the images with the finding that are called; NaN if there is none."""
        return _share(self.true_positives, self.false_negatives)

    @property
    def specificity(self) -> float:
        """Share of the images without the finding that are not called; NaN if there is none."""
        return _share(self.true_negatives, self.false_positives)


def count(scores: np.ndarray, labels: np.ndarray, threshold: float) -> Counts:
    """Return the counts at a threshold: an image is called if its score (n,) is at least that; labels 1, 0 or NaN."""
    called = scores >= threshold
    kinds = ((labels == 1) & called, (labels == 0) & called, (labels == 1) & ~called, (labels == 0) & ~called)
    return Counts(*(int(kind.sum()) for kind in kinds))


def panel_of_study(study: Study, *, widget: bool | None = None) -> ThresholdPanel:
    """Return the panel of all arms (the first seed of each), from its predictions of the validation side.

    `widget`: whether it has a slider; default: `is_live`.
    """
    styles = arm_styles(study)
    predictions = read_predictions(study, arms_of(study), "validation")
    return ThresholdPanel({styles[arm].label: runs[0] for arm, runs in predictions.items()}, widget=widget)


class ThresholdPanel:
    """The choice of network, finding and threshold, its counts and figure, and in a live notebook its controls.

    `choice`: {"network": name, "finding": name, "threshold": score in [0, 1]}. It begins with the last network, the
    finding with most positives, and their threshold with the largest sensitivity + specificity.
    """

    def __init__(self, predictions: Mapping[str, Predictions], *, widget: bool | None = None) -> None:
        if not predictions:
            raise ReportError("a panel of thresholds needs the predictions of at least one network")
        self._predictions = predictions
        network = list(predictions)[-1]
        first = predictions[network]
        finding = first.findings[int(np.argmax((first.labels == 1).sum(axis=0)))]
        self.choice: dict[str, Any] = {"network": network, "finding": finding}
        self.choice["threshold"] = self.best_threshold()
        self.controls: dict[str, Any] = {}
        self._box: ipywidgets.VBox | None = None
        if is_live() if widget is None else widget:
            self._make_widget()

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores (sigmoid of the logits, (n,) float64) and labels (n,) of the choice."""
        predictions = self._predictions[self.choice["network"]]
        column = predictions.findings.index(self.choice["finding"])
        return expit(predictions.logits[:, column].astype(np.float64)), predictions.labels[:, column]

    def best_threshold(self) -> float:
        """Return the score with the largest sensitivity + specificity (Youden); 0.5 if there is none."""
        points = choose_operating_points(self._predictions[self.choice["network"]])
        found = points.of(self.choice["finding"], "youden").raw_probability
        return 0.5 if found is None else found

    def counts(self) -> Counts:
        """Return the counts at the chosen threshold."""
        return count(*self.scores(), self.choice["threshold"])

    def choose(self, **choice: Any) -> None:
        """Change the choice. Another network or finding begins with its best threshold. ReportError for no choice."""
        for name, value in choice.items():
            if name == "threshold":
                allowed, known = "a number from 0 to 1", isinstance(value, int | float) and 0 <= value <= 1
            else:
                options = self._options(name)
                allowed, known = ", ".join(options) or "network, finding, threshold", value in options
            if not known:
                raise ReportError(f"the panel has no {name} {value!r}; there is: {allowed}")
            self.choice[name] = value
            if name != "threshold" and "threshold" not in choice:
                self.choice["threshold"] = self.best_threshold()

    def figure(self) -> Figure:
        """Return the figure of the choice."""
        scores, labels = self.scores()
        name = f"{finding_name(self.choice['finding'])}, {self.choice['network']}"
        return threshold_figure(scores, labels, self.choice["threshold"], name)

    def _options(self, name: str) -> list[str]:
        findings = self._predictions[self.choice["network"]].findings
        return list({"network": self._predictions, "finding": findings}.get(name, ()))

    def _make_widget(self) -> None:
        import ipywidgets

        for name in ("network", "finding"):
            options = self._options(name)
            self.controls[name] = ipywidgets.Dropdown(options=options, value=self.choice[name], description=name)
        self.controls["threshold"] = ipywidgets.FloatSlider(
            value=self.choice["threshold"], min=0, max=1, step=0.01, readout_format=".3f", description="threshold",
            continuous_update=False, layout={"width": "32em"},
        )  # fmt: skip
        for name, control in self.controls.items():
            control.observe(lambda change, name=name: self._changed(name, change["new"]), names="value")
        self.picture = ipywidgets.Image(value=to_png(self.figure()), format="png", layout={"max_width": "100%"})
        self._box = ipywidgets.VBox([ipywidgets.HBox(list(self.controls.values())), self.picture])

    def _changed(self, name: str, value: Any) -> None:
        if value == self.choice[name]:  # set from here
            return
        self.choose(**{name: value})
        self.controls["threshold"].value = self.choice["threshold"]
        self.picture.value = to_png(self.figure())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Return the figure of the choice, and in a live notebook the widget, which its viewer prefers."""
        static = {"image/png": to_png(self.figure()), "text/plain": ", ".join(map(str, self.choice.values()))}
        if self._box is None:
            return static
        shown = self._box._repr_mimebundle_(include=include, exclude=exclude)
        return {**static, **(shown or {})}


@styled
def threshold_figure(scores: np.ndarray, labels: np.ndarray, threshold: float, name: str) -> Figure:
    """Draw the scores (n,) of images with and without a finding, a threshold, and the four counts."""
    figure = StudyFigure(figsize=(8.6, 3.3), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    for label, colour, word in ((0, ABSENT, "without"), (1, PRESENT, "with")):
        chosen = scores[labels == label]
        left.hist(chosen, BINS, color=colour, alpha=0.75, label=f"{len(chosen):,} {word} the finding")
    left.axvline(threshold, color=INK, linewidth=1.4)
    left.annotate("called \N{RIGHTWARDS ARROW}", (threshold, 1), (3, -2), ("data", "axes fraction"), "offset points",
                  va="top", fontsize=8.5)  # fmt: skip
    left.set(title=name, xlabel="score (sigmoid of the logit)", ylabel="validation images", xlim=(0, 1))
    left.legend(loc="upper right", bbox_to_anchor=(1, 0.93))
    _draw_counts(right, count(scores, labels, threshold))
    right.set_title(f"Called present: score of at least {threshold:.3f}")
    return figure


def _draw_counts(axes: Axes, counts: Counts) -> None:
    """Draw the four counts as a table; beside each row is the share that is right."""
    cells = (
        (0, 1, counts.true_positives, "true positives", RIGHT),
        (1, 1, counts.false_negatives, "missed\n(false negatives)", WRONG),
        (0, 0, counts.false_positives, "false alarms\n(false positives)", WRONG),
        (1, 0, counts.true_negatives, "true negatives", RIGHT),
    )
    for column, row, number, word, colour in cells:
        axes.add_patch(Rectangle((column, row), 0.97, 0.95, facecolor=colour, edgecolor="none"))
        axes.text(column + 0.48, row + 0.62, f"{number:,}", ha="center", va="center", fontsize=15, fontweight="bold")
        axes.text(column + 0.48, row + 0.24, word, ha="center", va="center", fontsize=8.5, color=MUTED)
    for row, word, share in ((1, "sensitivity", counts.sensitivity), (0, "specificity", counts.specificity)):
        said = DASH if np.isnan(share) else f"{share:.2f}"
        axes.text(2.06, row + 0.62, said, va="center", fontsize=15, fontweight="bold")
        axes.text(2.06, row + 0.24, word, va="center", fontsize=8.5, color=MUTED)
    axes.set_xticks([0.48, 1.48], ["called present", "called absent"])
    axes.set_yticks([0.48, 1.48], ["without", "with"])
    axes.tick_params(length=0)
    axes.set(xlim=(0, 2.75), ylim=(0, 2))
    axes.spines[:].set_visible(False)


def _share(right: int, wrong: int) -> float:
    return right / (right + wrong) if right + wrong else float("nan")

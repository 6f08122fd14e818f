"""A panel to look at maps: dropdowns for image, finding, network and method in a live notebook, a figure everywhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from cxr_kd.errors import ReportError
from cxr_kd.explanation.examples import Example
from cxr_kd.explanation.methods.cam import Explainer
from cxr_kd.explanation.places import place_of
from cxr_kd.report.maps.overlays import Overlay, overlay_figure
from cxr_kd.report.style import ArmStyle, finding_name, to_png

if TYPE_CHECKING:
    import ipywidgets

    from cxr_kd.data.prepare import Prepared
    from cxr_kd.models.classifier import CxrClassifier

Places = Callable[[str, str], np.ndarray | None]  # image id, finding -> its pixels, None if it is not marked
CHOICES = ("image", "finding", "network", "method")


def panel(
    images: Mapping[str, np.ndarray],
    findings: Sequence[str],
    networks: Mapping[str, Mapping[str, Explainer]],
    places: Places | None = None,
    *,
    widget: bool | None = None,
) -> Panel:
    """Return a panel that a notebook shows as the last line of a cell.

    In a live notebook it has dropdowns, and the figure follows them. In a batch run (papermill, nbconvert) and so in
    the HTML page made from it, it is the figure of the first choice of each. `widget` says which; default: `is_live`.

    `images`: id -> radiograph, uint8 (S, S). `findings`: those of every network, in the order of its logits.
    `networks`: name -> method -> explainer. `places`: the true place of a finding, which is outlined. Raises
    ReportError if there is nothing to choose from.
    """
    if not images or not findings or not networks or not all(networks.values()):
        raise ReportError("a panel of maps needs at least one image, one finding, and one network with a method")
    return Panel(images, findings, networks, places, live=is_live() if widget is None else widget)


def panel_of_examples(
    examples: Sequence[Example],
    networks: Mapping[str, CxrClassifier],
    styles: Mapping[str, ArmStyle],
    data: Prepared,
    forms: Sequence[str],
) -> Panel:
    """Return the panel of examples, with all findings; `networks` by arm, `forms` as in `grids.FORMS`.

    It opens with the first example and the last form.
    """
    from cxr_kd.explanation.methods.grids import explainer

    images, findings = {example.image_id: example.image for example in examples}, data.table.findings
    methods = {
        styles[arm].label: {form: explainer(network, form) for form in dict.fromkeys(forms)}
        for arm, network in networks.items()
    }
    places = {(image_id, finding): place_of(data, image_id, finding) for image_id in images for finding in findings}
    found = panel(images, findings, methods, lambda *pair: places[pair])
    found.choose(image=examples[0].image_id, finding=examples[0].finding, method=forms[-1])
    return found


class Panel:
    """The panel's choice, its figure, and in a live notebook its dropdowns (`dropdowns`, by the names in CHOICES)."""

    def __init__(
        self,
        images: Mapping[str, np.ndarray],
        findings: Sequence[str],
        networks: Mapping[str, Mapping[str, Explainer]],
        places: Places | None,
        *,
        live: bool,
    ) -> None:
        self._images, self._findings, self._networks, self._places = images, tuple(findings), networks, places
        self._explained: dict[tuple[str, str, str], tuple[np.ndarray, np.ndarray]] = {}
        network = next(iter(networks))
        self.choice = {
            "image": next(iter(images)),
            "finding": self._findings[0],
            "network": network,
            "method": next(iter(networks[network])),
        }
        self.dropdowns: dict[str, Any] = {}
        self._box: ipywidgets.VBox | None = None
        if live:
            self._make_widget()

    def explained(self) -> tuple[float, np.ndarray]:
        """Return the logit and the signed evidence (h, w) of the chosen image, finding, network and method."""
        key = (self.choice["image"], self.choice["network"], self.choice["method"])
        if key not in self._explained:
            self._explained[key] = _explain(self._networks[key[1]][key[2]], self._images[key[0]])
        logits, evidence = self._explained[key]
        if len(logits) != len(self._findings):
            raise ReportError(f"{key[1]} has {len(logits)} findings, the panel {len(self._findings)}: give all of them")
        column = self._findings.index(self.choice["finding"])
        return float(logits[column]), evidence[column]

    def figure(self) -> Figure:
        """Return the figure of the choice: the radiograph, its overlay, and the true place on both if it is known."""
        image, finding = self._images[self.choice["image"]], self.choice["finding"]
        logit, evidence = self.explained()
        place = self._places(self.choice["image"], finding) if self._places else None
        said = f"logit {logit:+.2f}".replace("-", "\N{MINUS SIGN}")
        marked = "outlined" if place is not None else "not outlined"
        panels = [
            Overlay(f"{finding_name(finding)}, {marked}", place=place),
            Overlay(f"{self.choice['network']}, {said}", evidence, place),
        ]
        cells = " x ".join(map(str, evidence.shape))
        return overlay_figure(image, panels, self.choice["image"], f"Maps: {self.choice['method']}, {cells} cells.")

    def choose(self, **choice: str) -> None:
        """Change the choice by name, as the dropdowns do; ReportError for one that is not there."""
        for name, value in choice.items():
            if name not in CHOICES or value not in self._options(name):
                allowed = ", ".join(self._options(name) if name in CHOICES else CHOICES)
                raise ReportError(f"the panel has no {name} {value!r}; there is: {allowed}")
            self.choice[name] = value
            methods = self._options("method")
            if self.choice["method"] not in methods:
                self.choice["method"] = methods[0]

    def _options(self, name: str) -> list[str]:
        methods = self._networks[self.choice["network"]]
        return list(
            {"image": self._images, "finding": self._findings, "network": self._networks, "method": methods}[name]
        )

    def _make_widget(self) -> None:
        import ipywidgets

        for name in CHOICES:
            options = self._options(name)
            dropdown = ipywidgets.Dropdown(options=options, value=self.choice[name], description=name)
            dropdown.observe(lambda change, name=name: self._changed(name, change["new"]), names="value")
            self.dropdowns[name] = dropdown
        self.picture = ipywidgets.Image(value=to_png(self.figure()), format="png", layout={"max_width": "100%"})
        self._box = ipywidgets.VBox([ipywidgets.HBox(list(self.dropdowns.values())), self.picture])

    def _changed(self, name: str, value: str | None) -> None:
        if value is None or value == self.choice[name]:  # while options are replaced, or set from here
            return
        self.choose(**{name: value})
        method = self.dropdowns["method"]
        chosen = self.choice["method"]  # setting options moves the dropdown to the first of them
        if list(method.options) != self._options("method"):
            method.options = self._options("method")
            self.choice["method"] = chosen
            method.value = chosen
        self.picture.value = to_png(self.figure())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Return the figure of the choice, and in a live notebook the widget, which its viewer prefers."""
        static = {"image/png": to_png(self.figure()), "text/plain": ", ".join(self.choice.values())}
        if self._box is None:
            return static
        shown = self._box._repr_mimebundle_(include=include, exclude=exclude)
        return {**static, **(shown or {})}


def is_live() -> bool:
    """Return whether somebody can operate a widget: a kernel that a notebook program started, not a batch run.

    Jupyter's server names the notebook in the environment of the kernels that it starts; papermill and nbconvert start
    kernels themselves. VS Code and Colab are recognised by what they leave in the kernel.
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None or not hasattr(shell, "kernel"):
        return False
    named = "JPY_SESSION_NAME" in os.environ or "__vsc_ipynb_file__" in shell.user_ns
    return named or "google.colab" in sys.modules


def _explain(explain: Explainer, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits (L,) and evidence (L, h, w) of one image (S, S)."""
    import torch

    with torch.no_grad():  # methods that need gradients switch them on
        logits, evidence = explain(torch.from_numpy(np.array(image))[None, None])
    return logits[0].detach().numpy(), evidence[0].detach().numpy()

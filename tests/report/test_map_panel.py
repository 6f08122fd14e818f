"""The panel draws the map of what is chosen; without a live notebook it is that figure alone."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cxr_kd.errors import ReportError
from cxr_kd.report.maps import panel as map_panel
from cxr_kd.report.maps.panel import panel
from cxr_kd.report.style import to_png

IMAGES = {"first": np.full((8, 8), 90, np.uint8), "second": np.eye(8, dtype=np.uint8) * 255}
FINDINGS = ("Mass", "Pleural_Thickening")


def explainer(factor: float):
    """Evidence (2, 2) that differs between images, findings and explainers."""

    def explain(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = images.float().mean((2, 3)) / 255  # (B, 1)
        logits = torch.cat([means, -means], dim=1) * factor
        cells = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
        return logits, logits[:, :, None, None] * cells

    return explain


NETWORKS = {"teacher": {"plain": explainer(1), "other": explainer(3)}, "student": {"plain": explainer(5)}}


def drawn_maps(shown: map_panel.Panel) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in shown.figure().axes for image in axes.images[1:]]


def test_each_dropdown_changes_the_drawn_map_and_the_picture() -> None:
    shown = panel(IMAGES, FINDINGS, NETWORKS, widget=True)
    for name, value in (("image", "second"), ("finding", "Pleural_Thickening"), ("method", "other")):
        before, picture = drawn_maps(shown), shown.picture.value
        shown.dropdowns[name].value = value
        assert shown.choice[name] == value
        assert not np.allclose(before[0], drawn_maps(shown)[0]), name
        assert shown.picture.value != picture, name
        assert shown.picture.value == to_png(shown.figure())
    expected = NETWORKS["teacher"]["other"](torch.tensor(IMAGES["second"])[None, None])[1][0, 1]
    np.testing.assert_allclose(drawn_maps(shown)[0], expected)


def test_a_network_without_the_method_takes_its_first() -> None:
    shown = panel(IMAGES, FINDINGS, NETWORKS, widget=True)
    shown.dropdowns["method"].value = "other"
    shown.dropdowns["network"].value = "student"
    assert shown.choice == {"image": "first", "finding": "Mass", "network": "student", "method": "plain"}
    assert shown.dropdowns["method"].options == ("plain",)
    assert shown.dropdowns["method"].value == "plain"
    shown.dropdowns["network"].value = "teacher"
    assert shown.dropdowns["method"].options == ("plain", "other")


def test_the_static_twin_has_the_same_map_and_no_widget() -> None:
    live, static = (panel(IMAGES, FINDINGS, NETWORKS, widget=widget) for widget in (True, False))
    np.testing.assert_array_equal(drawn_maps(live)[0], drawn_maps(static)[0])
    live_bundle, static_bundle = live._repr_mimebundle_(), static._repr_mimebundle_()
    assert live_bundle["image/png"] == static_bundle["image/png"]
    assert set(static_bundle) == {"image/png", "text/plain"}
    assert "application/vnd.jupyter.widget-view+json" in live_bundle
    assert static.dropdowns == {}


def test_the_truth_is_outlined_where_it_is_known() -> None:
    place = np.zeros((8, 8), bool)
    place[4:6, 2:6] = True

    def places(image_id: str, finding: str):
        return place if (image_id, finding) == ("first", "Mass") else None

    shown = panel(IMAGES, FINDINGS, NETWORKS, places, widget=False)
    outlines = [drawn for axes in shown.figure().axes[:2] for drawn in axes.collections]
    assert [drawn.get_paths()[0].get_extents().bounds for drawn in outlines] == [(1.5, 3.5, 4, 2)] * 2
    assert shown.figure().axes[0].get_title("left") == "Mass, outlined"
    shown.choose(finding="Pleural_Thickening")
    assert not [drawn for axes in shown.figure().axes[:2] for drawn in axes.collections]
    assert shown.figure().axes[0].get_title("left") == "Pleural thickening, not outlined"


def test_only_a_kernel_of_a_notebook_program_is_live(monkeypatch) -> None:
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    assert not map_panel.is_live(), "plain Python"
    shell = SimpleNamespace(kernel=object(), user_ns={})
    monkeypatch.setattr("IPython.core.getipython.get_ipython", lambda: shell)
    assert not map_panel.is_live(), "papermill"
    monkeypatch.setenv("JPY_SESSION_NAME", "06_explain.ipynb")
    assert map_panel.is_live()
    monkeypatch.delenv("JPY_SESSION_NAME")
    shell.user_ns["__vsc_ipynb_file__"] = "06_explain.ipynb"
    assert map_panel.is_live()


def test_nothing_to_choose_and_unknown_choices_are_refused() -> None:
    for arguments in (({}, FINDINGS, NETWORKS), (IMAGES, (), NETWORKS), (IMAGES, FINDINGS, {"teacher": {}})):
        with pytest.raises(ReportError, match="at least one image"):
            panel(*arguments)
    shown = panel(IMAGES, FINDINGS, NETWORKS, widget=False)
    with pytest.raises(ReportError, match="no finding 'Hernia'; there is: Mass, Pleural_Thickening"):
        shown.choose(finding="Hernia")
    with pytest.raises(ReportError, match="no colour"):
        shown.choose(colour="red")
    with pytest.raises(ReportError, match="teacher has 2 findings, the panel 1"):
        panel(IMAGES, FINDINGS[:1], NETWORKS, widget=False).figure()

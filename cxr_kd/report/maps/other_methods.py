"""One example explained by slower methods than maps: SHAP and integrated gradients, with what their values miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from cxr_kd.explanation.examples import Example
from cxr_kd.report.maps.overlays import Overlay, overlay_figure
from cxr_kd.report.style import finding_name

if TYPE_CHECKING:
    from cxr_kd.models.classifier import CxrClassifier

EVALUATIONS, STEPS = 200, 150  # of SHAP and of integrated gradients: fewer steps leave a gap as large as the logit


def other_methods(network: CxrClassifier, example: Example, label: str) -> list[Figure]:
    """Return one figure per method: the radiograph beside the values of its pixels for the example's finding.

    Values are in logits per pixel, so each figure has its own scale. The foot says by how much the values fail to add
    up to the logit (`Attribution.gap`). `label`: the network's name, the figures' title.
    """
    import torch

    from cxr_kd.explanation.methods.reference_maps import path_attribution
    from cxr_kd.explanation.methods.shap_values import partition_shap

    image, asked = torch.from_numpy(example.image)[None, None], [example.finding]
    figures = []
    for found in (
        partition_shap(network, image, asked, evaluations=EVALUATIONS),
        path_attribution(network, image, asked, steps=STEPS),
    ):
        panels = [
            Overlay(finding_name(example.finding), place=example.place),
            Overlay(found.method, found.values[0, 0].numpy(), example.place),
        ]
        figures.append(overlay_figure(example.image, panels, label, found.gap_text()))
    return figures

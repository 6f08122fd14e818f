"""The explainer of a network by the names of a method and a grid, as a user writes them."""

from __future__ import annotations

from cxr_kd.errors import ModelError
from cxr_kd.explanation.cam import Explainer, one_pass
from cxr_kd.models.classifier import CxrClassifier

METHOD, GRID = "grad_cam", "plain"  # defaults: Grad-CAM in one pass, on the network's own cells


def named_explainer(model: CxrClassifier, method: str = METHOD, grid: str = GRID) -> Explainer:
    """Return the explainer of a network in eval mode. ModelError for an unknown method or grid, naming the known."""
    for what, name, known in (("method", method, METHOD), ("grid", grid, GRID)):
        if name != known:
            raise ModelError(f"there is no {what} {name!r} of maps; there is: {known}")
    return one_pass(model)

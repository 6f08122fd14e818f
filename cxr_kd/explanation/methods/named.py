"""The explainer of a network by the names of a method and a grid, as a user writes them."""

from __future__ import annotations

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods import cam_family, grids
from cxr_kd.explanation.methods.cam import Explainer
from cxr_kd.models.classifier import CxrClassifier

METHOD, GRID = "grad_cam", "plain"  # defaults: Grad-CAM in one pass, on the network's own cells


def named_explainer(model: CxrClassifier, method: str = METHOD, grid: str = GRID) -> Explainer:
    """Return the explainer of a network in eval mode: a method of `cam_family`, or Grad-CAM on a grid of `grids`.

    Raises ModelError for an unknown method or grid, naming the known, and for another method on a finer grid.
    """
    if grid == GRID:
        return cam_family.explainer(model, method)
    if method != METHOD:
        raise ModelError(f"the grid {grid!r} is for {METHOD} only: leave out the grid, or the method {method!r}")
    return grids.explainer(model, grid)

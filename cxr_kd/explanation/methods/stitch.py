"""Finer maps of any network, transformers too: the image is moved by parts of a cell, and the maps are interleaved.

Shift-and-stitch: Sermanet et al., OverFeat, ICLR 2014, section 3.3; Long et al., CVPR 2015, section 3.1. It costs
factor * factor forward passes, beside the one for the prediction.
"""

from __future__ import annotations

import torch

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.cam import Explainer
from cxr_kd.models.classifier import CxrClassifier


def stitched(model: CxrClassifier, factor: int) -> Explainer:
    """Return the explainer whose maps have `factor` times the model's cells per side.

    Each fine cell is the evidence of the network's cell whose centre comes to stand there when the image is moved
    (`cell_shifts`). The logits, and the Jacobian that weighs the features, are the plain network's on the image where
    it is: all cells explain one prediction. Raises ModelError for a factor below 2, and when called if a fine cell
    would be smaller than a pixel.
    """
    if factor < 2:
        raise ModelError(f"the factor of a finer grid is 2 or more, got {factor}")

    def explain(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = model.features(images)
        pooled = model.pool(features)
        rows, columns = (cell_shifts(model.image_size, cells, factor) for cells in features.shape[-2:])
        parts = [
            torch.stack([model.evidence(model.features(moved(images, -down, -right)), pooled) for right in columns], -1)
            for down in rows
        ]
        return model.head(pooled), interleave(torch.stack(parts, dim=-2))

    return explain


def interleave(parts: torch.Tensor) -> torch.Tensor:
    """Return maps (B, L, h * f, w * f) of parts (B, L, h, w, f, f): part (a, b) is every f-th cell from (a, b) on."""
    batch, findings, height, width, factor, _ = parts.shape
    return parts.permute(0, 1, 2, 4, 3, 5).reshape(batch, findings, height * factor, width * factor)


def cell_shifts(image_size: int, cells: int, factor: int) -> list[int]:
    """Return the places of the fine cells within a cell, in px from the cell's centre: ((k + 1/2) / factor - 1/2) cell.

    A cell has image_size / cells px, and its value stands at its centre, as `cam.upsample` draws it; so do the fine
    cells'. The shifts lie evenly around 0 and do not contain it if the factor is even. Rounded to whole px, because a
    moved image must have the very pixels of the image. Raises ModelError if a fine cell is smaller than a pixel.
    """
    if cells * factor > image_size:
        raise ModelError(f"a grid of {cells * factor} cells per side is finer than the image's {image_size} px")
    return [round(image_size / cells * ((k + 0.5) / factor - 0.5)) for k in range(factor)]


def moved(images: torch.Tensor, down: int, right: int) -> torch.Tensor:
    """Return images (B, 1, H, W) of any type with their content moved by whole px; negative is up and left.

    What is moved out is lost. The nearest pixel of the image fills the border, because a black border would be an edge
    that no radiograph has.
    """
    rows = (torch.arange(images.shape[-2], device=images.device) - down).clamp(0, images.shape[-2] - 1)
    columns = (torch.arange(images.shape[-1], device=images.device) - right).clamp(0, images.shape[-1] - 1)
    return images[..., rows, :][..., columns]

"""The grids that maps can have, by name: the network's own cells, or finer ones without training it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import torch

from cxr_kd.errors import ModelError
from cxr_kd.explanation.methods.cam import Explainer, one_pass
from cxr_kd.explanation.methods.dense import atrous
from cxr_kd.explanation.methods.inner_layers import features_at, layer_cam_at
from cxr_kd.explanation.methods.stitch import cell_shifts, moved, stitched
from cxr_kd.models.classifier import CxrClassifier


@dataclass(frozen=True)
class Form:
    """How the cells of maps are made.

    `finer`: cells per side, as a multiple of the network's own (for LayerCAM, of those of a network of stride 32).
    `passes`: what the maps of an image cost, in words. `images_at_once`: images in one forward pass, so that memory
    does not depend on the batch that is asked for. `features`: the map (B, K, h, w) whose cells are shown, of images
    (B, 1, S, S).
    """

    name: str
    title: str
    finer: int
    passes: str
    images_at_once: int
    make: Callable[[CxrClassifier], Explainer]
    features: Callable[[CxrClassifier], Callable[[torch.Tensor], torch.Tensor]] = lambda model: model.features


def explainer(model: CxrClassifier, form: Form | str) -> Explainer:
    """Return the explainer of a network in a form: logits (B, L) and signed evidence (B, L, finer * h, finer * w).

    The logits are always the plain network's, so the prediction does not depend on the form. For this, every form but
    `plain` runs the plain network once more: see `Form.passes`. The evidence is weighed with the Jacobian of that
    prediction. Without gradients, memory depends on `Form.images_at_once` only. Raises ModelError for an unknown form,
    and for a network that the form does not exist for.
    """
    form = parse(form) if isinstance(form, str) else form
    return _in_pieces(form.make(model), form.images_at_once)


def parse(name: str) -> Form:
    """Return the form of a name. Raises ModelError naming the allowed ones."""
    if name not in FORMS:
        raise ModelError(f"unknown form of maps {name!r}; allowed are: {', '.join(FORMS)}")
    return FORMS[name]


def dense(model: CxrClassifier, factor: int) -> Explainer:
    """Return the explainer of the model's `atrous` copy, each fine cell's value at the fine cell's centre.

    The copy's cells begin at the centre of the network's first cell. The image is moved down and right by the distance
    from there to the centre of the first fine cell, half a cell less half a fine one, as `stitched` moves it for its
    first map. Both forms agree where the network does not see a border. The last `factor - 1` fine cells see padding
    where `stitched` sees the repeated border, and all cells see another average in squeeze-and-excite.
    """
    finer = atrous(model, factor).eval()

    def explain(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = model.features(images)
        pooled = model.pool(features)
        down, right = (-cell_shifts(model.image_size, cells, factor)[0] for cells in features.shape[-2:])
        return model.head(pooled), model.evidence(finer.features(moved(images, down, right)), pooled)

    return explain


def _in_pieces(explain: Explainer, most: int) -> Explainer:
    def in_pieces(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if len(images) <= most:
            return explain(images)
        logits, evidence = zip(*map(explain, images.split(most)), strict=True)
        return torch.cat(logits), torch.cat(evidence)

    if hasattr(explain, "of_pairs"):
        setattr(in_pieces, "of_pairs", explain.of_pairs)  # noqa: B010  (`cam.of_pairs`)
    return in_pieces


def _atrous(factor: int) -> Form:
    return Form(
        name=f"atrous{factor}",
        title=f"à trous, {factor} times finer",
        finer=factor,
        passes="one plain pass and one dense pass",
        images_at_once=max(1, 64 // factor**2),  # a dense pass holds factor * factor times the cells
        make=lambda model: dense(model, factor),
    )


def _shift(factor: int) -> Form:
    return Form(
        name=f"shift{factor}",
        title=f"shift-and-stitch, {factor} times finer",
        finer=factor,
        passes=f"{1 + factor**2} plain passes",
        images_at_once=64,
        make=lambda model: stitched(model, factor),
    )


def _inner(stride: int) -> Form:
    return Form(
        name=f"layercam{stride}",
        title=f"LayerCAM at stride {stride}",
        finer=32 // stride,
        passes="one plain pass, and for each finding a backward pass down to that layer",
        images_at_once=32,
        make=lambda model: layer_cam_at(model, stride),
        features=lambda model: features_at(model, stride),
    )


# Name -> form. A new way to make cells is one more entry here.
FORMS = MappingProxyType(
    {
        form.name: form
        for form in (
            Form("plain", "the network's own grid", 1, "one plain pass", 64, one_pass),
            *(_atrous(factor) for factor in (2, 4)),
            *(_shift(factor) for factor in (2, 4)),
            *(_inner(stride) for stride in (16, 8)),
        )
    }
)

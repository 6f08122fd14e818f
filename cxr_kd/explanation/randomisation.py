"""Does a map depend on what the network has learned? Its weights are made random, from the head to the stem.

A map that stays when the network is scrambled is no explanation (Adebayo et al., "Sanity Checks for Saliency Maps",
NeurIPS 2018, section 3.1: cascading randomisation).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cxr_kd.data.prepare import Prepared
from cxr_kd.errors import ModelError
from cxr_kd.explanation.controls import untrained
from cxr_kd.explanation.localisation import enlarged
from cxr_kd.explanation.methods.cam import Explainer
from cxr_kd.explanation.pair_maps import pair_maps
from cxr_kd.explanation.pairs import Pairs
from cxr_kd.explanation.similarity import likeness
from cxr_kd.models.classifier import CxrClassifier

STAGES = ("head", "last third", "last two thirds", "all")  # what is random: the head, and so much of the backbone
# Added to the seed: with a study's own seed, the random weights would be those that the network began with.
OTHER_SEED = 1_000_003
SSIM_SIZE = 32  # cells per side that maps are enlarged to, because the window of SSIM has 7


@dataclass(frozen=True, eq=False)
class Randomised:
    """Similarity of the trained network's maps to those of each of STAGES, (4, P) each; lower is better.

    rank: absolute value of Spearman's rank correlation of the cells, 0 to 1. A map that is turned over counts as
        similar, because a random head turns a picture over by chance. Unrelated maps of n independent cells have about
        0.8 / sqrt(n). A constant map says nothing that could have stayed: 0.
    ssim: structural similarity (Wang et al., IEEE Transactions on Image Processing 2004), -1 to 1, of maps that are
        stretched to [0, 1] and enlarged. Smooth maps of few cells are similar by chance.

    Both as Adebayo et al. use them, except that they give the sign of the rank correlation.
    """

    rank: np.ndarray
    ssim: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """Return the numbers to report, (P,) each, by name: the similarity when all weights are random."""
        return {"randomised_rank": self.rank[-1], "randomised_ssim": self.ssim[-1]}


def randomisation(
    make: Callable[[CxrClassifier], Explainer], model: CxrClassifier, pairs: Pairs, data: Prepared, *, seed: int = 0
) -> Randomised:
    """Compare the maps of a network in eval mode with those of its randomised copies.

    `make` gives a network's explainer. The model is not changed. Costs the maps of the pairs five times. Raises what
    `randomised` raises.
    """
    trained = pair_maps(make(model), pairs, data).maps
    rank, ssim = np.empty((len(STAGES), len(pairs))), np.empty((len(STAGES), len(pairs)))
    for row, stage in enumerate(STAGES):
        maps = pair_maps(make(randomised(model, stage, seed=seed)), pairs, data).maps
        rank[row] = np.nan_to_num(np.abs(likeness(trained, maps).rank))
        ssim[row] = structural_similarity(trained, maps)
    return Randomised(rank, ssim)


def randomised(model: CxrClassifier, stage: str, *, seed: int = 0) -> CxrClassifier:
    """Return a copy of a network in which the part that `stage` of STAGES names has fresh random weights.

    The weights come from the network's own initialisation, and the statistics of its norms start anew; the mean and
    standard deviation of the input stay. A third is a third of the layers with weights, in the order in which they
    run. Raises ModelError for an unknown stage and for a network that is not as `build` makes it.
    """
    if stage not in STAGES:
        raise ModelError(f"unknown stage {stage!r} of randomisation; there are: {', '.join(STAGES)}")
    copy, fresh = deepcopy(model), untrained(model, seed=OTHER_SEED + seed)
    names = layers_in_order(copy)
    head = [name for name in names if name == "head" or name.startswith("head.")]
    backbone = [name for name in names if name not in head]
    kept = round(len(backbone) * (1 - STAGES.index(stage) / (len(STAGES) - 1)))
    sources = dict(fresh.named_modules())
    with torch.no_grad():
        for name in head + backbone[kept:]:
            _copy_weights(copy, name, sources.get(name))
    return copy.eval()


def layers_in_order(model: CxrClassifier) -> list[str]:
    """Return the names of the modules that have weights of their own, in the order in which they first run.

    A module that its parent uses without calling it comes after the module that is declared before it.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    calls: dict[str, int] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda *_: None if name in calls else calls.update({name: len(calls)})

    handles = [module.register_forward_pre_hook(note(name)) for name, module in modules.items()]
    try:
        with torch.inference_mode():
            model(torch.zeros(1, 1, model.image_size, model.image_size, device=model.mean.device))
    finally:
        for handle in handles:
            handle.remove()
    places, last = {}, 0
    for name in modules:
        last = calls.get(name, last)
        places[name] = last
    with_weights = [name for name, module in modules.items() if any(True for _ in module.parameters(recurse=False))]
    return sorted(with_weights, key=places.__getitem__)


def structural_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the SSIM (P,) of maps (P, h, w) and (P, h', w'), each stretched to [0, 1]; a constant map is 0."""
    from skimage.metrics import structural_similarity as ssim  # slow to import

    size = max(SSIM_SIZE, *first.shape[1:], *second.shape[1:])
    found = np.empty(len(first))
    for position in range(len(first)):
        one, other = (_stretched(enlarged(maps[position : position + 1], size)[0]) for maps in (first, second))
        found[position] = ssim(one, other, data_range=1.0)
    return found


def _stretched(grey: np.ndarray) -> np.ndarray:
    low, high = float(grey.min()), float(grey.max())
    return (grey - low) / (high - low) if high > low else np.zeros_like(grey)


def _copy_weights(model: CxrClassifier, name: str, source: nn.Module | None) -> None:
    """Give a module of a network the weights and buffers of another network's module."""
    target = model.get_submodule(name)
    for own in (*target.named_parameters(recurse=False), *target.named_buffers(recurse=False)):
        fresh = getattr(source, own[0], None)
        if not isinstance(fresh, torch.Tensor) or fresh.shape != own[1].shape:
            raise ModelError(
                f"{model.name}: layer {name!r} is not as the network of this name has it, so it has no random weights: "
                f"build the network with cxr_kd.models.build"
            )
        own[1].copy_(fresh)

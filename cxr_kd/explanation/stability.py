"""Does a map stay when the image is moved by a few pixels, which changes nothing that a reader sees?

And the same comparison for any two sets of maps: of an exported network, from a file.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.distill.map_losses import on_one_grid
from cxr_kd.errors import ModelError
from cxr_kd.explanation.localisation import enlarged
from cxr_kd.explanation.methods.cam import Explainer, of_pairs
from cxr_kd.explanation.methods.stitch import moved
from cxr_kd.explanation.pairs import Pairs
from cxr_kd.explanation.similarity import Likeness, likeness, rank_correlation

SHIFT = 0.02  # of the image's side: 3 px of 160 px
DIRECTIONS = ((1, 1), (-1, -1))  # down and right, up and left
BLOCK = 64  # maps that are enlarged at a time


@dataclass(frozen=True, eq=False)
class Stability:
    """Stability of P maps, (P,) each.

    stable: Spearman's rank correlation of the pixels of the map of an image with the map of the moved image, moved
        back, without the border that a move loses; mean over DIRECTIONS. -1 to 1, higher is better; NaN if one of the
        maps is constant. A map that ignores the network can be stable too. Rank correlation of maps as in
        Adebayo et al., NeurIPS 2018; stability under small changes of the input as in Ghorbani et al., AAAI 2019.
    """

    stable: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """Return the measures by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, eq=False)
class MapSimilarity(Likeness):
    """`Likeness` of P pairs of maps, and:

    cosine: cosine of the angle between the maps as vectors, -1 to 1, higher is more alike; NaN if a map is all zero.
        The `map_cosine` loss is 1 minus it, but reduces negative evidence first.
    """

    cosine: np.ndarray


def stability(explain: Explainer, pairs: Pairs, data: Prepared, *, pixels: int | None = None) -> Stability:
    """Return how far an explainer's maps follow images moved by `pixels` px (default: SHIFT of the side, at least 1).

    The image's nearest pixels fill the border. Costs one set of maps per direction, and one of the images in their
    place. Raises ModelError for pixels below 1 or from a quarter of the image on.
    """
    pixels = max(1, round(SHIFT * pairs.size)) if pixels is None else pixels
    if not 1 <= pixels < pairs.size / 4:
        raise ModelError(f"images of {pairs.size} px are moved by 1 px to below a quarter of that, got {pixels}")
    found = [np.empty(0)]
    for which, rows, images in pairs.batches(data):
        columns = pairs.columns[which]
        plain = _maps(explain, images, rows, columns)
        correlations = []
        for shift in ((pixels * down, pixels * right) for down, right in DIRECTIONS):
            after = _maps(explain, moved(images, *shift), rows, columns)
            correlations.append(_followed(plain, after, pairs.size, shift))
        found.append(np.mean(correlations, axis=0))
    return Stability(np.concatenate(found))


def map_similarity(first: np.ndarray, second: np.ndarray) -> MapSimilarity:
    """Compare maps (P, h, w) with the maps (P, h', w') of the same pairs by another version of a network.

    Takes plain arrays, so the maps can come from a file (`numpy.load(file, mmap_mode="r")`): they are read in blocks.
    Raises ModelError if the shapes cannot be compared.
    """
    if first.ndim != 3 or second.ndim != 3 or len(first) != len(second):
        raise ModelError(f"maps are compared pair by pair, (P, h, w) each; got {first.shape} and {second.shape}")
    parts = [
        _similarity(np.array(first[i : i + BLOCK]), np.array(second[i : i + BLOCK]))
        for i in range(0, len(first), BLOCK)
    ]
    names = [field.name for field in fields(MapSimilarity)]
    joined = {name: np.concatenate([np.empty(0), *(getattr(part, name) for part in parts)]) for name in names}
    return MapSimilarity(**joined)


def _similarity(first: np.ndarray, second: np.ndarray) -> MapSimilarity:
    one, other = (
        each.double().flatten(1).numpy()
        for each in on_one_grid(*(torch.from_numpy(np.asarray(m, np.float32)) for m in (first, second)))
    )
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    with np.errstate(invalid="ignore"):
        cosine = (one * other).sum(axis=1) / norms
    return MapSimilarity(**likeness(first, second).columns(), cosine=cosine)


def _maps(explain: Explainer, images: torch.Tensor, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return of_pairs(explain, images, rows, columns)[1].float().numpy()


def _followed(plain: np.ndarray, after: np.ndarray, size: int, shift: tuple[int, int]) -> np.ndarray:
    """Rank correlations (P,) of maps (P, h, w) with maps of the images moved by `shift` px, moved back."""
    inner = tuple(slice(abs(by), size - abs(by)) for by in shift)
    found = [np.empty(0)]
    for start in range(0, len(plain), BLOCK):
        before, moved_map = (torch.from_numpy(enlarged(maps[start : start + BLOCK], size)) for maps in (plain, after))
        back = moved(moved_map, -shift[0], -shift[1])
        found.append(rank_correlation(before[:, *inner].numpy(), back[:, *inner].numpy()))
    return np.concatenate(found)

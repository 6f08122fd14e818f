"""Does the network need the pixels that a map marks? They are taken away or given back, and the network is asked again.

The measures take signed maps of any source, (P, h, w) on any grid, enlarged to the image's size. Only the order of the
pixels counts. Equal values are put into a random order, the same for all maps of a pair; so a constant map, which says
nothing, scores as a random order of pixels does, and every pair has a value. A map is read against a random map
(`controls.RANDOM`): how far a score can go depends on the network and on the image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from cxr_kd.data.prepare import Prepared
from cxr_kd.errors import ModelError
from cxr_kd.explanation.localisation import enlarged
from cxr_kd.explanation.pairs import Pairs
from cxr_kd.models.classifier import CxrClassifier

STEPS = 5  # the pixels are replaced in this many equal shares
BLUR = 1 / 16  # standard deviation of the blur, as a share of the image's side
PERCENTILES = (90, 80)  # of ROAD: 10 % and 20 % of the pixels are replaced; more take much longer


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """Measures of P maps, (P,) each.

    deletion: area under the finding's probability while pixels are replaced by those of a blurred image, the pixels
        with the highest evidence first; 0 to 1, lower is better. Petsiuk et al., "RISE", BMVC 2018, section 3.4.
    insertion: area under the finding's probability while the blurred image gets its own pixels back, the pixels with
        the highest evidence first; 0 to 1, higher is better. Petsiuk et al. They delete to grey and insert into a
        blurred image; here both use one blurred image, because a grey area is an edge that no radiograph has.
    road: half the difference of the finding's probability when the least and when the most relevant pixels are
        replaced by what their neighbours predict (noisy linear imputation); mean over PERCENTILES; -0.5 to 0.5,
        higher is better, about 0 for a random map. NaN for pairs that it was not computed for. Rong et al., "A
        Consistent and Efficient Evaluation Strategy for Attribution Methods", ICML 2022; pytorch-grad-cam's imputation
        and its combination of both orders (`ROADCombined`).
    """

    deletion: np.ndarray
    insertion: np.ndarray
    road: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """Return the measures by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def faithfulness(
    model: CxrClassifier,
    maps: np.ndarray,
    pairs: Pairs,
    data: Prepared,
    *,
    percentiles: Sequence[int] = PERCENTILES,
    road_pairs: int | None = None,
    seed: int = 0,
) -> Faithfulness:
    """Measure signed maps (P, h, w) of P pairs on a network in eval mode, which need not be the one that made them.

    ROAD takes a sparse system per image, order and percentile, which is slow for large images: it is computed for
    `road_pairs` pairs at equal distances (default: all), the same pairs for all maps. `seed` decides the order of
    equal values and ROAD's noise. Memory does not depend on P: one pair's changed images are one batch. Raises
    ModelError for maps that are not finite or not as many as the pairs.
    """
    _check(maps, len(pairs))
    chosen = np.zeros(len(pairs), dtype=bool)
    count = len(pairs) if road_pairs is None else min(road_pairs, len(pairs))
    chosen[np.linspace(0, len(pairs) - 1, count).round().astype(int)] = True
    found = np.full((len(pairs), 3), np.nan)
    for position, image in _images(pairs, data):
        random = np.random.default_rng([seed, position])
        order = ranks(enlarged(maps[position : position + 1], pairs.size)[0], random)
        used = percentiles if chosen[position] else ()
        batch = np.concatenate([replaced(image, order), _imputed(image, order, used, int(random.integers(2**31)))])
        scores = _scores(model, batch, int(pairs.columns[position]))
        found[position] = *areas(scores[: 2 * STEPS]), _road(scores[2 * STEPS :])
    return Faithfulness(*found.T)


def ranks(grey: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the rank of each pixel of a map (S, S), from 0 for the lowest; equal values in random order."""
    values = grey.ravel()
    order = np.lexsort((random.permutation(values.size), values))
    found = np.empty(values.size)
    found[order] = np.arange(values.size)
    return found.reshape(grey.shape)


def replaced(image: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the images of both curves, (2 * STEPS, S, S), for an image (S, S) in [0, 1] and its pixels' `ranks`.

    The first STEPS + 1 are those of deletion: 0, 1, ... STEPS shares of the pixels are blurred, highest rank first. The
    other STEPS - 1 are those of insertion: 1, ... STEPS - 1 shares are sharp. Its ends are those of deletion.
    """
    from scipy.ndimage import gaussian_filter  # slow to import

    blurred = gaussian_filter(image, BLUR * len(image), mode="nearest")
    share = (order.size - order) / order.size  # above 0; the pixel of the highest rank has the smallest
    steps = np.arange(STEPS + 1).reshape(-1, 1, 1) / STEPS
    top = share <= steps
    return np.concatenate([np.where(top, blurred, image), np.where(top[1:-1], image, blurred)])


def areas(scores: np.ndarray) -> tuple[float, float]:
    """Return the areas under both curves, by the trapezoid rule, for the scores (2 * STEPS,) of `replaced`."""
    deletion = scores[: STEPS + 1]
    insertion = np.concatenate([deletion[-1:], scores[STEPS + 1 :], deletion[:1]])
    return float(np.trapezoid(deletion) / STEPS), float(np.trapezoid(insertion) / STEPS)


def _imputed(image: np.ndarray, order: np.ndarray, percentiles: Sequence[int], seed: int) -> np.ndarray:
    """ROAD's images (2 * percentiles, S, S): the least relevant pixels replaced, then the most relevant ones."""
    if not percentiles:
        return np.empty((0, *image.shape), np.float32)
    from pytorch_grad_cam.metrics.perturbation_confidence import RemoveLeastRelevantFirst, RemoveMostRelevantFirst
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer  # slow to import

    imputer = NoisyLinearImputer()
    given, cam = torch.from_numpy(image)[None], torch.from_numpy(order)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = [
            remove(percentile, imputer)(given, cam)[0]
            for remove in (RemoveLeastRelevantFirst, RemoveMostRelevantFirst)
            for percentile in percentiles
        ]
    return torch.stack(parts).clamp(0, 1).numpy()  # the noise leaves [0, 1] by a few hundredths


def _road(scores: np.ndarray) -> float:
    if not len(scores):
        return float("nan")
    least, most = np.split(scores, 2)
    return float((least.mean() - most.mean()) / 2)


def _scores(model: CxrClassifier, images: np.ndarray, column: int) -> np.ndarray:
    with torch.inference_mode():
        logits = model(torch.from_numpy(images.astype(np.float32)).unsqueeze(1))[:, column]
        return logits.double().sigmoid().numpy()


def _images(pairs: Pairs, data: Prepared) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (a pair's position, its image (S, S) in [0, 1])."""
    for which, rows, images in pairs.batches(data):
        for position, row in zip(range(which.start, which.stop), rows, strict=True):
            yield position, images[row, 0].numpy().astype(np.float32) / 255


def _check(maps: np.ndarray, count: int) -> None:
    if maps.ndim != 3 or len(maps) != count:
        raise ModelError(f"{count} pairs need maps of shape ({count}, h, w), got {maps.shape}")
    if not np.isfinite(maps).all():
        raise ModelError("maps with values that are not finite cannot be ordered: leave those pairs out")

"""Are a network's maps faithful to it, stable, and free of the drain's shortcut? Rows of single pairs and images."""

from __future__ import annotations

import numpy as np
import pandas as pd

from cxr_kd.data.prepare import Prepared
from cxr_kd.explanation.choice import Choice
from cxr_kd.explanation.faithfulness import faithfulness
from cxr_kd.explanation.measures import FAITHFUL_MEASURES
from cxr_kd.explanation.methods import grids
from cxr_kd.explanation.pairs import Pairs
from cxr_kd.explanation.randomisation import randomisation
from cxr_kd.explanation.shortcut import shortcut
from cxr_kd.explanation.stability import stability
from cxr_kd.models.classifier import CxrClassifier

# ROAD solves large systems of equations, so it is computed for few pairs, with one pixel in ten replaced.
ROAD_PAIRS, ROAD_PERCENTILES = 20, (90,)


def faithful_values(
    model: CxrClassifier, maps: np.ndarray, pairs: Pairs, data: Prepared, choice: Choice, *, seed: int
) -> dict[str, np.ndarray]:
    """Return FAITHFUL_MEASURES of a network's maps (P, h, w), (P,) each.

    See `faithfulness.Faithfulness`, `randomisation.Randomised` and `stability.Stability`.
    """
    form = grids.parse(choice.form)
    found = {
        **_faithful(model, maps, pairs, data, seed),
        **randomisation(lambda each: grids.explainer(each, form), model, pairs, data, seed=seed).columns(),
        **stability(grids.explainer(model, form), pairs, data).columns(),
    }
    return {name: found[name] for name in FAITHFUL_MEASURES}


def random_map_values(
    model: CxrClassifier, grid: tuple[int, int], pairs: Pairs, data: Prepared, *, seed: int
) -> dict[str, np.ndarray]:
    """Return deletion, insertion and ROAD of random maps on a grid, asked of this network."""
    maps = np.random.default_rng(seed).random((len(pairs), *grid))
    found = _faithful(model, maps, pairs, data, seed)
    return {name: found.get(name, np.full(len(pairs), np.nan)) for name in FAITHFUL_MEASURES}


def _faithful(model: CxrClassifier, maps: np.ndarray, pairs: Pairs, data: Prepared, seed: int) -> dict[str, np.ndarray]:
    found = faithfulness(model, maps, pairs, data, percentiles=ROAD_PERCENTILES, road_pairs=ROAD_PAIRS, seed=seed)
    return found.columns()


def drain_rows(
    model: CxrClassifier, data: Prepared, choice: Choice, arm: str, run_seed: int, *, limit: int, seed: int
) -> pd.DataFrame:
    """Return the rows of `shortcut.shortcut` with arm and seed before them; no rows if the data have no drains."""
    found = shortcut(grids.explainer(model, choice.form), data, limit=limit, reading=choice.reading, seed=seed)
    if found is None:
        return pd.DataFrame()
    return pd.DataFrame({"arm": arm, "seed": run_seed, **found})

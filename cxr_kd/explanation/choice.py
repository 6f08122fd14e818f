"""Which form of map a study shows and measures: chosen on validation images, by one rule, for all of its networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_kd.explanation.localisation import READINGS, Reading, where
from cxr_kd.explanation.measures import CHOICE_COLUMNS
from cxr_kd.explanation.pair_maps import PairMaps
from cxr_kd.explanation.pairs import Pairs


@dataclass(frozen=True)
class Choice:
    """A form of map (`grids`) and how it is read (`localisation.read`)."""

    form: str
    reading: Reading


def compare_forms(maps: Mapping[str, Mapping[str, PairMaps]], pairs: Pairs, *, form: str | None = None) -> pd.DataFrame:
    """Return the mean measures of every form and reading on validation pairs, for each network (CHOICE_COLUMNS).

    `maps`: form -> network -> its maps of the pairs. The rule: the chosen form and reading have the highest `inside`
    plus `pointing`, averaged over the networks. An empty map counts as 0 in both. Of equal ones, the first is chosen,
    so forms are listed with the cheapest first. With `form`, only the reading is chosen.
    """
    rows = []
    for name, networks in maps.items():
        for network, found in networks.items():
            parts = [(found.maps[block], pairs.place(block)) for block in pairs.blocks()]
            # The average precision is the same for every reading, and slow.
            auprc = float(np.concatenate([where(*part).auprc for part in parts]).mean())
            for reading in READINGS:
                measured = [where(*part, reading, rank=False).columns() for part in parts]
                means = {
                    key: float(np.nan_to_num(np.concatenate([part[key] for part in measured])).mean())
                    for key in measured[0]
                }
                cells = {"form": name, "reading": reading, "network": network, "cells": found.grid[0]}
                rows.append(cells | means | {"auprc": auprc})
    frame = pd.DataFrame(rows)
    score = (frame["inside"] + frame["pointing"]).groupby([frame["form"], frame["reading"]], sort=False).mean()
    best = (score if form is None else score.loc[[form]]).idxmax()
    is_best = [pair == best for pair in zip(frame["form"], frame["reading"], strict=True)]
    return frame.assign(chosen=is_best)[list(CHOICE_COLUMNS)]


def chosen(comparison: pd.DataFrame) -> Choice:
    """Return the chosen form and reading of `compare_forms`."""
    first = comparison[comparison["chosen"]].iloc[0]
    return Choice(str(first["form"]), first["reading"])

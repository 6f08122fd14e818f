"""Which form of map a study shows and measures: chosen on validation images, by one rule, for all of its networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cxr_kd.data.prepare import Prepared
from cxr_kd.errors import ModelError
from cxr_kd.explanation.grids import explainer
from cxr_kd.explanation.localisation import READINGS, Reading, where
from cxr_kd.explanation.measures import CHOICE_COLUMNS
from cxr_kd.explanation.pair_maps import pair_maps
from cxr_kd.explanation.pairs import Pairs
from cxr_kd.models.classifier import CxrClassifier


@dataclass(frozen=True)
class Choice:
    """A form of map (`grids`) and how it is read (`localisation.read`)."""

    form: str
    reading: Reading


def compare_forms(
    networks: Mapping[str, CxrClassifier],
    pairs: Pairs,
    data: Prepared,
    forms: Sequence[str],
    say: Callable[[str], None] = print,
    *,
    form: str | None = None,
) -> pd.DataFrame:
    """Return the mean measures of every form and reading on validation pairs, for each network (CHOICE_COLUMNS).

    The rule: the chosen form and reading have the highest `inside` plus `pointing`, averaged over the networks. An
    empty map counts as 0 in both. Of equal ones, the first is chosen, so forms are listed with the cheapest first. With
    `form`, only the reading is chosen. A form that one of the networks cannot have is left out, and `say` gets the
    reason. Raises ModelError if none is left, or if `form` is left out.
    """
    rows = []
    for each in forms:
        try:
            explainers = {name: explainer(model, each) for name, model in networks.items()}
        except ModelError as error:
            if each == form:
                raise
            say(f"maps of the form {each} are left out: {error}")
            continue
        for name, explain in explainers.items():
            found = pair_maps(explain, pairs, data)
            places = pairs.place(slice(None))
            auprc = float(where(found.maps, places).auprc.mean())  # the same for every reading, and slow
            for reading in READINGS:
                measured = where(found.maps, places, reading, rank=False).columns()
                means = {key: float(np.nan_to_num(value).mean()) for key, value in measured.items()} | {"auprc": auprc}
                rows.append({"form": each, "reading": reading, "network": name, "cells": found.grid[0], **means})
    if not rows:
        raise ModelError(f"explanation: forms: no form of {', '.join(forms)} suits every network; add plain")
    frame = pd.DataFrame(rows)
    score = (frame["inside"] + frame["pointing"]).groupby([frame["form"], frame["reading"]], sort=False).mean()
    best = (score if form is None else score.loc[[form]]).idxmax()
    chosen = [pair == best for pair in zip(frame["form"], frame["reading"], strict=True)]
    return frame.assign(chosen=chosen)[list(CHOICE_COLUMNS)]


def chosen(comparison: pd.DataFrame) -> Choice:
    """Return the chosen form and reading of `compare_forms`."""
    first = comparison[comparison["chosen"]].iloc[0]
    return Choice(str(first["form"]), first["reading"])

"""Several studies of the same data and split: their networks, each once, evaluated and compared on the same images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from cxr_kd.errors import StudyError
from cxr_kd.evaluation.arm_tables import ArmPredictions
from cxr_kd.evaluation.bootstrap import check_same_images
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.study_results import COLUMNS, read_predictions
from cxr_kd.evaluation.uncertainty import compare, correct_over_comparisons
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms
from cxr_kd.study.differences import flat, setting_text
from cxr_kd.study.runs import Run
from cxr_kd.study.settings import Evaluation


@dataclass(frozen=True, eq=False)
class Network:
    """An arm of a study, and the names of all studies that have the same runs; `study` is the first of them."""

    study: Study
    arm: str
    runs: tuple[Run, ...]  # one per seed
    studies: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the network on the page and for a user: STUDY/ARM."""
        return f"{self.study.name}/{self.arm}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of its trainings."""
        return tuple(run.seed for run in self.runs)


def check_same_data(studies: Sequence[Study], cards: Sequence[Mapping[str, Any]]) -> None:
    """Raise StudyError, naming two studies and the setting that differs, unless all have the same data and split.

    `cards`: the data card of each study.
    """
    first, card = studies[0], cards[0]
    for other, its in zip(studies[1:], cards[1:], strict=True):
        if differs := next(_differences(card, its), None):
            own, theirs = flat({"data": first.data_settings()}), flat({"data": other.data_settings()})
            more = [f"{key.removeprefix('data.')}: {setting_text(own.get(key))} and {setting_text(theirs.get(key))}"
                    for key in dict.fromkeys([*own, *theirs]) if own.get(key) != theirs.get(key)]  # fmt: skip
            settings = f" (settings that differ: {'; '.join(more)})" if more else ""
            raise StudyError(
                f"{first.name} and {other.name} cannot be compared: {differs}{settings}.\n"
                "Compare studies with the same data and split."
            )


def _differences(card: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two data cards, the most telling first."""
    for key, name in (("dataset", "the data set"), ("kind", "the kind of data"), ("image_size", "the image size")):
        if card[key] != other[key]:
            yield f"{name} is {card[key]} in the first and {other[key]} in the second"
    if card["findings"] != other["findings"]:
        here, there = (", ".join(each["findings"]) for each in (card, other))
        yield f"the findings are {here} in the first and {there} in the second"
    for key, name in (("name", "the split"), ("sha256", "the SHA-256 of the split")):
        if card["split"][key] != other["split"][key]:
            yield f"{name} is {card['split'][key]} in the first and {other['split'][key]} in the second"
    if card["identity"] != other["identity"]:
        yield "the images, their labels or how they are decoded differ (`identity` in data.json)"


def networks_of(studies: Sequence[Study], data_identity: str) -> list[Network]:
    """Return the networks of all studies, an ablation's variants included: those that studies share only once.

    Studies share a network if they have the same identities of its runs. `data_identity`: `identity` of the data card.
    """
    found: dict[tuple[str, ...], Network] = {}
    for study in studies:
        for arm, runs in all_arms(study).items():
            identities = tuple(study.identity(run, data_identity) for run in runs)
            first = found.get(identities, Network(study, arm, runs, ()))
            found[identities] = Network(first.study, first.arm, first.runs, (*first.studies, study.name))
    return list(found.values())


def find_reference(networks: Sequence[Network], asked: str | None = None) -> Network:
    """Return the network called ARM or STUDY/ARM; by default the first study's student alone, or its first network.

    Raises StudyError if no network, or if several different ones, have this name.
    """
    first = [network for network in networks if networks[0].study.name in network.studies]
    if not asked:
        return next((network for network in first if network.runs[0].role == "student alone"), first[0])
    names = {network.name: [network.arm, *(f"{study}/{network.arm}" for study in network.studies)]
             for network in networks}  # fmt: skip
    found = [network for network in networks if asked in names[network.name]]
    if not found:
        raise StudyError(f"--reference {asked}: no such network; the networks are: {', '.join(names)}")
    if len(found) > 1:
        several = ", ".join(network.name for network in found)
        raise StudyError(f"--reference {asked}: several networks have this name; give one of {several}")
    return found[0]


def read_networks(networks: Sequence[Network], source: str | None = None) -> dict[str, list[Predictions]]:
    """Return the predictions of each network (by name) on the test side, one per seed; within one source, if given.

    Raises PredictionsError for a missing or damaged file, and unless all files hold the same images and labels.
    """
    found = {each.name: read_predictions(each.study, [each.arm])[each.arm] for each in networks}
    check_same_images([run for runs in found.values() for run in runs])
    return {name: [run.within(source) if source else run for run in runs] for name, runs in found.items()}


def compare_networks(
    networks: Sequence[Network], predictions: ArmPredictions, reference: Network, settings: Evaluation
) -> pd.DataFrame:
    """Return `uncertainty.compare` of each network with the reference: network minus reference.

    Trainings are paired by seed, over the seeds that both have; the column `seeds` is their number. A network without
    such a seed has no row. p-values of the means are corrected over all networks (Holm).
    """
    frames = []
    for network in networks:
        shared = [seed for seed in reference.seeds if seed in network.seeds]
        if network is not reference and shared:
            sides = [[predictions[each.name][each.seeds.index(seed)] for seed in shared] for each in
                     (reference, network)]  # fmt: skip
            frame = compare(sides[0], sides[1], settings, shared)
            frames.append(frame.assign(first=reference.name, second=network.name, seeds=len(shared)))
    if not frames:
        return pd.DataFrame(columns=[*COLUMNS["comparisons.csv"], "seeds"])
    return correct_over_comparisons(pd.concat(frames, ignore_index=True))

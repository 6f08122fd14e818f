"""Measure the maps of every network of a study on its test side: one row per network, image and finding.

The form of map and the thresholds are chosen on validation images. Networks are loaded one after the other; of each,
the maps of the pairs are kept, because students are compared with their teachers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cxr_kd.data.prepare import Prepared
from cxr_kd.errors import ModelError
from cxr_kd.explanation import controls
from cxr_kd.explanation.checks import drain_rows, faithful_values, random_map_values
from cxr_kd.explanation.choice import Choice, chosen, compare_forms
from cxr_kd.explanation.localisation import THRESHOLDS, best_threshold, ceiling, overlaps, where
from cxr_kd.explanation.measures import CEILING, PLACE_MEASURES, RANDOM, THRESHOLD_COLUMNS, UNTRAINED
from cxr_kd.explanation.methods.grids import explainer, parse
from cxr_kd.explanation.pair_maps import PairMaps, pair_maps
from cxr_kd.explanation.pairs import Pairs, marked_pairs, positive_pairs
from cxr_kd.explanation.placement import displacement, moved_hits, peaks, specific
from cxr_kd.explanation.similarity import likeness
from cxr_kd.study import Study
from cxr_kd.study.arms import all_arms, arms_of
from cxr_kd.study.runs import Run
from cxr_kd.training.finished_run import load_run

LOOK_IMAGES = 16  # validation images that `placement.displacement` is measured on
TRAINING_PAIRS = 400  # images of the training side whose places the control `mean place` is made of
Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Measured:
    """The measures of a study's maps.

    choice: the form of map. comparison: `choice.compare_forms`; empty if no place is known. thresholds: one row per
    network and seed: THRESHOLD_COLUMNS, the threshold as a share of the map's maximum, chosen on validation images, and
    down_px, right_px: how far from where they are drawn the cells look (`placement.displacement`). values: one row per
    arm, seed and pair, with the columns arm, kind ("network", "control" or "ceiling"), seed, image_id, patient_id,
    finding, share (of the image that the finding covers) and PLACE_MEASURES; without rows if no place is known.
    likeness: one row per arm, seed and pair: what the maps are compared `with` ("teacher", "chance", "other seed"), and
    the measures of `similarity.Likeness`. faithful: one row per arm, seed and pair of a random part of the pairs:
    FAITHFUL_MEASURES; the random map is asked of the last network. drain: the rows of `shortcut.shortcut`, with arm and
    seed. grid: cells down and across.
    """

    choice: Choice
    comparison: pd.DataFrame
    thresholds: pd.DataFrame
    values: pd.DataFrame
    likeness: pd.DataFrame
    faithful: pd.DataFrame
    drain: pd.DataFrame
    grid: tuple[int, int]


def measure_maps(study: Study, data: Prepared, say: Say = print) -> Measured:
    """Return the measures of all networks of a study. Raises what `load_run` raises; `say` gets the progress."""
    validation, test = (
        marked_pairs(data, side, study.explanation.marked_images, seed=study.evaluation.seed)
        for side in ("validation", "test")
    )
    kept = _validation_maps(study, data, validation, say)
    comparison = compare_forms(kept, validation, form=study.explanation.form) if kept else pd.DataFrame()
    settings = study.explanation
    choice = chosen(comparison) if len(comparison) else Choice(settings.form or settings.forms[0], "relative")
    pairs = test if len(test) else positive_pairs(data, "test", study.explanation.marked_images)
    maps: dict[str, PairMaps] = {}
    seed, perturbed = study.evaluation.seed, study.explanation.perturbed
    part, positions = pairs.some(perturbed, seed=seed)
    frames, thresholds, faithful, drain = [], [], [], []
    for arm, runs in all_arms(study).items():
        for run in runs:
            say(f"maps of {run.name}")
            model = load_run(study, run, data)
            explain = explainer(model, choice.form)
            maps[run.name] = pair_maps(explain, pairs, data)
            checked = faithful_values(model, maps[run.name].maps[positions], part, data, choice, seed=seed)
            faithful.append(_rows(part, data, arm, "network", run.seed).assign(**checked))
            drain.append(drain_rows(model, data, choice, arm, run.seed, limit=perturbed, seed=seed))
            if len(test):
                known = kept[choice.form].get(arm) if run == runs[0] else None
                threshold = _threshold(known or pair_maps(explain, validation, data), validation, choice)
                down, right = displacement(parse(choice.form).features(model), validation.images(data, LOOK_IMAGES))
                own = {"threshold": THRESHOLDS[threshold], "down_px": down, "right_px": right}
                thresholds.append({"arm": arm, "seed": run.seed, **own})
                values = measure_places(maps[run.name].maps, pairs, choice, threshold, (down, right))
                frames.append(_rows(pairs, data, arm, "network", run.seed).assign(**values))
    grid = next(iter(maps.values())).grid
    chance = random_map_values(model, grid, part, data, seed=seed)
    faithful.append(_rows(part, data, RANDOM, "control", 0).assign(**chance))
    if len(test):
        frames += _reference_rows(study, data, pairs, choice, grid, thresholds)
    return Measured(
        choice,
        comparison,
        pd.DataFrame(thresholds, columns=list(THRESHOLD_COLUMNS)),
        pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
        _likeness_rows(study, data, pairs, maps),
        pd.concat(faithful, ignore_index=True),
        pd.concat(drain, ignore_index=True),
        grid,
    )


def measure_places(
    maps: np.ndarray, pairs: Pairs, choice: Choice, threshold: int, looks: tuple[float, float] = (0.0, 0.0)
) -> dict[str, np.ndarray]:
    """Return PLACE_MEASURES of maps (P, h, w), (P,) each.

    `threshold` is a position in THRESHOLDS; `looks` is the `placement.displacement` of the maps' cells.
    """
    points = peaks(maps, pairs.size, choice.reading)
    checked = {"specific": specific(points, pairs), "moved": moved_hits(points, pairs, looks)}
    found: dict[str, list[np.ndarray]] = {name: [] for name in PLACE_MEASURES if name not in checked}
    for block in pairs.blocks():
        places = pairs.place(block)
        iou, iobb = overlaps(maps[block], places, choice.reading, (THRESHOLDS[threshold],))
        values = where(maps[block], places, choice.reading).columns() | {"iou": iou[:, 0], "iobb": iobb[:, 0]}
        for name, value in values.items():
            found[name].append(value)
    return {name: np.concatenate([np.empty(0), *parts]) for name, parts in found.items()} | checked


def _validation_maps(study: Study, data: Prepared, validation: Pairs, say: Say) -> dict[str, dict[str, PairMaps]]:
    """The maps of validation pairs of the first training of every network: form -> arm -> maps; {} without pairs.

    A form that one of the networks cannot have is left out, and `say` gets the reason. Raises ModelError if none is
    left, or if the study's own form is left out.
    """
    if not len(validation):
        return {}
    forms, found = study.explanation.forms, dict[str, dict[str, PairMaps]]()
    networks = {arm: load_run(study, runs[0], data) for arm, runs in arms_of(study).items()}
    for form in forms:
        try:
            explainers = {arm: explainer(model, form) for arm, model in networks.items()}
        except ModelError as error:
            if form == study.explanation.form:
                raise
            say(f"maps of the form {form} are left out: {error}")
            continue
        say(f"maps of the form {form} on validation images")
        found[form] = {arm: pair_maps(explain, validation, data) for arm, explain in explainers.items()}
    if not found:
        raise ModelError(f"explanation: forms: no form of {', '.join(forms)} suits every network; add plain")
    return found


def _threshold(found: PairMaps, pairs: Pairs, choice: Choice) -> int:
    ious = [overlaps(found.maps[block], pairs.place(block), choice.reading)[0] for block in pairs.blocks()]
    return best_threshold(np.concatenate([np.empty((0, len(THRESHOLDS))), *ious]))


def _rows(pairs: Pairs, data: Prepared, arm: str, kind: str, seed: int) -> pd.DataFrame:
    names = np.array(data.table.findings)[pairs.columns]
    known = {"image_id": pairs.image_ids, "patient_id": pairs.patients, "finding": names}
    shares = {"share": pairs.shares()} if pairs.places is not None else {}
    return pd.DataFrame({"arm": arm, "kind": kind, "seed": seed, **known, **shares})


def _reference_rows(
    study: Study, data: Prepared, pairs: Pairs, choice: Choice, grid: tuple[int, int], thresholds: list[dict[str, Any]]
) -> list[pd.DataFrame]:
    """The rows of controls and ceiling, on the grid of the first network, with the networks' mean threshold."""
    mean = float(np.mean([row["threshold"] for row in thresholds]))
    threshold = int(np.abs(np.array(THRESHOLDS) - mean).argmin())
    train = marked_pairs(data, "train", TRAINING_PAIRS, seed=study.evaluation.seed)
    maps = controls.control_maps(pairs, data, grid, train, seed=study.evaluation.seed)
    student = next(run for run in study.runs_of(study.seeds[0]) if run.role != "teacher")
    fresh = controls.untrained(load_run(study, student, data), seed=study.evaluation.seed)
    maps[UNTRAINED] = pair_maps(explainer(fresh, choice.form), pairs, data).maps
    rows = []
    for name, control in maps.items():
        values = measure_places(control, pairs, choice, threshold)
        rows.append(_rows(pairs, data, name, "control", 0).assign(**values))
    best = np.concatenate([ceiling(pairs.place(block), grid) for block in pairs.blocks()])
    values = measure_places(best, pairs, Choice(choice.form, "positive"), threshold)
    return [*rows, _rows(pairs, data, CEILING, "ceiling", 0).assign(**values)]


def _likeness_rows(study: Study, data: Prepared, pairs: Pairs, maps: dict[str, PairMaps]) -> pd.DataFrame:
    """Compare each student with its teacher, with the teacher's maps of other pairs, and with its own other seeds."""
    random = np.random.default_rng(study.evaluation.seed)
    others = _other_pairs(pairs, random)
    frames = []
    for arm, runs in all_arms(study).items():
        for number, run in enumerate(runs):
            rows = _rows(pairs, data, arm, "network", run.seed)
            own = maps[run.name].maps
            for teacher in _teachers(study, run):
                teachers = maps[teacher.name].maps
                for name, compared in (("teacher", teachers), ("chance", teachers[others])):
                    frames.append(rows.assign(**{"with": name, "of": teacher.arm}, **likeness(own, compared).columns()))
            if len(runs) > 1:  # each seed with the next one
                other = maps[runs[(number + 1) % len(runs)].name].maps
                frames.append(rows.assign(**{"with": "other seed", "of": arm}, **likeness(own, other).columns()))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _teachers(study: Study, run: Run) -> list[Run]:
    """The runs that a student is compared with: its own first teacher, or each teacher that teaches its network."""
    if run.role == "teacher":
        return []
    if run.teachers:
        return list(study.teacher_runs(run)[:1])
    taught = (other for other in study.runs_of(run.seed) if other.network == run.network and other.teachers)
    return list({teacher.name: teacher for other in taught for teacher in study.teacher_runs(other)[:1]}.values())


def _other_pairs(pairs: Pairs, random: np.random.Generator) -> np.ndarray:
    """For each pair, the position of a random one of another patient and another finding; itself if there is none."""
    positions = np.arange(len(pairs))
    found = positions.copy()
    for position in positions:
        different = (pairs.patients != pairs.patients[position]) & (pairs.columns != pairs.columns[position])
        if different.any():
            found[position] = random.choice(np.flatnonzero(different))
    return found

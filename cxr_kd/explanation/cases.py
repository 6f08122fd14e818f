"""Test images to walk through: found, overlooked, and decided otherwise by student and teacher; a rule chooses them.

An image with the finding is *found* by a network if its logit is at least the threshold with the largest sensitivity
plus specificity on the validation side (Youden). Within each kind of case, images are drawn with a seed; no map takes
part in the choice.
"""

from __future__ import annotations

import numpy as np

from cxr_kd.data.prepare import Prepared
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.probability.operating_points import choose_operating_points
from cxr_kd.evaluation.study_results import read_predictions
from cxr_kd.explanation.places import place_of
from cxr_kd.study import Study

FOUND, OVERLOOKED = "both find it", "both overlook it"
STUDENT_ONLY, TEACHER_ONLY = "only the student finds it", "only the teacher finds it"
KINDS = (FOUND, OVERLOOKED, STUDENT_ONLY, TEACHER_ONLY)
LOOKED_UP = 30  # cases of a kind that are searched for a marked one


def choose_cases(
    study: Study, data: Prepared, teacher: str, student: str, count: int = 2, *, seed: int = 0
) -> dict[str, list[tuple[str, str]]]:
    """Return at most `count` pairs (image id, finding) of each of KINDS, for the first seed of two arms.

    Marked findings come first. A finding without a threshold is left out, and no image is chosen twice. Raises what
    `read_predictions` raises.
    """
    validation, test = (read_predictions(study, [teacher, student], side) for side in ("validation", "test"))
    found = {arm: calls(validation[arm][0], test[arm][0]) for arm in (teacher, student)}
    present = test[student][0].labels == 1
    one, other = found[student], found[teacher]
    kinds = {
        FOUND: (one == 1) & (other == 1),
        OVERLOOKED: (one == 0) & (other == 0),
        STUDENT_ONLY: (one == 1) & (other == 0),
        TEACHER_ONLY: (one == 0) & (other == 1),
    }
    image_ids = test[student][0].frame["image_id"].to_numpy(str)
    random, taken = np.random.default_rng(seed), set[str]()
    chosen: dict[str, list[tuple[str, str]]] = {}
    for kind, cases in kinds.items():
        pairs = random.permutation(np.argwhere(cases & present))
        named = [(str(image_ids[row]), test[student][0].findings[column]) for row, column in pairs]
        marked = [pair for pair in named[:LOOKED_UP] if place_of(data, *pair) is not None]
        ordered = marked + [pair for pair in named if pair not in marked]
        chosen[kind] = _different(ordered, taken, count)
    return chosen


def calls(validation: Predictions, test: Predictions) -> np.ndarray:
    """Return whether a run calls each finding of each test image present, (N, L): 1, 0, or NaN without a threshold."""
    points = choose_operating_points(validation)
    thresholds = [points.of(finding, "youden").logit for finding in test.findings]
    called = np.full(test.logits.shape, np.nan)
    for column, threshold in enumerate(thresholds):
        if threshold is not None:
            called[:, column] = test.logits[:, column] >= threshold
    return called


def _different(pairs: list[tuple[str, str]], taken: set[str], count: int) -> list[tuple[str, str]]:
    """The first `count` pairs whose images are not taken yet; their images are then taken."""
    chosen: list[tuple[str, str]] = []
    for image_id, finding in pairs:
        if len(chosen) < count and image_id not in taken:
            chosen.append((image_id, finding))
            taken.add(image_id)
    return chosen

"""Draw the radiograph of an exam: anatomy, findings, drain, film; with masks and boxes."""

from dataclasses import dataclass, replace

import numpy as np

from cxr_kd.phantoms.anatomy import Scene, absorption, develop, scene_of
from cxr_kd.phantoms.body import AXIS, LEFT, RIGHT, Anatomy, exam, person
from cxr_kd.phantoms.findings import DRAW, RESHAPE
from cxr_kd.phantoms.labels import FINDINGS, Exam
from cxr_kd.phantoms.lesion import Lesion

MASK_LEVEL = 0.4  # a pixel belongs to a finding if the finding has this share of its full effect there


@dataclass(frozen=True, eq=False)
class Radiograph:
    """Image uint8 (S, S), masks {finding: bool (S, S)}, boxes {finding: (x, y, width, height)} as image fractions."""

    image: np.ndarray
    masks: dict[str, np.ndarray]
    boxes: dict[str, tuple[float, float, float, float]]


def radiograph(
    exam_: Exam,
    size: int,
    *,
    seed: int,
    conspicuity: float,
    exposure: float = 0.0,
    film_contrast: float = 1.0,
    drain: bool | None = None,
) -> Radiograph:
    """Return the radiograph of one exam. Equal arguments give equal pixels; another size shows the same body.

    `exposure` is added to the exam's own, `film_contrast` multiplies it: how another hospital takes its images.
    `drain` draws the exam with or without a chest drain; None draws it as it is. Pixels that the drain does not cover
    are equal in both versions: findings, masks and noise do not depend on it, and no step of the film is global.
    """
    rng = np.random.default_rng([seed, 3, exam_.patient, exam_.number])
    body = person(np.random.default_rng([seed, 4, exam_.patient]), exam_.age, exam_.sex == "M")
    anatomy = exam(rng, body, exam_.view)
    anatomy = replace(anatomy, exposure=anatomy.exposure + exposure, contrast=anatomy.contrast * film_contrast)
    names = [name for name, present in zip(FINDINGS, exam_.truth, strict=True) if present]
    lesions = {name: _lesion(name, exam_, seed, conspicuity, rng) for name in names}
    for name in names:
        anatomy = RESHAPE[name](anatomy, lesions[name]) if name in RESHAPE else anatomy
    scene = scene_of(_possible(anatomy), size)
    masks = {name: _mask(DRAW[name](scene, lesions[name])) for name in names}
    scene.added = scene.added + _drain(exam_, scene, lesions, seed, rng, exam_.drain if drain is None else drain)
    image = develop(absorption(scene), scene, rng)
    return Radiograph(image, masks, {name: _box(mask) for name, mask in masks.items()})


def _lesion(name: str, exam_: Exam, seed: int, conspicuity: float, rng: np.random.Generator) -> Lesion:
    """Return a finding of an exam. It has the same side and about the same severity in all exams of a patient.

    A chest drain makes a pneumothorax smaller.
    """
    own = np.random.default_rng([seed, 5, exam_.patient, FINDINGS.index(name)])
    side = LEFT if own.random() < 0.45 else RIGHT
    severity = min(max(own.random() + 0.15 * rng.normal(), 0.0), 1.0)
    if name == "Pneumothorax" and exam_.drain:
        severity = 0.7 * severity
    return Lesion(side, severity, conspicuity, own)


def _possible(anatomy: Anatomy) -> Anatomy:
    """Return the anatomy with the diaphragm below the hila and the heart inside the chest, whatever the findings."""
    right, left = (min(max(height, 3.5), 12.5) for height in anatomy.dome)
    return replace(anatomy, dome=(right, left), heart=min(anatomy.heart, 1.45 * anatomy.cage))


def _mask(support: np.ndarray) -> np.ndarray:
    """Return bool (S, S): the finding's pixels, or its strongest one if the image is too small to show it."""
    return np.asarray(support >= min(MASK_LEVEL, float(support.max())))


def _box(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Return x, y, width and height of the smallest box around a mask, as fractions of the image."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = mask.shape
    x, y = columns[0] / width, rows[0] / height
    return float(x), float(y), float((columns[-1] + 1) / width - x), float((rows[-1] + 1) / height - y)


def _drain(
    exam_: Exam, scene: Scene, lesions: dict[str, Lesion], seed: int, rng: np.random.Generator, drawn: bool
) -> np.ndarray | float:
    """Return the absorption of the chest drain, on the side of the pneumothorax; 0 if it is not drawn.

    The drain of the exam takes its random numbers from `rng` even if it is not drawn, because the film's noise is drawn
    next. A drain that the exam does not have takes them from a generator of its own.
    """
    own = np.random.default_rng([seed, 6, exam_.patient, exam_.number])
    side = LEFT if exam_.drain or own.random() < 0.45 else RIGHT  # if there is no pneumothorax
    side = lesions["Pneumothorax"].side if "Pneumothorax" in lesions else side
    tube = _chest_drain(scene, side, rng if exam_.drain else own) if exam_.drain or drawn else 0.0
    return tube if drawn else 0.0


def _chest_drain(scene: Scene, side: int, rng: np.random.Generator) -> np.ndarray:
    """Return the absorption of a tube, from the lateral chest wall up to the apex: walls and a radio-opaque stripe."""
    frame, anatomy = scene.frame, scene.anatomy
    enters, ends = rng.uniform(1.0, 4.5), anatomy.apex + rng.uniform(2.0, 4.0)
    along = np.clip((enters - AXIS) / (enters - ends), -1, 1)
    start, stop = anatomy.cage + 0.6, rng.uniform(4.5, 7.0)
    course = side * (start + (stop - start) * np.sign(along) * np.abs(along) ** 0.8)
    offset = frame.x - frame.along(course.astype(np.float32))
    present = frame.soft(frame.y - ends, 0.3) * frame.soft(enters + 1.8 - frame.y, 0.3)
    tube = 0.13 * frame.band(offset, 0.85, 0.2) + 0.16 * frame.band(offset, 0.25, 0.1)
    return tube * present

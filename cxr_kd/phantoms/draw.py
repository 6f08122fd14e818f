"""Draw one phantom of a data set from the data set's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cxr_kd.phantoms.labels import AP_SHARE, FINDINGS, Exam, exam_of
from cxr_kd.phantoms.radiograph import radiograph
from cxr_kd.study.data_settings import PhantomSettings


@dataclass(frozen=True, eq=False)
class Phantom:
    """One synthetic radiograph: image uint8 (S, S), masks {finding: bool (S, S)}.

    Boxes are {finding: (x, y, width, height)}, as fractions of the image; `truth` is what was drawn and `labels` what
    was reported, {finding: bool}; `drain` says whether a chest drain was drawn.
    """

    image_id: str
    patient_id: str
    age: float
    sex: str
    view: str
    image: np.ndarray
    masks: Mapping[str, np.ndarray]
    boxes: Mapping[str, tuple[float, float, float, float]]
    truth: Mapping[str, bool]
    labels: Mapping[str, bool]
    drain: bool


def draw(settings: PhantomSettings, index: int, drain: bool | None = None) -> Phantom:
    """Return phantom `index` (0 .. images - 1), with the same pixels and labels each time; IndexError outside.

    `drain` draws the same exam with or without a chest drain; None draws it as it is. The two versions differ only in
    the pixels of the drain. A pneumothorax has the size of the exam as it is (smaller if the exam has a drain).
    """
    if not 0 <= index < settings.images:
        raise IndexError(f"phantom {index} is not one of the {settings.images} of these settings")
    exam = exam_at(settings, index)
    film = radiograph(
        exam,
        settings.size,
        seed=settings.seed,
        conspicuity=settings.conspicuity,
        exposure=settings.exposure,
        film_contrast=settings.film_contrast,
        drain=drain,
    )
    return Phantom(
        image_id=image_id_of(index),
        patient_id=patient_id_of(exam),
        age=exam.age,
        sex=exam.sex,
        view=exam.view,
        image=film.image,
        masks=film.masks,
        boxes=film.boxes,
        truth=dict(zip(FINDINGS, exam.truth.tolist(), strict=True)),
        labels=dict(zip(FINDINGS, exam.reported.tolist(), strict=True)),
        drain=exam.drain if drain is None else drain,
    )


@lru_cache(maxsize=4096)
def exam_at(settings: PhantomSettings, index: int) -> Exam:
    """Return the exam of phantom `index`."""
    return exam_of(
        index,
        seed=settings.seed,
        rate_factor=settings.rate_factor,
        minimum_rate=settings.minimum_rate,
        label_noise=settings.label_noise,
        drain_rate=settings.drain_rate,
        images_a_patient=settings.images_a_patient,
        ap_share=AP_SHARE if settings.ap_share is None else settings.ap_share,
    )


def image_id_of(index: int) -> str:
    """Return the image id of phantom `index`."""
    return f"phantom-{index:06d}"


def patient_id_of(exam: Exam) -> str:
    """Return the patient id of an exam."""
    return f"p{exam.patient:06d}"

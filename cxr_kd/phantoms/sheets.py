"""Contact sheets: each finding alone with its outline, and ordinary exams, to look at what the phantoms show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cxr_kd.phantoms.draw import draw
from cxr_kd.phantoms.labels import FINDINGS, Exam
from cxr_kd.phantoms.radiograph import Radiograph, radiograph
from cxr_kd.study.data_settings import PhantomSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTLINE = "#e69f00"  # orange of the colour-blind safe palette of Okabe and Ito


def finding_alone(
    settings: PhantomSettings, finding: str | None, *, patient: int = 0, view: str = "PA", drain: bool = False
) -> Radiograph:
    """Draw one patient with one finding and nothing else (None: a normal chest), for pictures and for tests."""
    truth = np.array([name == finding for name in FINDINGS])
    age, sex = 35.0 + 7 * (patient % 6), "MF"[patient % 2]
    exam = Exam(patient, 0, age, sex, view, truth, truth, drain)
    return radiograph(exam, settings.size, seed=settings.seed, conspicuity=settings.conspicuity)


def contact_sheet(settings: PhantomSettings, patients: int = 4, outlines: bool = True) -> Figure:
    """Return a figure: a row for the normal chest and for each finding alone, a column a patient (every third AP)."""
    from matplotlib.figure import Figure

    rows: list[str | None] = [None, *FINDINGS]
    figure = Figure(figsize=(2.0 * patients, 2.1 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), patients, squeeze=False)
    for row, finding in enumerate(rows):
        for patient in range(patients):
            view = "AP" if patient % 3 == 2 else "PA"
            film = finding_alone(settings, finding, patient=patient, view=view)
            _show(axes[row, patient], film.image, film.masks if outlines else {})
        axes[row, 0].set_ylabel((finding or "No finding").replace("_", " "), fontsize=9)
    return figure


def exam_sheet(settings: PhantomSettings, first: int = 0, rows: int = 4, columns: int = 6) -> Figure:
    """Return a figure of consecutive phantoms as the data set holds them, with what was drawn in each."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.0 * columns, 2.3 * rows), layout="constrained")
    for place, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        phantom = draw(settings, first + place)
        _show(axes, phantom.image, {})
        names = ", ".join(name.replace("_", " ") for name, present in phantom.truth.items() if present)
        axes.set_title(f"{phantom.patient_id} {phantom.view}\n{names or 'No finding'}", fontsize=6)
    return figure


def _show(axes: Axes, image: np.ndarray, masks: dict[str, np.ndarray]) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    for mask in masks.values():
        axes.contour(mask, levels=[0.5], colors=OUTLINE, linewidths=0.7)
    axes.set_xticks([])
    axes.set_yticks([])

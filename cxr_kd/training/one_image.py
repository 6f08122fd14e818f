"""One training image of a student: its views, and what its labels, its teacher and the student itself say of it.

Notebook 3 shows it, so that a reader sees what the objective compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

import numpy as np
import pandas as pd
import torch

from cxr_kd.data.loader import Batch, Batches
from cxr_kd.data.prepare import Prepared
from cxr_kd.distill.objective import Objective
from cxr_kd.distill.outputs import Outputs, observe
from cxr_kd.study import Study
from cxr_kd.study.loss_table import LOSSES, NEEDS_LIVE_TEACHER
from cxr_kd.study.runs import Run
from cxr_kd.training.distributed import ALONE
from cxr_kd.training.finished_run import load_run
from cxr_kd.training.job import Job
from cxr_kd.training.run import objective_of
from cxr_kd.training.teacher_answers import answer_source

SHOWN_VIEWS = 4


@dataclass(frozen=True, eq=False)
class OneImage:
    """A training image, with everything that the objective of a run compares for it.

    Attributes:
        image_id: its id.
        image: (S, S) uint8, as it is in the cache.
        views: (V, S, S) float32 in [0, 1], the first views of it that the student learns from, at most SHOWN_VIEWS.
        number_of_views: that the student learns from; 0: another view in every epoch.
        findings: names of the L findings.
        labels: (L,) 1, 0, or NaN if unknown.
        student: (L,) logits of the trained student for the first view.
        teacher: (L,) logits of its teachers for the same view; None for a student alone.
        terms: one row per loss of the objective: loss, weight, of_image (its value for the first view alone; NaN if the
            loss compares images with each other), of_batch (its value for the training batch that holds this view).
            Both are NaN for a loss with a learned layer, which is not kept after training.
        batch_size: images in that batch.
    """

    image_id: str
    image: np.ndarray
    views: np.ndarray
    number_of_views: int
    findings: tuple[str, ...]
    labels: np.ndarray
    student: np.ndarray
    teacher: np.ndarray | None
    terms: pd.DataFrame
    batch_size: int


def one_image(study: Study, run: Run, data: Prepared, number: int = 0) -> OneImage:
    """Return a training image of a finished student. `number` 0, 1, ... takes another image with a finding.

    The images are shuffled with a fixed seed, so no network has a say in the choice. Raises what `load_run` and
    `answer_source` raise.
    """
    job = Job(study, run, data, ALONE)
    batches = job.batches()
    image_id = choose_training_image(data, number)
    batch = batches.batch_with(image_id)
    row = batch.image_ids.index(image_id)
    network, source = load_run(study, run, data).eval(), answer_source(job, batches)
    kept = {name: weight for name, weight in run.objective.items() if name not in NEEDS_LIVE_TEACHER}
    again = job.with_run(run.model_copy(update={"objective": kept}))
    objective = objective_of(again, network, source) if again.run.losses else None
    with torch.no_grad():
        student = observe(network, batch.images, objective.needs if objective else ())
        teacher = source.of(batch) if source else None
        terms = _terms(run, objective, student, teacher, batch, row)
    return OneImage(
        image_id=image_id,
        image=data.cache.pixels(data.cache.rows([image_id]))[0],
        views=_views(batches, image_id),
        number_of_views=run.views,
        findings=data.table.findings,
        labels=torch.where(batch.known[row], batch.labels[row], torch.nan).numpy(),
        student=student.logits[row].numpy(),
        teacher=teacher.logits[row].float().numpy() if teacher else None,
        terms=terms,
        batch_size=len(batch.image_ids),
    )


def choose_training_image(data: Prepared, number: int = 0) -> str:
    """Return the id of a training image with a finding (of any, if none has one), in an order drawn with seed 0."""
    frame = data.table.select(data.split.train).frame
    positive = frame.loc[(frame[list(data.table.findings)] == 1).any(axis=1), "image_id"]
    ids = (positive if len(positive) else frame["image_id"]).to_numpy(str)
    return str(np.random.default_rng(0).permutation(ids)[number % len(ids)])


def _views(batches: Batches, image_id: str) -> np.ndarray:
    """The first views of an image, (V, S, S)."""
    epochs = islice(range(batches.views or SHOWN_VIEWS), SHOWN_VIEWS)
    found = [batches.batch_with(image_id, epoch) for epoch in epochs]
    return np.stack([batch.images[batch.image_ids.index(image_id), 0].numpy() for batch in found])


def _terms(
    run: Run, objective: Objective | None, student: Outputs, teacher: Outputs | None, batch: Batch, row: int
) -> pd.DataFrame:
    """The table `OneImage.terms`."""

    def values(chosen: slice) -> dict[str, torch.Tensor]:
        if objective is None:
            return {}
        answers = teacher.each(lambda part: part[chosen]) if teacher else None
        own = student.each(lambda part: part[chosen])
        return objective(own, answers, *(part[chosen] for part in (batch.labels, batch.known, batch.source_log_odds)))[
            1
        ]

    alone, together = values(slice(row, row + 1)), values(slice(None))
    nothing = torch.tensor(torch.nan)
    rows = [
        {
            "loss": name,
            "weight": run.objective[name],
            "of_image": float(nothing if LOSSES[name].compares_images else alone.get(name, nothing)),
            "of_batch": float(together.get(name, nothing)),
        }
        for name in LOSSES
        if name in run.losses
    ]
    return pd.DataFrame(rows)

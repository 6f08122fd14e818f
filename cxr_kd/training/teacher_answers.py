"""Where a student's teachers' answers come from: stored files, computed first if needed, or the live networks."""

import numpy as np
import pandas as pd

from cxr_kd.data.loader import Batches
from cxr_kd.distill.answer_source import AnswerSource, LiveTeacher, TeacherEnsemble, check_training_images
from cxr_kd.distill.compute_answers import compute_answers
from cxr_kd.distill.objective import needs_of
from cxr_kd.distill.outputs import Need
from cxr_kd.distill.stored_answers import StoredAnswers, find_answers
from cxr_kd.errors import TeacherError
from cxr_kd.files import locked, sha256_of
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.study.loss_table import NEEDS_LIVE_TEACHER
from cxr_kd.study.runs import Run
from cxr_kd.study.settings import digest
from cxr_kd.training.finished_run import HISTORY, WEIGHTS, load_run
from cxr_kd.training.job import Job
from cxr_kd.training.predict import one_pair, validation_auroc

SAME_AUROC = 1e-3


def answer_source(job: Job, batches: Batches) -> AnswerSource | None:
    """Return the answers of a student's teachers, which must be trained already; None for a run without a teacher.

    Raises TeacherError if `batches` holds images outside the training side, or if a teacher has changed.
    """
    if not job.teachers:
        return None
    check_training_images(batches.image_ids, job.data.split)
    sources = [_source(job, teacher) for teacher in job.teachers]
    return sources[0] if len(sources) == 1 else TeacherEnsemble(sources)


def _source(job: Job, teacher: Job) -> AnswerSource:
    """Return one teacher's stored answers, or the live teacher if a loss needs it."""
    if live_losses := NEEDS_LIVE_TEACHER & job.run.losses:
        names = ", ".join(sorted(live_losses))
        job.processes.say(f"{job.run.name}: {names} compares features, which are not stored; using the live teacher")
        return LiveTeacher(_checked(teacher), _needs(job.run), device=job.processes.device)
    busy = f"{teacher.run.name}: another process is computing its answers; waiting for it"
    with job.processes.hold(locked(teacher.folder / ".answers.lock", busy)):
        job.processes.on_first(lambda: _compute_missing(job, teacher))
        return StoredAnswers(teacher.folder, _needs(job.run))


def _compute_missing(job: Job, teacher: Job) -> None:
    """Store the teacher's answers unless they are there.

    They are computed for all of its students at once: answers for one student's losses and views only would be computed
    again for the next one.
    """
    students = [job.run, *(run for run in job.study.runs_of(job.run.seed) if teacher.run.network in run.teachers)]
    views = max(student.views for student in students)
    weights_sha256 = sha256_of(teacher.folder / WEIGHTS)
    key = digest([weights_sha256, job.data.identity, job.study.augmentation.model_dump(), views, job.run.seed])
    if find_answers(teacher.folder, key, _needs(job.run)) is None:
        needs, device = _needs(*students) - {"features"}, job.processes.device
        compute_answers(_checked(teacher), job.batches(views), teacher.folder, key, needs=needs, device=device)


def _checked(teacher: Job) -> CxrClassifier:
    """Return a trained teacher's network; raise TeacherError unless its validation AUROC is that of its training."""
    network, history = load_run(teacher.study, teacher.run, teacher.data), pd.read_csv(teacher.folder / HISTORY)
    then, now = history["validation_auroc"].max(), validation_auroc(network, teacher.data, teacher.processes.device)
    # Memory layouts and devices round differently, which can swap the ranks of two images with nearly equal scores.
    if not np.isclose(now, then, rtol=0, atol=max(SAME_AUROC, 3 * one_pair(teacher.data)), equal_nan=True):
        raise TeacherError(
            f"{teacher.folder}: the validation AUROC of this teacher is {now:.4f}, but was {then:.4f} when it was "
            f"trained: its weights or data are not the same; remove the folder, and it is trained again"
        )
    return network


def _needs(*runs: Run) -> frozenset[Need]:
    """Return the outputs that the losses of these runs compare, besides logits."""
    return needs_of(name for run in runs for name in run.losses)

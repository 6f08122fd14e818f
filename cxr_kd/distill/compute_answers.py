"""Computing a teacher's answers for a fixed number of views of each training image; interrupted, it resumes."""

import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cxr_kd.data.loader import Batch, Batches
from cxr_kd.distill.answer_source import LiveTeacher
from cxr_kd.distill.outputs import Need, Outputs
from cxr_kd.distill.stored_answers import AnswersRecord, StoredAnswers, find_answers, open_part, parts_of
from cxr_kd.errors import TeacherError
from cxr_kd.files import check_room, disk_errors, write_json
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.npy_rows import NpyRows, allocate

LARGEST = float(torch.finfo(torch.float16).max)  # 65504


def compute_answers(
    network: CxrClassifier,
    batches: Batches,
    folder: Path,
    key: str,
    *,
    needs: Collection[Need] = (),
    device: str = "cpu",
) -> StoredAnswers:
    """Store a teacher's answers for every view of every image of `batches` in `folder`, and return them.

    Answers with the same `key` and all that is needed are read instead. Other answers stay until the new ones are
    complete. After an interruption, the same call continues after the last batch written. Memory does not grow with
    the number of images. The network is frozen and put in eval mode.

    Raises:
        TeacherError: if an answer is not finite or exceeds float16.
        StorageError: if the disk has no room.
        ValueError: for features, which are too large to store, and for batches without a fixed number of views.
    """
    if answers := find_answers(folder, key, needs):
        return answers
    if "features" in needs or batches.views < 1:
        raise ValueError("only views > 0 without features can be stored: use a LiveTeacher")
    new = folder / "answers.new"
    plan = AnswersRecord(
        key=key,
        parts=parts_of(needs),
        batch_size=batches.batch_size,
        views=batches.views,
        images=len(batches.image_ids),
    )
    with disk_errors(folder):
        _compute_the_rest(LiveTeacher(network, needs, device=device), batches, new, plan)
        if (folder / "answers").exists():
            shutil.rmtree(folder / "answers")
        new.rename(folder / "answers")
    return StoredAnswers(folder, needs)


def _compute_the_rest(teacher: LiveTeacher, batches: Batches, new: Path, plan: AnswersRecord) -> None:
    started = _started(new, plan)
    record, files = started or (plan, {})
    total = batches.views * len(batches)
    with tqdm(total=total, initial=record.batches_done, desc="teacher's answers", unit=" batches", leave=False) as bar:
        began = time.perf_counter() - record.seconds
        for number, batch in enumerate(_views(batches, record.batches_done), start=record.batches_done + 1):
            answers = _in_half(teacher.of(batch), plan.parts, batch)
            if not files:
                files = _allocate(new, answers, plan)
            rows = batch.view * plan.images + batch.index.numpy()
            for part, file in files.items():
                file.write(rows, answers[part])
                file.sync()
            done = {"batches_done": number, "seconds": time.perf_counter() - began}
            # Written last, because it counts batches that are on the disk.
            write_json(new / "record.json", plan.model_copy(update=done).model_dump())
            bar.update()


def _started(new: Path, plan: AnswersRecord) -> tuple[AnswersRecord, dict[str, NpyRows]] | None:
    """Return what an interrupted call with the same plan has written; None if there is nothing or it is damaged."""
    record = AnswersRecord.read(new)
    if record is None or record.model_copy(update={"batches_done": 0, "seconds": 0.0}) != plan:
        return None
    try:
        return record, {part: open_part(new, part, write=True) for part in plan.parts}
    except TeacherError:
        return None


def _views(batches: Batches, done: int) -> Iterator[Batch]:
    """Yield the batches of every view, without the first `done` of them."""
    for view in range(batches.views):
        before = view * len(batches)
        if done < before + len(batches):
            yield from islice(batches.epoch(view), max(done - before, 0), None)


def _in_half(answers: Outputs, parts: Sequence[str], batch: Batch) -> dict[str, np.ndarray]:
    return {part: _half(part, getattr(answers, part).float().cpu(), batch) for part in parts}


def _half(part: str, values: Tensor, batch: Batch) -> np.ndarray:
    """Return values (B, ...) as float16; raise TeacherError if float16 cannot hold them."""
    fits = (values.abs() <= LARGEST).flatten(1).all(dim=1)  # False for NaN, too
    if not fits.all():
        worst = int((~fits).nonzero()[0])
        raise TeacherError(
            f"the teacher's {part} for image {batch.image_ids[worst]} reach {values[worst].abs().max():.3g}, but are "
            f"stored as float16, which ends at {LARGEST:.0f}: this teacher has not learned; look at its history and "
            f"train it again with a lower learning rate"
        )
    return values.half().numpy()


def _allocate(new: Path, answers: dict[str, np.ndarray], plan: AnswersRecord) -> dict[str, NpyRows]:
    """Make the empty files, shaped like the first batch's answers; raise StorageError if the disk has no room."""
    shapes = {part: (plan.views, plan.images, *values.shape[1:]) for part, values in answers.items()}
    needed = np.dtype(np.float16).itemsize * sum(int(np.prod(shape, dtype=object)) for shape in shapes.values())
    if new.exists():
        shutil.rmtree(new)
    check_room(new, needed, f"storing the teacher's answers for {plan.views} views (teacher_views)")
    new.mkdir(parents=True)
    for part, shape in shapes.items():
        allocate(new / f"{part}.npy", shape, np.float16)
    return {part: open_part(new, part, write=True) for part in shapes}

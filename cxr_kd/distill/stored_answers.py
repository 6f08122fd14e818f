"""A teacher's stored answers: files in the teacher's folder, computed once and read during every student's training.

`answers/record.json` says what the answers are of, and each output is a float16 file `answers/PART.npy` (V, N, ...):
view v of the n-th training image. `compute_answers.py` writes them.
"""

from collections.abc import Collection
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from cxr_kd.data.loader import Batch
from cxr_kd.distill.outputs import Need, Outputs
from cxr_kd.errors import TeacherError
from cxr_kd.npy_rows import NpyRows


class AnswersRecord(BaseModel):
    """What a folder of answers holds.

    `key` identifies the teacher's weights, the images, the views and the augmentation. `batches_done` counts the
    batches written so far over all views; `seconds` is the answering time so far.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    key: str
    parts: list[str]
    batch_size: int
    views: int
    images: int
    batches_done: int = 0
    seconds: float = 0.0

    @classmethod
    def read(cls, folder: Path) -> "AnswersRecord | None":
        """Return the record in a folder; None if there is none or it is damaged: answers can be computed again."""
        try:
            return cls.model_validate_json((folder / "record.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError, ValidationError):
            return None


class StoredAnswers:
    """A teacher's stored answers, read row by row from open files.

    The open files stay readable if another process replaces the answers meanwhile.

    Raises TeacherError if a file is missing or damaged.
    """

    def __init__(self, folder: Path, needs: Collection[Need] = ()) -> None:
        self._files = {part: open_part(folder / "answers", part) for part in parts_of(needs)}

    def of(self, batch: Batch) -> Outputs:
        """Return the teacher's answers for a batch, float16; raise TeacherError for a view that is not stored."""
        views, images = self._files["logits"].shape[:2]
        if batch.view >= views:
            raise TeacherError(
                f"{self._files['logits'].path} holds views 0 to {views - 1}, not {batch.view}: make the batches with "
                f"views={views}"
            )
        rows = batch.view * images + batch.index.numpy()
        return Outputs(**{part: torch.from_numpy(file.read(rows)) for part, file in self._files.items()})


def find_answers(folder: Path, key: str, needs: Collection[Need] = ()) -> StoredAnswers | None:
    """Return the answers in a teacher's folder; None unless they are whole, have this key and hold all that is needed.

    Logits are always stored; `needs` names the other outputs.
    """
    record = AnswersRecord.read(folder / "answers")
    if record is None or record.key != key or not set(parts_of(needs)) <= set(record.parts):
        return None
    try:
        return StoredAnswers(folder, needs)
    except TeacherError:  # a file is damaged: the caller computes the answers again
        return None


def answers_summary(folder: Path) -> dict[str, float]:
    """Return `seconds` (answering time), `views` of each image and `mb` (2**20 bytes) of a teacher's stored answers.

    Raises TeacherError if there are none.
    """
    record = AnswersRecord.read(folder / "answers")
    if record is None:
        raise TeacherError(f"{folder / 'answers'}: no answers are stored; train a student of this teacher")
    size = sum(file.stat().st_size for file in (folder / "answers").glob("*.npy"))
    return {"seconds": record.seconds, "views": record.views, "mb": size / 2**20}


def parts_of(needs: Collection[Need]) -> list[str]:
    """Return the outputs to store, in the order of `Outputs`: the logits and what is needed besides."""
    return [field.name for field in fields(Outputs) if field.name == "logits" or field.name in needs]


def open_part(folder: Path, part: str, *, write: bool = False) -> NpyRows:
    """Open one output's file (V, N, ...) by rows; raise TeacherError if it is missing or damaged."""
    path = folder / f"{part}.npy"
    try:
        rows = NpyRows(path, axes=2, write=write)
    except (FileNotFoundError, ValueError, EOFError) as error:
        raise TeacherError(
            f"{path} is missing or damaged ({error}): remove the folder {folder}; the answers are computed again"
        ) from error
    if len(rows.shape) < 3 or rows.dtype != np.float16:
        raise TeacherError(
            f"{path} holds {rows.dtype} of shape {rows.shape}, not float16 answers (views, images, ...): remove the "
            f"folder {folder}; the answers are computed again"
        )
    return rows

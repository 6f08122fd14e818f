"""What the teacher says: asked once for a fixed number of views of each training image, and kept; or asked live."""

import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cxr_kd.data.loader import Batch, Batches
from cxr_kd.data.splits import Split
from cxr_kd.distill.outputs import Need, Outputs, mean_outputs, observe
from cxr_kd.errors import TeacherError
from cxr_kd.files import read_json, write_json
from cxr_kd.models.classifier import CxrClassifier
from cxr_kd.npy_rows import NpyRows, allocate

LARGEST = float(torch.finfo(torch.float16).max)  # 65504


class Teacher(Protocol):
    """Who answers for a teacher while a student is trained."""

    def of(self, batch: Batch) -> Outputs:
        """What the teacher says of the very pixels of this batch."""


class LiveTeacher:
    """A frozen network in eval mode that is asked about every batch: for `hint`, and to compare kept answers with."""

    def __init__(self, network: CxrClassifier, needs: Collection[Need] = (), *, device: str = "cpu") -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self._needs, self._device = needs, device

    def of(self, batch: Batch) -> Outputs:
        """What the network says of a batch, float32, without a gradient."""
        with torch.no_grad():  # not inference_mode, whose tensors no gradient may pass by
            return observe(self.network, batch.images.to(self._device), self._needs)


class TeacherEnsemble:
    """Several teachers who answer as one, kept or live: the mean of what they say (`outputs.together`)."""

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        self._teachers = tuple(teachers)

    def of(self, batch: Batch) -> Outputs:
        """The mean of their answers to a batch, float32."""
        return mean_outputs([teacher.of(batch) for teacher in self._teachers])


class Answers:
    """A teacher's kept answers: a float16 `.npy` file (V, N, ...) a part, for view v of the n-th image.

    They are read row by row from open files: pages of a mapping would count as this process's memory once they are
    touched, and whoever replaces the files does not disturb the training that reads them.
    """

    def __init__(self, folder: Path, needs: Collection[Need] = ()) -> None:
        self._files = {part: NpyRows(folder / "answers" / f"{part}.npy", axes=2) for part in _parts(needs)}

    def of(self, batch: Batch) -> Outputs:
        """What the teacher said of a batch, float16; TeacherError for a view that it was not asked about."""
        views, images = self._files["logits"].shape[:2]
        if batch.view >= views:
            raise TeacherError(
                f"{self._files['logits'].path} holds views 0 to {views - 1}, not {batch.view}: give the batches "
                f"views={views}"
            )
        rows = batch.view * images + batch.index.numpy()
        return Outputs(**{part: torch.from_numpy(file.read(rows)) for part, file in self._files.items()})


def only_training_images(image_ids: Iterable[str], split: Split) -> None:
    """Raise TeacherError unless a teacher is to be asked about images of the training side alone."""
    if scored := sorted(image_id for image_id in image_ids if split.side(image_id) != "train"):
        raise TeacherError(
            f"{len(scored):,} of the images to distil on, e.g. {scored[0]}, are not on the training side of the split "
            f"{split.name!r} but on its {split.side(scored[0]) or 'outside'}: a student that has seen what it is "
            f"scored on looks better than it is; give it batches of the training side"
        )


def kept(folder: Path, key: str, needs: Collection[Need] = ()) -> Answers | None:
    """The answers in `folder` where they are complete, of this key, and have what is needed beside logits."""
    record = _read(folder / "answers" / "record.json")
    if record.get("key") != key or not set(_parts(needs)) <= set(record["parts"]):
        return None
    return Answers(folder, needs)


def cost(folder: Path) -> dict[str, float]:
    """What the kept answers in a teacher's folder cost: seconds of asking, views of each image, MB of 2**20 bytes.

    Raises TeacherError where none are kept.
    """
    record = _read(folder / "answers" / "record.json")
    if not record:
        raise TeacherError(f"{folder / 'answers'}: no answers are kept; train a student of this teacher")
    size = sum(file.stat().st_size for file in (folder / "answers").glob("*.npy"))
    return {"seconds": record["seconds"], "views": record["views"], "mb": size / 2**20}


def ask(
    network: CxrClassifier,
    batches: Batches,
    folder: Path,
    key: str,
    *,
    needs: Collection[Need] = (),
    device: str = "cpu",
) -> Answers:
    """Ask a teacher about every view of every image of `batches`, or read what it said before.

    `key` identifies the teacher's weights, images, views and augmentation: answers under another key, or without what
    is needed, are asked again, and the old ones are replaced when the new ones are complete. Killed, it goes on after
    the last batch written. Memory does not grow with the number of images. The network is frozen, in eval mode.

    Raises TeacherError where the disk has no room, and for answers beyond what float16 holds; ValueError for features,
    which are too large to keep, and for batches without a fixed number of views.
    """
    if answers := kept(folder, key, needs):
        return answers
    if "features" in needs or batches.views < 1:
        raise ValueError("answers are kept for views > 0 and without features: ask a LiveTeacher")
    new = folder / "answers.new"
    plan = {"key": key, "parts": list(_parts(needs)), "batch_size": batches.batch_size}
    plan |= {"views": batches.views, "images": len(batches.image_ids)}
    try:
        _ask_what_is_left(LiveTeacher(network, needs, device=device), batches, new, plan)
        if (folder / "answers").exists():
            shutil.rmtree(folder / "answers")
        new.rename(folder / "answers")
    except OSError as error:
        raise TeacherError(f"can't write to {folder} ({error}); make room and start again: it goes on") from error
    return Answers(folder, needs)


def _ask_what_is_left(teacher: LiveTeacher, batches: Batches, new: Path, plan: dict[str, Any]) -> None:
    record = _read(new / "record.json")
    done = record.get("batches_done", 0) if {**record, **plan} == record else 0
    files = {part: NpyRows(new / f"{part}.npy", axes=2, write=True) for part in plan["parts"]} if done else {}
    total, seconds = batches.views * len(batches), record["seconds"] if done else 0.0
    with tqdm(total=total, initial=done, desc="asking the teacher", unit=" batches", leave=False) as bar:
        began = time.perf_counter() - seconds
        for number, batch in enumerate(_views(batches, done), start=done + 1):
            said = _in_half(teacher.of(batch), plan["parts"], batch)
            if not files:
                files = _allocate(new, said, plan)
            for part, file in files.items():
                file.write(batch.view * plan["images"] + batch.index.numpy(), said[part])
                file.sync()
            told = {**plan, "batches_done": number, "seconds": time.perf_counter() - began}
            write_json(new / "record.json", told)  # last: what it counts is on the disk
            bar.update()


def _views(batches: Batches, done: int) -> Iterator[Batch]:
    for view in range(batches.views):
        before = view * len(batches)
        if done < before + len(batches):
            yield from islice(batches.epoch(view), max(done - before, 0), None)


def _in_half(said: Outputs, parts: Sequence[str], batch: Batch) -> dict[str, np.ndarray]:
    return {part: _half(part, getattr(said, part).float().cpu(), batch) for part in parts}


def _half(part: str, values: Tensor, batch: Batch) -> np.ndarray:
    fits = (values.abs() <= LARGEST).flatten(1).all(dim=1)  # false for what is not a number, too
    if not fits.all():
        worst = int((~fits).nonzero()[0])
        raise TeacherError(
            f"the teacher's {part} of image {batch.image_ids[worst]} reach {values[worst].abs().max():.3g}, and are "
            f"kept as float16, which ends at {LARGEST:.0f}: a teacher that says this has not learned; look at its "
            f"history, and train it again with a lower learning rate"
        )
    return values.half().numpy()


def _allocate(new: Path, said: dict[str, np.ndarray], plan: dict[str, Any]) -> dict[str, NpyRows]:
    with suppress(FileNotFoundError):
        shutil.rmtree(new)
    new.mkdir(parents=True)
    shapes = {part: (plan["views"], plan["images"], *values.shape[1:]) for part, values in said.items()}
    needed, free = 2 * sum(int(np.prod(shape)) for shape in shapes.values()), shutil.disk_usage(new).free
    if needed > free:
        raise TeacherError(
            f"{new}: the teacher's answers need {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free; make room, or "
            f"ask for fewer teacher_views"
        )
    for part, shape in shapes.items():
        allocate(new / f"{part}.npy", shape, np.float16)
    return {part: NpyRows(new / f"{part}.npy", axes=2, write=True) for part in shapes}


def _parts(needs: Collection[Need]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(Outputs) if field.name == "logits" or field.name in needs)


def _read(record: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = read_json(record)
    except (FileNotFoundError, ValueError):  # not JSON: the machine went down while it was written
        return {}
    return content

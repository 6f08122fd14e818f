"""What the teacher said: asked once for a fixed number of views of each training image, and kept."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from cxr_kd.data.loader import Batch, Batches
from cxr_kd.files import read_json, write_json, written_whole
from cxr_kd.models.classifier import CxrClassifier


@dataclass(frozen=True, eq=False)
class Answers:
    """A teacher's logits `(V, N, L)` float16: view v of the n-th image of the batches that it was asked about."""

    logits: np.ndarray

    def of(self, batch: Batch) -> Tensor:
        """The teacher's logits (B, L), float32, for the very pixels of this batch."""
        return torch.from_numpy(self.logits[batch.view, batch.index.numpy()].astype(np.float32))


def ask(teacher: CxrClassifier, batches: Batches, folder: Path, key: str, *, device: str = "cpu") -> Answers:
    """Ask the teacher about every view of every image of `batches`, or read what it said before.

    `key` identifies teacher weights, images, views and augmentation: answers kept under another key are asked again.
    The teacher is put in eval mode and gets no gradient.
    """
    logits_file, key_file = folder / "answers.npy", folder / "answers.json"
    if logits_file.is_file() and key_file.is_file() and read_json(key_file)["key"] == key:
        return Answers(np.load(logits_file, mmap_mode="r"))
    key_file.unlink(missing_ok=True)  # first: a kill from here on must not leave new answers under an old key
    logits = np.empty((batches.views, len(batches.image_ids), len(teacher.findings)), np.float16)
    teacher.to(device).eval()
    with (
        torch.inference_mode(),
        tqdm(total=batches.views * len(batches), desc="asking the teacher", leave=False) as bar,
    ):
        for view in range(batches.views):
            for batch in batches.epoch(view):
                logits[view, batch.index.numpy()] = teacher(batch.images.to(device)).float().cpu().numpy()
                bar.update()
    with written_whole(logits_file) as temporary:
        np.save(temporary, logits)
    write_json(key_file, {"key": key, "views": batches.views, "images": len(batches.image_ids)})
    return Answers(np.load(logits_file, mmap_mode="r"))

"""Where a teacher's answers come from while a student is trained: stored files, a live network, or several of these."""

from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import torch

from cxr_kd.data.loader import Batch
from cxr_kd.data.splits import Split
from cxr_kd.distill.outputs import Need, Outputs, mean_outputs, observe
from cxr_kd.errors import TeacherError
from cxr_kd.models.classifier import CxrClassifier


class AnswerSource(Protocol):
    """Anything that gives a teacher's answers for a batch."""

    def of(self, batch: Batch) -> Outputs:
        """Return the teacher's outputs for exactly the pixels of this batch."""


class LiveTeacher:
    """A frozen network in eval mode that computes its answers for every batch.

    Needed for losses that compare features, which are too large to store.
    """

    def __init__(self, network: CxrClassifier, needs: Collection[Need] = (), *, device: str = "cpu") -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self._needs, self._device = needs, device

    def of(self, batch: Batch) -> Outputs:
        """Return the network's outputs for a batch, float32, without gradients."""
        with torch.no_grad():  # inference_mode would give tensors that cannot take part in the student's backward pass
            return observe(self.network, batch.images.to(self._device), self._needs)


class TeacherEnsemble:
    """Several teachers, stored or live, that answer as one: the mean of their outputs (`outputs.mean_outputs`)."""

    def __init__(self, sources: Sequence[AnswerSource]) -> None:
        self._sources = tuple(sources)

    def of(self, batch: Batch) -> Outputs:
        """Return the mean of the teachers' outputs for a batch, float32."""
        return mean_outputs([source.of(batch) for source in self._sources])


def check_training_images(image_ids: Iterable[str], split: Split) -> None:
    """Raise TeacherError unless all images that a student is distilled on are on the training side of the split."""
    if outside := sorted(image_id for image_id in image_ids if split.side(image_id) != "train"):
        side = split.side(outside[0])
        raise TeacherError(
            f"{len(outside):,} images to distil on, e.g. {outside[0]}, are "
            f"{f'on the {side} side' if side else 'on no side'} of the split {split.name!r}: a student must not learn "
            f"from images that it is scored on; use batches of the training side"
        )

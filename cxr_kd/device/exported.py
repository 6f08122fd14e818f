"""Run an exported model: logits, probabilities and maps of radiographs. Needs a runtime (onnxruntime), and no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxr_kd.device import known_answer, runtimes
from cxr_kd.device.onnx_file import KEY, Metadata, parse, read_sealed
from cxr_kd.device.runtimes import Loaded, Runtime
from cxr_kd.errors import ModelError

AT_ONCE = 8  # images of one call of the runtime: memory does not depend on how many are asked for


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of N images and its L findings, float32.

    logits: (N, L). probabilities: (N, L), NaN for a finding that is not calibrated. evidence: signed evidence in
    logits, (N, L, h, w); a map is its positive part. distances: (N,), from the radiographs that the model learned from,
    in units of the limit (above 1: the image does not look like them); NaN if the file has no such output.
    """

    logits: np.ndarray
    probabilities: np.ndarray
    evidence: np.ndarray
    distances: np.ndarray


@dataclass(frozen=True, eq=False)
class ExportedModel:
    """An exported model that is ready to run, with what its file says of it."""

    path: Path
    metadata: Metadata
    loaded: Loaded

    @classmethod
    def load(cls, path: Path | str, *, threads: int = 0, runtime: Runtime = "onnxruntime") -> ExportedModel:
        """Return the model in a file of `cxr-kd export`, after it gave the known answer.

        `threads`: of the runtime; 0 takes all cores. Raises ModelError if the runtime is not installed, if the file is
        no such model, was cut off or changed, and if the known answer does not come out.
        """
        path = Path(path)
        content = read_sealed(path)
        loaded = runtimes.load(runtime, content, path, threads)
        text = loaded.metadata.get(KEY)
        if text is None:
            raise ModelError(f"{path}: no {KEY!r} in its metadata: it is no model of `cxr-kd export`")
        model = cls(path, parse(text, path), loaded)
        model._check_known_answer()
        return model

    @property
    def runtime(self) -> str:
        """The runtime and its version."""
        return self.loaded.runtime

    def run(self, images: np.ndarray) -> Answers:
        """Return the answers for images, uint8 (N, S, S) of the model's image size. Raises ModelError for others."""
        size, findings = self.metadata.image_size, len(self.metadata.findings)
        if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (size, size):
            raise ModelError(
                f"{self.path} takes 8-bit images (N, {size}, {size}), got {images.dtype} {images.shape}: decode them "
                f"with cxr_kd.decode(path, {size})"
            )
        if not len(images):
            cells = self.metadata.cells
            shapes = ((0, findings), (0, findings), (0, findings, *cells), (0,))
            return Answers(*(np.empty(shape, np.float32) for shape in shapes))
        parts = [self._answers(images[start : start + AT_ONCE]) for start in range(0, len(images), AT_ONCE)]
        return Answers(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def _answers(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        found = self.loaded.run(images[:, None])
        logits = found["logits"]
        unknown = np.full_like(logits, np.nan)
        return logits, found.get("probabilities", unknown), found["maps"], found.get("distance", unknown[:, 0])

    def _check_known_answer(self) -> None:
        known = self.metadata.known_answer
        found = self.run(known_answer.image(self.metadata.image_size)[None]).logits[0]
        if (off := float(np.abs(found - np.array(known.logits)).max())) > known.tolerance:
            raise ModelError(
                f"{self.path}: on this machine its logits of the check image differ by {off:.2g} from the known answer "
                f"({known.tolerance:g} is allowed), so none of its answers can be trusted: try another version of "
                f"the runtime ({self.runtime})"
            )

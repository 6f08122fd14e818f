"""What every finding is drawn with: its severity and place, tissue in the place of air, mottle, air bronchograms."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxr_kd.phantoms.anatomy import Scene
from cxr_kd.phantoms.body import Anatomy
from cxr_kd.phantoms.textures import TEXEL_CM, mottle

Field = np.ndarray  # (S, S) float32


@dataclass(frozen=True)
class Lesion:
    """One finding of one exam: where (a patient's stays put), how bad (0..1), how strongly it shows (1 as drawn)."""

    side: int
    severity: float
    conspicuity: float
    rng: np.random.Generator

    def grade(self, mild: float, severe: float) -> float:
        """A measure between its mild and its severe value."""
        return mild + (severe - mild) * self.severity

    def strength(self, mild: float, severe: float) -> float:
        """A contrast between its mild and its severe value, scaled by conspicuity."""
        return self.conspicuity * self.grade(mild, severe)


Reshape = Callable[[Anatomy, Lesion], Anatomy]
Draw = Callable[[Scene, Lesion], Field]


def opacify(scene: Scene, support: Field, amount: float) -> None:
    """Replace air by tissue: all of it at amount 1; what is beyond 1 is added on top."""
    share = min(amount, 1.0)
    scene.aerated = scene.aerated * (1 - share * support)
    scene.vessels = scene.vessels * (1 - 0.85 * share * support)
    if amount > 1:
        scene.added = scene.added + (0.25 * (amount - 1)) * support * scene.lung


def cloud(scene: Scene, lesion: Lesion, grain_cm: float) -> Field:
    """Mottle of unit spread at a place of its own."""
    frame = scene.frame
    offset = (int(lesion.rng.integers(512)), int(lesion.rng.integers(512)))
    return frame.texture(mottle(grain_cm, frame.pixel_cm), TEXEL_CM, offset)


def bronchogram(scene: Scene, support: Field) -> Field:
    """Air-filled bronchi, seen where the lung around them is airless; they run with the vessels."""
    return np.clip(2.0 * scene.branches - 0.35, 0, 1) * support

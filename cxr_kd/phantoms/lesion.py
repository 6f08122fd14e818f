"""What findings are drawn with: severity and place, tissue instead of air, mottle, air bronchograms."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxr_kd.phantoms.anatomy import Scene
from cxr_kd.phantoms.body import Anatomy
from cxr_kd.phantoms.textures import TEXEL_CM, mottle

Field = np.ndarray  # (S, S) float32


@dataclass(frozen=True)
class Lesion:
    """One finding of one exam: its side, severity (0..1), and contrast (`conspicuity`, 1 is normal)."""

    side: int
    severity: float
    conspicuity: float
    rng: np.random.Generator

    def grade(self, mild: float, severe: float) -> float:
        """Return a measure between its mild and its severe value, by severity."""
        return mild + (severe - mild) * self.severity

    def strength(self, mild: float, severe: float) -> float:
        """Return a contrast between its mild and its severe value, by severity, times conspicuity."""
        return self.conspicuity * self.grade(mild, severe)


Reshape = Callable[[Anatomy, Lesion], Anatomy]
Draw = Callable[[Scene, Lesion], Field]


def opacify(scene: Scene, support: Field, amount: float) -> None:
    """Replace air by tissue: all of it at amount 1; amounts over 1 add absorption."""
    share = min(amount, 1.0)
    scene.aerated = scene.aerated * (1 - share * support)
    scene.vessels = scene.vessels * (1 - 0.85 * share * support)
    if amount > 1:
        scene.added = scene.added + (0.25 * (amount - 1)) * support * scene.lung


def cloud(scene: Scene, lesion: Lesion, grain_cm: float) -> Field:
    """Return mottle of standard deviation 1, from a random place of the texture."""
    frame = scene.frame
    offset = (int(lesion.rng.integers(512)), int(lesion.rng.integers(512)))
    return frame.texture(mottle(grain_cm, frame.pixel_cm), TEXEL_CM, offset)


def bronchogram(scene: Scene, support: Field) -> Field:
    """Return air-filled bronchi, 0..1, which show where the lung around them has no air; they follow the vessels."""
    return np.clip(2.0 * scene.branches - 0.35, 0, 1) * support

"""Draw findings that fill the lung: infiltration, mass, nodule, pneumonia, consolidation, edema, fibrosis.

Each function adds one finding to the scene and returns where it is, 0..1 (S, S).
"""

from dataclasses import replace

import numpy as np

from cxr_kd.phantoms.anatomy import Scene
from cxr_kd.phantoms.body import LEFT, RIGHT, Anatomy
from cxr_kd.phantoms.lesion import Field, Lesion, bronchogram, cloud, opacify
from cxr_kd.phantoms.textures import TEXEL_CM, net


def infiltration(scene: Scene, lesion: Lesion) -> Field:
    """Draw haze without borders: patches of uneven, moderate density in one or both lungs."""
    frame = scene.frame
    sides = (lesion.side, -lesion.side) if lesion.severity > 0.45 else (lesion.side,)
    support = np.zeros_like(scene.lung)
    for side in sides:
        centre = scene.place(side, lesion.rng.uniform(0.3, 0.6), lesion.rng.uniform(0.5, 0.8))
        radii = (lesion.grade(3.2, 4.5), lesion.grade(3.6, 5.5))
        support = np.maximum(support, frame.soft(frame.ellipse(centre, radii), 4.0) * scene.on(side))
    patches = np.clip(0.62 + 0.5 * cloud(scene, lesion, 0.75), 0, 1.5)
    opacify(scene, support * np.minimum(patches, 1) * scene.lung, lesion.strength(0.45, 0.7))
    return support * scene.lung


def rounded(
    scene: Scene, lesion: Lesion, centre: tuple[float, float], radius: float, uneven: float
) -> tuple[Field, Field]:
    """Return where a solid, slightly long and lobulated ball is, and how thick it is (0..1)."""
    longer = lesion.rng.uniform(1.0, 1.2)
    depth = scene.frame.ellipse(centre, (radius * longer, radius / longer), lesion.rng.uniform(0, 3))
    depth = depth + uneven * cloud(scene, lesion, 0.9)
    support = scene.frame.soft(depth, 0.3)
    return support, support * (0.55 + 0.45 * np.sqrt(np.clip(depth * (2 * longer / radius), 0, 1)))


def mass(scene: Scene, lesion: Lesion) -> Field:
    """Draw a rounded opacity over 3 cm across."""
    centre = scene.place(lesion.side, lesion.rng.uniform(0.25, 0.75), lesion.rng.uniform(0.2, 0.75))
    support, thickness = rounded(scene, lesion, centre, lesion.grade(1.9, 3.6), 0.12)
    scene.vessels = scene.vessels * (1 - support)
    contrast = lesion.strength(0.29, 0.39) * (0.3 + 0.7 * scene.lung) * (1 - 0.6 * scene.heart)
    scene.added = scene.added + contrast * thickness
    return support


def nodule(scene: Scene, lesion: Lesion) -> Field:
    """Draw one to three rounded opacities under 3 cm across."""
    support = thickness = np.zeros_like(scene.lung)
    for number in range(1 + int(lesion.rng.integers(3))):
        side = lesion.side if number != 1 else -lesion.side
        centre = scene.place(side, lesion.rng.uniform(0.3, 0.85), lesion.rng.uniform(0.12, 0.9))
        ball, thick = rounded(scene, lesion, centre, lesion.grade(0.85, 1.35), 0.02)
        support, thickness = np.maximum(support, ball), np.maximum(thickness, thick)
    scene.added = scene.added + lesion.strength(0.34, 0.44) * thickness
    scene.vessels = scene.vessels * (1 - support)
    return support


def pneumonia(scene: Scene, lesion: Lesion) -> Field:
    """A patch the size of a lobe, dense in the middle, soft at the edge, with air in its bronchi."""
    centre = scene.place(lesion.side, lesion.rng.uniform(0.35, 0.6), lesion.rng.uniform(0.55, 0.85))
    radii = (lesion.grade(3.0, 4.4), lesion.grade(2.6, 4.2))
    depth = scene.frame.ellipse(centre, radii, lesion.rng.uniform(-0.4, 0.4)) + 0.35 * cloud(scene, lesion, 1.0)
    support = scene.frame.soft(depth, 2.2) * scene.lung * scene.on(lesion.side)
    air = bronchogram(scene, support)
    opacify(scene, support * (1 - 0.5 * air), lesion.strength(0.75, 1.0))
    return support


def consolidation(scene: Scene, lesion: Lesion) -> Field:
    """Draw a lobe or segment without air: dense, even, sharp at the fissure, with bronchi as dark branches."""
    frame, anatomy, side = scene.frame, scene.anatomy, lesion.side
    upper = lesion.rng.random() < 0.45
    fissure = (-0.6 if upper else 1.2) + lesion.rng.uniform(-0.8, 0.8)
    bow = lesion.rng.uniform(0.01, 0.03) * (frame.distance - 7.5) ** 2
    beyond = fissure - frame.y - bow if upper else frame.y - fissure - bow
    middle = (side * lesion.rng.uniform(6.0, 8.5), fissure + (-3.2 if upper else 3.2))
    lobe = frame.ellipse(middle, (lesion.grade(4.6, 7.0), lesion.grade(4.4, 6.5))) + 0.25 * cloud(scene, lesion, 1.2)
    support = frame.soft(beyond, 0.5) * frame.soft(lobe, 1.4) * scene.on(side)
    support = support * frame.soft(frame.distance - anatomy.mediastinum + 0.5, 1.0) * scene.lung
    air = bronchogram(scene, support)
    opacify(scene, support * (1 - 0.6 * air), lesion.strength(1.0, 1.25))
    return support


def congest(anatomy: Anatomy, lesion: Lesion) -> Anatomy:
    """Return the anatomy with edema: wider vessels and a slightly larger heart."""
    return replace(anatomy, vessels=anatomy.vessels * (1 + 0.35 * lesion.conspicuity), heart=anatomy.heart * 1.05)


def edema(scene: Scene, lesion: Lesion) -> Field:
    """Draw bat wings, haze from both hila that spares the periphery, and Kerley B lines at the lateral bases."""
    frame, anatomy = scene.frame, scene.anatomy
    support = np.zeros_like(scene.lung)
    for side in (LEFT, RIGHT):
        centre = (side * (anatomy.mediastinum + 3.0), 0.2 + lesion.grade(0, 1))
        wing = frame.ellipse(centre, (lesion.grade(3.6, 4.8), lesion.grade(5.4, 7.2)), side * -0.2)
        support = np.maximum(support, frame.soft(wing, 3.5) * scene.on(side))
    support = support * scene.lung
    opacify(scene, support * np.clip(0.82 + 0.16 * cloud(scene, lesion, 0.5), 0, 1.1), lesion.strength(0.55, 0.85))
    steps = frame.y * (1 / 0.95)
    lines = frame.band((steps - np.rint(steps)) * 0.95, 0.16) * frame.soft(frame.y - 2.0, 1.5)
    lines = lines * frame.soft(2.4 - scene.depth_in_wall, 0.5) * scene.lung
    scene.added = scene.added + lesion.strength(0.10, 0.16) * lines
    return support


def scar(anatomy: Anatomy, lesion: Lesion) -> Anatomy:
    """Return the anatomy with fibrosis: smaller lungs, a higher diaphragm on both sides."""
    by = lesion.strength(0.4, 1.4)
    return anatomy.raised(LEFT, by).raised(RIGHT, by)


def fibrosis(scene: Scene, lesion: Lesion) -> Field:
    """Draw a net of coarse lines and honeycomb in both lungs: basal and peripheral, or apical (after TB)."""
    frame, anatomy = scene.frame, scene.anatomy
    apical = lesion.rng.random() < 0.25
    height = (frame.y - anatomy.apex) * (1 / (anatomy.dome[0] - anatomy.apex))
    zone = np.clip(1.5 - 2.6 * height, 0, 1) if apical else np.clip(2.4 * height - 0.75, 0, 1)
    rim = 0.45 + 0.55 * np.clip(1.4 - 0.22 * scene.depth_in_wall, 0, 1)
    support = zone * rim * scene.lung * (1 - 0.6 * scene.heart)
    offset = (int(lesion.rng.integers(512)), int(lesion.rng.integers(512)))
    strands = frame.texture(net(frame.pixel_cm), TEXEL_CM, offset)
    scene.added = scene.added + lesion.strength(0.20, 0.32) * strands * support
    opacify(scene, support, min(lesion.strength(0.08, 0.2), 0.5))
    return support

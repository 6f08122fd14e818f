"""Draw the normal chest of a phantom: lungs, diaphragm, heart, mediastinum, bones, vessels, soft tissue.

Each part is a field of absorption (0 air, about 1 dense) on the frame. A radiograph shows their sum, developed.
"""

from dataclasses import dataclass, field

import numpy as np

from cxr_kd.phantoms.body import AXIS, LEFT, RIGHT, Anatomy, Frame
from cxr_kd.phantoms.bones import leads, marker, ribs, shoulder_girdle, spine_and_airway
from cxr_kd.phantoms.textures import TEXEL_CM, TREE_COLUMNS, TREE_ORIGIN, TREE_ROWS, TREES, mottle, vessel_trees

_HEIGHTS = (-0.02, 0.0, 0.02, 0.06, 0.12, 0.2, 0.32, 0.46, 0.6, 0.75, 0.9, 1.0, 1.2)  # of the thorax, from apex to base
_WIDTHS = (0.34, 0.42, 0.53, 0.635, 0.725, 0.80, 0.875, 0.93, 0.965, 0.99, 1.0, 0.995, 0.95)  # of `Anatomy.cage`

_ROUNDING = np.hanning(80) / np.hanning(80).sum()  # of the body's outline, over 2.5 cm


@dataclass
class Scene:
    """One exam while it is drawn: fields (S, S) float32 that findings read, add to or multiply."""

    frame: Frame
    anatomy: Anatomy
    lung: np.ndarray  # 0..1, both lungs, including the part behind the heart
    heart: np.ndarray  # 0..1, heart and great vessels
    wall: np.ndarray  # table over AXIS: half the inner width (cm) of the thorax at each height
    dome: np.ndarray  # table over AXIS: height (cm) of the diaphragm at each x
    added: np.ndarray  # absorption that findings add
    aerated: np.ndarray  # 0..1 share of the lung's air that findings leave
    vessels: np.ndarray  # factor on the lung's vessels, 0 or more
    branches: np.ndarray  # 0..1 thickness of the vessels, and of the bronchi beside them
    depth_in_wall: np.ndarray = field(init=False)  # cm from the chest wall, positive inside

    def __post_init__(self) -> None:
        self.depth_in_wall = self.frame.along(self.wall) - self.frame.distance

    def on(self, side: int) -> np.ndarray:
        """Return bool (S, S), the patient's left or right half."""
        return self.frame.x > 0 if side == LEFT else self.frame.x <= 0

    def half_width(self, y: float) -> float:
        """Return half the inner width of the thorax (cm) at a height."""
        return float(np.interp(y, AXIS, self.wall))

    def floor(self, x: float) -> float:
        """Return the height of the diaphragm (cm) at x."""
        return float(np.interp(x, AXIS, self.dome))

    def inner(self, side: int, y: float) -> float:
        """Return the distance (cm) from the midline at which visible lung begins, beyond mediastinum and heart."""
        low = min(max((y - 0.5) / 5.5, 0.0), 1.0)
        border = (0.62 if side == LEFT else 0.33) * self.anatomy.heart + side * self.anatomy.midline
        return (1 - low) * (self.anatomy.mediastinum + 0.6) + low * border

    def place(self, side: int, across: float, down: float) -> tuple[float, float]:
        """Return the point (cm) of a visible lung at `across` (0 medial, 1 lateral), `down` (0 apex, 1 diaphragm)."""
        top, bottom = self.anatomy.apex + 1.0, self.anatomy.side_dome[side] - 0.3
        y = top + down * (bottom - top)
        medial = self.inner(side, y)
        x = medial + across * (self.half_width(y) - 0.4 - medial)
        return side * x, y


def scene_of(anatomy: Anatomy, size: int) -> Scene:
    """Return a scene with lungs, heart and vessels, and without findings."""
    frame = Frame(anatomy, size)
    wall, dome = _wall(anatomy), _dome(anatomy)
    blank = np.zeros((size, size), dtype=np.float32)
    lung = _lungs(frame, anatomy, wall, dome)
    branches = _branches(frame, anatomy)
    return Scene(frame, anatomy, lung, _heart(frame, anatomy), wall, dome, blank, blank + 1, blank + 1, branches)


def absorption(scene: Scene) -> np.ndarray:
    """Return the absorption, (S, S) float32, of everything between tube and detector."""
    frame, anatomy = scene.frame, scene.anatomy
    body, inside = _soft_tissue(frame, anatomy)
    below = frame.soft(frame.y - frame.across(scene.dome), 0.5)
    air = scene.lung * (0.72 + 0.28 * np.clip(scene.depth_in_wall * 0.25, 0, 1)) * scene.aerated
    air = air * (1 - 0.85 * scene.heart)  # there is little lung in front of and behind the heart
    total = body - (0.40 * anatomy.air) * air
    total += below * inside * 0.15 * (1 - 0.4 * _gastric_air(scene))
    total += 0.09 * scene.heart * (1 - 0.8 * below)
    total += spine_and_airway(frame, anatomy)
    total += scene.lung * scene.vessels * (1 - 0.7 * scene.heart) * _vessels(scene)
    total += ribs(frame, anatomy, scene.wall, scene.dome) + shoulder_girdle(frame, anatomy)
    if anatomy.leads:
        total += leads(frame, anatomy.leads)
    return np.maximum((total + scene.added) * (0.1 + 0.9 * inside), 0)


def develop(total: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Return uint8 (S, S): absorption after exposure, film curve and noise; dense parts are bright."""
    anatomy, frame = scene.anatomy, scene.frame
    mist = frame.texture(mottle(3.0, frame.pixel_cm), TEXEL_CM, (anatomy.offsets[1], anatomy.offsets[0]))
    grain = frame.texture(mottle(0.5, frame.pixel_cm), TEXEL_CM, anatomy.offsets)
    total = total * (1 + 0.012 * mist + 0.012 * grain) + anatomy.exposure * np.minimum(4 * total, 1)
    bright = 1.04 * (1 - np.exp(-(1.75 * anatomy.contrast) * total * (0.55 + 0.75 * total)))
    noise = rng.standard_normal(total.shape, dtype=np.float32) * (anatomy.noise * (64 / max(frame.size, 64)) ** 0.25)
    if anatomy.marker:
        bright = np.maximum(bright, marker(frame))
    return (np.clip(bright + noise, 0, 1) * 255 + 0.5).astype(np.uint8)


def _wall(anatomy: Anatomy) -> np.ndarray:
    """Return half the inner width of the thorax (cm), a table over AXIS."""
    base = max(anatomy.dome) + anatomy.dome_depth
    height = (AXIS - anatomy.apex) / (base - anatomy.apex)
    return (anatomy.cage * np.interp(height, _HEIGHTS, _WIDTHS)).astype(np.float32)


def _dome(anatomy: Anatomy) -> np.ndarray:
    """Return the diaphragm, a table over AXIS: it falls steeply to the costophrenic angle, gently to the heart."""
    right, left = anatomy.dome
    top = 0.5 * (left + right) + 0.5 * (left - right) * np.tanh(AXIS / 2)
    out = np.abs(AXIS) / anatomy.cage
    lateral = np.clip((out - 0.42) / 0.58, 0, None) ** 2.3
    medial = np.clip((0.42 - out) / 0.42, 0, 1) ** 2
    return (top + anatomy.dome_depth * lateral + 0.3 * anatomy.dome_depth * medial).astype(np.float32)


def _lungs(frame: Frame, anatomy: Anatomy, wall: np.ndarray, dome: np.ndarray) -> np.ndarray:
    """Return both lungs, 0..1: inside the wall, above the diaphragm, below the apex, beside the mediastinum."""
    lateral = frame.soft(frame.along(wall) - frame.distance, 0.5)
    above = frame.soft(frame.across(dome) - frame.y, 0.4)
    out = AXIS / anatomy.cage  # the apex is a dome, highest a third of the way out
    cap = anatomy.apex + 3.2 * np.clip((out - 0.33) / 0.33, 0, None) ** 2 + 9 * np.clip(0.25 - out, 0, None) ** 1.5
    cap = frame.soft(frame.y - frame.outward(cap.astype(np.float32)), 0.5)
    narrow = anatomy.mediastinum - 0.5 - 0.7 * np.exp(-(((AXIS + 1) / 5) ** 2)) + 0.5 * np.clip((-8 - AXIS) / 4, 0, 1)
    medial = frame.soft(frame.distance - frame.along(narrow.astype(np.float32)), 0.5)
    return lateral * above * cap * medial


def _heart(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    """Return 0..1: left ventricle, right atrium, superior mediastinum, aortic knob and pulmonary trunk."""
    width, middle = anatomy.heart, anatomy.midline
    floor = max(anatomy.dome) - 0.2
    left = frame.ellipse(
        (middle + 0.185 * width, floor - 0.24 * width), (0.54 * width, 0.33 * width), anatomy.heart_tilt
    )
    right = frame.ellipse((middle - 0.10 * width, floor - 0.29 * width), (0.235 * width, 0.36 * width))
    knob = frame.ellipse((middle + anatomy.mediastinum - 0.75, -5.8), (anatomy.knob, anatomy.knob * 1.15))
    trunk = frame.ellipse((middle + 2.2, -2.6), (1.7, 2.8))
    y = AXIS + 6.0
    vena = anatomy.mediastinum * (0.86 + 0.10 * np.tanh(-y / 3)) - middle
    arch = anatomy.mediastinum * (0.84 + 0.14 * np.tanh(-(y + 3) / 2)) + middle
    stem = np.where(frame.x > 0, frame.along(arch.astype(np.float32)), frame.along(vena.astype(np.float32)))
    stem = np.minimum(stem - frame.distance, 0.4 * (5.0 - frame.y))
    depth = _joined(_joined(_joined(left, right), trunk), np.maximum(stem, knob))
    return frame.soft(depth, 0.55) * (0.88 + 0.12 * np.clip(depth, 0, 1))


def _joined(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the union of two shapes, given by depth, with the notch between them filled."""
    return 0.5 * (one + other + np.sqrt((one - other) ** 2 + 0.9))  # a smooth maximum


def _soft_tissue(frame: Frame, anatomy: Anatomy) -> tuple[np.ndarray, np.ndarray]:
    """Return the absorption of trunk, shoulders, neck and breasts, and where the body is (0..1)."""
    height = (-26, -17, -14.5, -12.5, -11, -9.5, -3, 0, 4, 10, 26)
    arms = 4.5 if anatomy.view == "AP" else 2.0
    torso = anatomy.torso
    neck = 5.5 + 0.9 * anatomy.fat
    shoulders = (neck, neck + 0.2, neck + 2.0, 12.3 + 0.8 * anatomy.fat, 17, 22)
    width = (*shoulders, torso + 3 + arms, torso + 1 + arms / 2, torso + 0.3, torso, torso + 0.6)
    outline = np.convolve(np.interp(AXIS, height, width), _ROUNDING, mode="same")
    half = frame.along(outline.astype(np.float32))
    depth = half - frame.distance
    inside = frame.soft(depth, 0.5)
    thick = np.clip(depth / 9.0, 0, 1)
    body = inside * (0.30 + (0.34 + 0.06 * anatomy.fat) * thick * (2 - thick)) * (1 + 0.006 * frame.y)
    if anatomy.breast:
        for side in (LEFT, RIGHT):
            radii = (4.8 + anatomy.breast, 4.9 + 1.2 * anatomy.breast)
            lobe = frame.soft(frame.ellipse((side * 0.64 * anatomy.cage, 3.4 + anatomy.breast), radii), 0.9)
            body += lobe * np.clip((frame.y + 4) * 0.13, 0, 1) * (0.05 + 0.055 * anatomy.breast)
    return body, inside


def _gastric_air(scene: Scene) -> np.ndarray:
    """Return the gas bubble under the left dome; in upright (PA) exams it has a fluid level."""
    anatomy, frame = scene.anatomy, scene.frame
    radius = anatomy.bubble
    centre = (0.46 * anatomy.cage, anatomy.dome[1] + 0.9 + radius)
    bubble = frame.soft(frame.ellipse(centre, (1.5 * radius, radius)), 0.5)
    if anatomy.view == "PA":
        bubble = bubble * frame.soft(centre[1] + 0.3 - frame.y, 0.3)
    return bubble * 2.2


def _branches(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    """Return the thickness of the vessels that branch from the hila, 1 for a large one."""
    trees = vessel_trees(frame.pixel_cm)
    left = frame.x > 0  # there the hilum is a little higher
    down = (frame.y + 1.2 + 0.7 * left) * (1 / TEXEL_CM) + TREE_ORIGIN[0]
    out = (frame.distance - (anatomy.mediastinum + 0.9)) * (12.5 / anatomy.cage / TEXEL_CM) + TREE_ORIGIN[1]
    row = np.clip(down, 0, TREE_ROWS - 1).astype(np.int32)
    column = np.clip(out, 0, TREE_COLUMNS - 1).astype(np.int32)
    which = np.where(left, anatomy.trees[0] % TREES, anatomy.trees[1] % TREES)
    return trees.ravel().take((which * TREE_ROWS + row) * TREE_COLUMNS + column)


def _vessels(scene: Scene) -> np.ndarray:
    """Return the absorption of the hila and of the vessels that branch from them and thin out towards the pleura."""
    anatomy, frame = scene.anatomy, scene.frame
    hilum = frame.ellipse((anatomy.midline, -0.9), (anatomy.mediastinum + 2.0, 2.9))
    return (0.17 * anatomy.vessels) * scene.branches + 0.07 * frame.soft(hilum, 2.2)

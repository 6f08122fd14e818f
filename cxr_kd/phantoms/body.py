"""A phantom's body: its measures (cm), how they vary between people and exams, and the coordinates of its pixels.

Coordinates: x to the right of the image (the patient's left), y down, the image's centre at (0, 0), 36 cm wide.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

FIELD_CM = 36.0
REACH_CM = 26.0  # tables reach this far: to the field's corner after turning and shifting
STEP_CM = 1 / 32
AXIS = np.arange(-REACH_CM, REACH_CM, STEP_CM, dtype=np.float32)
LEFT, RIGHT = 1, -1  # the patient's sides, as signs of x


@dataclass(frozen=True)
class Anatomy:
    """Measures of one exam in cm (angles in radians, densities relative); findings may change them before drawing."""

    view: str
    male: bool
    turn: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    cage: float = 13.2  # half the inner width of the thorax at its widest
    apex: float = -13.2
    dome: tuple[float, float] = (7.6, 8.6)  # height of the right and left diaphragm
    dome_depth: float = 4.2  # how far the lateral costophrenic angle is below the dome
    heart: float = 12.4  # transverse diameter
    heart_tilt: float = 0.62
    midline: float = 0.0  # shift of heart and mediastinum
    mediastinum: float = 2.9  # half width
    knob: float = 1.5  # radius of the aortic knob
    rib_spacing: float = 2.45
    rib_offset: float = 0.0
    rib_slope: float = 1.0
    clavicle: float = -10.6
    clavicle_rise: float = 2.6
    scapula: float = 13.6  # distance of its medial border from the midline
    fat: float = 0.0  # extra soft tissue, -1 .. 1
    breast: float = 0.0
    torso: float = 16.6
    trees: tuple[int, int] = (0, 1)
    vessels: float = 1.0
    air: float = 1.0
    bubble: float = 1.5  # radius of the gastric air
    offsets: tuple[int, int] = (0, 0)  # where in the shared textures this exam looks
    exposure: float = 0.0
    contrast: float = 1.0
    noise: float = 0.02
    marker: bool = True
    leads: float = 0.0  # monitoring wires: 0 none, else their position

    @property
    def side_dome(self) -> dict[int, float]:
        """Dome height (cm) by side."""
        return {RIGHT: self.dome[0], LEFT: self.dome[1]}

    def raised(self, side: int, by: float) -> "Anatomy":
        """Return the same body with the diaphragm of one side `by` cm higher."""
        right, left = self.dome
        return replace(self, dome=(right - by, left) if side == RIGHT else (right, left - by))


def person(rng: np.random.Generator, age: float, male: bool) -> Anatomy:
    """Return the measures that a patient keeps between exams: size, build, heart, ribs, vessels."""
    build = rng.normal(0, 1)
    small = 1.0 if age >= 16 else 0.86 + 0.14 * age / 16
    old = between((age - 40) / 40, 0, 1)
    cage = (13.4 if male else 12.5) * small * (1 + 0.05 * between(rng.normal(), -2, 2))
    domes = 7.9 + 0.9 * rng.normal() - (0.0 if male else 0.5)
    return Anatomy(
        view="PA",
        male=male,
        cage=cage,
        apex=-13.2 + 0.7 * rng.normal(),
        dome=(domes, domes + rng.uniform(0.3, 1.5)),
        dome_depth=rng.uniform(3.4, 4.6),
        heart=cage * 2 * between(0.435 + 0.02 * rng.normal() + 0.015 * old, 0.39, 0.485),
        heart_tilt=rng.uniform(0.5, 0.78),
        mediastinum=rng.uniform(2.5, 3.1) + 0.25 * old,
        knob=rng.uniform(1.1, 1.5) + 0.45 * old,
        rib_spacing=rng.uniform(2.25, 2.6),
        rib_offset=rng.uniform(-0.6, 0.6),
        rib_slope=rng.uniform(0.8, 1.2),
        clavicle=-10.4 + 0.6 * rng.normal(),
        clavicle_rise=rng.uniform(2.0, 3.4),
        fat=between(0.6 * build, -1, 1),
        breast=0.0 if male or age < 14 else between(rng.normal(0.8, 0.4), 0.2, 1.6),
        torso=cage + 3.3 + 1.0 * between(build, -1.4, 2.2),
        trees=(int(rng.integers(1 << 16)), int(rng.integers(1 << 16))),
        vessels=rng.uniform(0.85, 1.2),
        offsets=(int(rng.integers(512)), int(rng.integers(512))),
    )


def exam(rng: np.random.Generator, body: Anatomy, view: str) -> Anatomy:
    """Return the body in one exam: pose, breath, exposure. AP images are taken lying, with a magnified heart."""
    supine = view == "AP"
    breath = rng.normal(0, 0.6) + (1.5 if supine else 0.0)
    swing = 1.6 if supine else 1.0
    return replace(
        body,
        view=view,
        turn=swing * 0.022 * rng.normal(),
        scale=between(1 + 0.035 * rng.normal(), 0.9, 1.1),
        shift=(between(swing * 0.5 * rng.normal(), -1.8, 1.8), between(swing * 0.5 * rng.normal(), -1.5, 1.5) - 0.2),
        dome=(body.dome[0] - breath, body.dome[1] - breath),
        dome_depth=body.dome_depth - (0.8 if supine else 0.0),
        heart=body.heart * (1.07 if supine else 1.0),
        mediastinum=body.mediastinum * (1.1 if supine else 1.0),
        clavicle=body.clavicle - (0.8 if supine else 0.0),
        scapula=rng.uniform(9.6, 11.0) if supine else rng.uniform(13.2, 14.6),
        bubble=rng.uniform(0.7, 2.4),
        exposure=0.055 * rng.normal() + (0.03 if supine else 0.0),
        contrast=between(1 + 0.13 * rng.normal() - (0.1 if supine else 0.0), 0.75, 1.25),
        noise=rng.uniform(0.008, 0.022) + (0.006 if supine else 0.0),
        marker=bool(rng.random() < 0.7),
        leads=rng.uniform(0.1, 1.0) if supine and rng.random() < 0.5 else 0.0,
    )


def between(value: float, low: float, high: float) -> float:
    """Return the value clipped to two bounds, as a Python float: a NumPy float64 would widen float32 images."""
    return float(min(max(value, low), high))


@lru_cache(maxsize=4)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x (1, S) and y (S, 1) in cm of the pixel centres, before posing."""
    centres = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * FIELD_CM
    return centres[None, :], centres[:, None]


class Frame:
    """Body coordinates (cm, float32 (S, S)) of every pixel of one exam, and fast ways to draw on them."""

    def __init__(self, anatomy: Anatomy, size: int) -> None:
        across, down = _grid(size)
        cos, sin = math.cos(anatomy.turn) / anatomy.scale, math.sin(anatomy.turn) / anatomy.scale
        self.size = size
        self.pixel_cm = FIELD_CM / size
        self.x = cos * across + sin * down - anatomy.shift[0]
        self.y = cos * down - sin * across - anatomy.shift[1]
        self.distance = np.abs(self.x)
        self.column = ((self.x + REACH_CM) / STEP_CM).astype(np.int32)
        self.row = ((self.y + REACH_CM) / STEP_CM).astype(np.int32)

    @cached_property
    def mirrored(self) -> np.ndarray:
        """Indices of |x| in a table over AXIS, for tables that are the same on both sides."""
        return ((self.distance + REACH_CM) / STEP_CM).astype(np.int32)

    def across(self, table: np.ndarray) -> np.ndarray:
        """Return a table over AXIS, looked up at every pixel's x."""
        return table.take(self.column)

    def along(self, table: np.ndarray) -> np.ndarray:
        """Return a table over AXIS, looked up at every pixel's y."""
        return table.take(self.row)

    def outward(self, table: np.ndarray) -> np.ndarray:
        """Return a table over AXIS, looked up at every pixel's distance |x| from the midline."""
        return table.take(self.mirrored)

    def soft(self, depth: np.ndarray, width: float) -> np.ndarray:
        """Return 0 to 1 across an edge `width` cm wide (at least a pixel), from the depth (cm) inside the shape."""
        t = np.clip(depth * (1 / max(width, self.pixel_cm)) + 0.5, 0, 1)
        return t * t * (3 - 2 * t)

    def band(self, offset: np.ndarray, width: float, edge: float = 0.0) -> np.ndarray:
        """Return a band `width` cm wide around offset 0; a band thinner than a pixel is widened and faded."""
        drawn = max(width, 0.8 * self.pixel_cm)
        return self.soft(drawn / 2 - np.abs(offset), edge) * (width / drawn) ** 0.5

    def ellipse(self, centre: tuple[float, float], radii: tuple[float, float], tilt: float = 0.0) -> np.ndarray:
        """Return the approximate depth (cm) inside an ellipse; `tilt` turns its first axis from x towards y."""
        dx, dy = self.x - float(centre[0]), self.y - float(centre[1])
        cos, sin = math.cos(tilt), math.sin(tilt)
        u = (dx * cos + dy * sin) * (1 / float(radii[0]))
        v = (dy * cos - dx * sin) * (1 / float(radii[1]))
        return (1 - u * u - v * v) * (0.5 * float(min(radii)))

    def texture(self, tile: np.ndarray, texel_cm: float, offset: tuple[int, int]) -> np.ndarray:
        """Return a repeating square tile, looked up at every pixel."""
        n = tile.shape[0]
        rows = (self.y * (1 / texel_cm)).astype(np.int32) + offset[0]
        columns = (self.x * (1 / texel_cm)).astype(np.int32) + offset[1]
        return tile.ravel().take((rows & (n - 1)) * n + (columns & (n - 1)))

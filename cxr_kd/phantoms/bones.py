"""Draw a phantom's ribs, shoulders, spine and airway, the monitoring wires on its skin, and the side marker."""

import numpy as np

from cxr_kd.phantoms.body import AXIS, LEFT, RIGHT, Anatomy, Frame


def ribs(frame: Frame, anatomy: Anatomy, wall: np.ndarray, dome: np.ndarray) -> np.ndarray:
    """Return ten pairs of ribs: posterior arcs fall outwards, turn at the chest wall and return as anterior arcs."""
    out = np.minimum(frame.distance / (frame.along(wall) + 0.6), 1.3)
    cage = frame.soft(1.0 - out, 0.06) * frame.soft(frame.y - anatomy.apex - 0.6, 1.5)
    cage = cage * frame.soft(frame.distance - 2.4, 2.2)
    steep = out * out
    steep = steep * steep
    slope = anatomy.rib_slope
    start = anatomy.apex + 0.4 + anatomy.rib_offset
    behind = (frame.y - start - slope * (3.6 * steep - 0.5 * out * (1 - out))) * (1 / anatomy.rib_spacing)
    front = (frame.y - start - slope * (8.2 - 4.6 * out)) * (1 / anatomy.rib_spacing)
    posterior = _rib_profile(behind, 0.40, frame) * ((behind < 10.4) & (behind > -0.5))
    anterior = _rib_profile(front, 0.46, frame) * ((front < 6.5) & (front > -0.5)) * np.clip((out - 0.42) * 5, 0, 1)
    fade = 1 - 0.5 * frame.soft(frame.y - frame.across(dome), 1.0)
    return cage * fade * (0.07 * posterior + 0.062 * anterior)


def _rib_profile(phase: np.ndarray, width: float, frame: Frame) -> np.ndarray:
    """Return a rib's profile: two dense rims, a paler middle; `phase` counts ribs, `width` is a share of spacing."""
    off = np.abs(phase - np.rint(phase))
    edge = max(0.05, 0.4 * frame.pixel_cm)
    flat = np.clip((width / 2 - off) / edge + 0.5, 0, 1)
    return flat * (0.72 + 0.28 * np.clip(off / (0.5 * width), 0, 1) ** 3)


def shoulder_girdle(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    """Return clavicles, scapulae (over the lungs in an AP image) and humeral heads."""
    out = np.clip((AXIS - 1.2) / 13.0, 0, 1.3)
    course = anatomy.clavicle + 0.5 - anatomy.clavicle_rise * out**0.8 + 0.9 * np.sin(np.pi * np.clip(out, 0, 1))
    offset = frame.y - frame.outward(course.astype(np.float32))
    ends = frame.soft(frame.distance - 1.8, 1.0) * frame.soft(14.5 - frame.distance, 1.5)
    clavicle = ends * (0.10 * frame.band(offset, 1.15, 0.35) - 0.03 * frame.band(offset, 0.45, 0.4))
    medial = anatomy.scapula + 1.5 * np.clip((AXIS + 9) / 8, -0.5, 1) ** 2
    blade = frame.distance - frame.along(medial.astype(np.float32))
    tall = frame.soft(frame.y + 11.0, 1.5) * frame.soft(1.5 - frame.y - 0.5 * np.maximum(blade, 0), 1.5)
    scapula = tall * (0.05 * frame.soft(blade, 0.5) + 0.06 * frame.band(blade, 0.5, 0.3)) * frame.soft(5.5 - blade, 1.0)
    heads = frame.soft(2.5 - np.hypot(frame.distance - 17.3, frame.y + 9.6), 0.5)
    spine = frame.band(frame.y + 10.2 + 0.18 * (frame.distance - 12), 0.9, 0.4) * frame.soft(frame.distance - 11.5, 2.0)
    return clavicle + scapula + 0.10 * heads + 0.05 * spine


def spine_and_airway(frame: Frame, anatomy: Anatomy) -> np.ndarray:
    """Return vertebral bodies with their end plates, and trachea and main bronchi as air (negative)."""
    phase = frame.y * (1 / 2.5) + 0.3
    plates = np.abs(phase - np.rint(phase))
    spine = frame.soft(1.75 - frame.distance, 0.5) * (0.05 - 0.035 * np.clip(1 - plates * 7, 0, 1))
    middle = frame.x - 0.6 * anatomy.midline
    trachea = frame.soft(0.85 - np.abs(middle), 0.5) * frame.soft(-4.0 - frame.y, 1.0)
    fall = frame.y + 4.3
    aside = np.where(middle < 0, -0.62 * middle * 1.9, 0.85 * middle)
    bronchi = frame.soft(0.55 - np.abs(fall - aside), 0.6) * frame.soft(3.2 - np.abs(middle), 1.0)
    return spine - 0.11 * np.maximum(trachea, 0.6 * bronchi)


def leads(frame: Frame, how: float) -> np.ndarray:
    """Return electrodes on the skin and their wires, as on many images taken in bed, whatever the findings."""
    wires = np.zeros_like(frame.x)
    for side, height in ((LEFT, -6.5), (RIGHT, -7.5 + how), (LEFT, 5.0 + 2 * how)):
        x = side * (8.0 + 3.5 * how)
        loop = frame.ellipse((x * 0.4 + 3.0, height + 9.0), (abs(0.6 * x - 3.0 * side), 9.0))
        wire = frame.band(loop, 0.14) * (frame.y < height + 9.0) * ((frame.x - 0.4 * x - 3.0) * side > 0)
        dot = frame.soft(0.55 - np.hypot(frame.x - x, frame.y - height), 0.2)
        wires = np.maximum(wires, np.maximum(0.10 * wire, 0.13 * dot))
    return wires


def marker(frame: Frame) -> np.ndarray:
    """Return the side marker: a lead L in the upper corner on the patient's left."""
    x, y = frame.distance * 0 + frame.x - 15.2, frame.y + 16.0
    upright = (np.abs(x) < 0.18) & (np.abs(y) < 0.8)
    foot = (np.abs(x - 0.4) < 0.55) & (np.abs(y - 0.65) < 0.18)
    return np.float32(0.92) * (upright | foot)

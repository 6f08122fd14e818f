"""Draw findings of outline and size: collapse, a large heart, pleural fluid, air and scar, inflation, hernia.

The functions that are named after a finding add it to the scene and return where it is, 0..1 (S, S).
"""

from dataclasses import replace

import numpy as np

from cxr_kd.phantoms.anatomy import Scene
from cxr_kd.phantoms.body import AXIS, Anatomy
from cxr_kd.phantoms.lesion import Field, Lesion, cloud, opacify


def shrink_lung(anatomy: Anatomy, lesion: Lesion) -> Anatomy:
    """Return the anatomy with atelectasis: the lost volume pulls the diaphragm up and the heart to its side."""
    pulled = anatomy.midline + lesion.side * lesion.grade(0.2, 1.0) * lesion.conspicuity
    return replace(anatomy.raised(lesion.side, lesion.strength(0.6, 2.2)), midline=pulled)


def atelectasis(scene: Scene, lesion: Lesion) -> Field:
    """Draw plates, long thin nearly horizontal lines low in the lung, and with more collapse a haze below them."""
    frame, side = scene.frame, lesion.side
    support = np.zeros_like(scene.lung)
    for plate in range(1 + int(lesion.rng.integers(3))):
        x, y = scene.place(side, lesion.rng.uniform(0.35, 0.6), 0.95 - 0.11 * plate - lesion.rng.uniform(0, 0.08))
        tilt = side * lesion.rng.uniform(-0.3, 0.12)
        length, thickness = lesion.grade(2.8, 4.4) * lesion.rng.uniform(0.75, 1), lesion.grade(0.34, 0.5)
        bow = 0.02 * lesion.rng.uniform(-1, 1) * (frame.x - x) ** 2  # in depth units; plates are seldom straight
        line = frame.ellipse((x, y), (length, max(thickness, 0.7 * frame.pixel_cm)), tilt)
        support = np.maximum(support, frame.soft(line + bow * np.sign(frame.y - y), 0.35))
    collapsed = frame.soft(frame.y - scene.floor(side * 7.0) + lesion.grade(0.5, 2.2), 2.0) * scene.on(side)
    opacify(scene, collapsed * scene.lung, lesion.strength(0.15, 0.5))
    support = support * scene.lung
    scene.added = scene.added + lesion.strength(0.15, 0.24) * support
    return np.maximum(support, 0.5 * collapsed * scene.lung)


def widen_heart(anatomy: Anatomy, lesion: Lesion) -> Anatomy:
    """Return the anatomy with cardiomegaly: a cardiothoracic ratio of 0.56 to 0.68."""
    ratio = 0.56 + 0.12 * lesion.severity
    grown = max(2 * anatomy.cage * ratio, anatomy.heart)
    return replace(anatomy, heart=anatomy.heart + min(lesion.conspicuity, 1.3) * (grown - anatomy.heart))


def cardiomegaly(scene: Scene, lesion: Lesion) -> Field:
    """Draw the heart a little denser; the finding is the heart below the great vessels."""
    scene.added = scene.added + 0.03 * lesion.conspicuity * scene.heart * scene.lung
    low = scene.frame.soft(scene.frame.y - scene.anatomy.dome[1] + 0.85 * scene.anatomy.heart, 1.0)
    return scene.heart * low * scene.frame.soft(scene.frame.across(scene.dome) + 1.0 - scene.frame.y, 0.5)


def effusion(scene: Scene, lesion: Lesion) -> Field:
    """Draw fluid in the costophrenic angle, dense below a meniscus that rises towards the chest wall."""
    frame, anatomy, side = scene.frame, scene.anatomy, lesion.side
    depth = lesion.grade(1.6, 8.5)
    bottom = anatomy.side_dome[side] + 0.35 * anatomy.dome_depth
    climb = np.clip((np.abs(AXIS) - 3) / (anatomy.cage - 3), 0, 1) ** 3
    level = bottom - depth - (1.2 + 0.25 * depth) * climb + 0.5
    fluid = frame.soft(frame.y - frame.outward(level.astype(np.float32)), 0.9) * scene.on(side)
    inside = frame.soft(scene.depth_in_wall + 0.3, 0.4) * frame.soft(frame.distance - 2.0, 1.0)
    support = fluid * inside * frame.soft(frame.across(scene.dome) + 1.5 - frame.y, 1.0)
    opacify(scene, fluid, lesion.strength(0.85, 1.1))
    scene.added = scene.added + 0.13 * lesion.conspicuity * support * scene.lung * (1 - scene.heart)  # hides the dome
    return support


def pneumothorax(scene: Scene, lesion: Lesion) -> Field:
    """Draw air between lung and wall, widest at the apex: black, without vessels, behind a fine pleural line."""
    frame, anatomy, side = scene.frame, scene.anatomy, lesion.side
    span = (AXIS - anatomy.apex) / (anatomy.side_dome[side] - anatomy.apex)
    gap = lesion.grade(1.2, 4.4) * np.clip(1.15 - 0.75 * span, 0.25, 1.2)
    collapse = frame.along(gap.astype(np.float32))
    dropped = lesion.grade(0.9, 3.8)  # the apex of the lung sinks as well
    apex = frame.y - anatomy.apex - dropped - 0.05 * (frame.distance - 5.0) ** 2
    depth = scene.depth_in_wall - collapse
    depth = 0.5 * (depth + apex - np.sqrt((depth - apex) ** 2 + 4.0))  # a smooth minimum: the collapsed lung is round
    half = scene.on(side) * scene.lung
    outside = frame.soft(-depth, 0.3) * half
    line = frame.band(depth, 0.22, 0.15) * half * frame.soft(scene.depth_in_wall - 0.4, 0.3)
    scene.vessels = scene.vessels * (1 - outside)
    scene.added = scene.added + lesion.strength(0.16, 0.2) * line - lesion.strength(0.06, 0.10) * outside
    scene.added = scene.added + lesion.strength(0.03, 0.10) * (half - outside) * (1 - scene.heart)
    return outside


def inflate(anatomy: Anatomy, lesion: Lesion) -> Anatomy:
    """Return the anatomy with emphysema: long, wide, dark lungs with few vessels, a flat diaphragm, a narrow heart."""
    much = min(lesion.conspicuity, 1.5)
    flat = 1 - min(0.85, much * lesion.grade(0.55, 0.8))
    low = much * lesion.grade(1.2, 2.4)
    return replace(
        anatomy,
        dome=(anatomy.dome[0] + low, anatomy.dome[1] + low),
        dome_depth=anatomy.dome_depth * flat,
        cage=anatomy.cage * (1 + 0.03 * much),
        heart=anatomy.heart * (1 - much * lesion.grade(0.10, 0.2)),
        heart_tilt=anatomy.heart_tilt + 0.3,
        rib_slope=anatomy.rib_slope * 0.6,
        rib_spacing=anatomy.rib_spacing * 1.1,
        vessels=anatomy.vessels * (1 - 0.5 * min(much, 1)),
        air=anatomy.air * (1 + much * lesion.grade(0.12, 0.22)),
    )


def emphysema(scene: Scene, lesion: Lesion) -> Field:
    """Draw a bulla at an apex if severe; the finding is both lungs."""
    frame = scene.frame
    if lesion.severity > 0.5:
        centre = scene.place(lesion.side, 0.55, lesion.rng.uniform(0.1, 0.25))
        depth = frame.ellipse(centre, (2.3, 2.8))
        bulla = frame.soft(depth, 0.3) * scene.lung
        scene.vessels = scene.vessels * (1 - bulla)
        scene.added = scene.added - 0.04 * bulla + lesion.strength(0.06, 0.08) * frame.band(depth, 0.2) * scene.lung
    return scene.lung * (1 - scene.heart)


def pleural_thickening(scene: Scene, lesion: Lesion) -> Field:
    """Draw a dense band along the chest wall with an uneven inner margin, or a cap over the apex."""
    frame, anatomy = scene.frame, scene.anatomy
    uneven = 0.22 * cloud(scene, lesion, 1.2)
    thickness = lesion.grade(1.0, 1.9)
    if lesion.rng.random() < 0.3:
        cap = frame.y - anatomy.apex - 1.7 - thickness - 0.06 * (frame.distance - 5.0) ** 2 + uneven
        support = frame.soft(-cap, 0.4)
    else:
        low, high = anatomy.side_dome[lesion.side] + 1.5, lesion.rng.uniform(-8.0, -4.0)
        ends = frame.soft(frame.y - high, 3.0) * frame.soft(low - frame.y, 2.0)
        support = frame.soft(thickness * ends - scene.depth_in_wall + uneven * ends, 0.35) * (ends > 0.05)
    support = support * frame.soft(scene.depth_in_wall + 0.2, 0.3) * scene.on(lesion.side)
    support = support * np.maximum(scene.lung, (frame.distance > 0.5 * anatomy.cage) & (frame.y < anatomy.dome[1]))
    opacify(scene, support, lesion.strength(0.8, 1.0))
    scene.added = scene.added + lesion.strength(0.05, 0.1) * support
    return support


def hernia(scene: Scene, lesion: Lesion) -> Field:
    """Draw stomach behind the heart: a rounded opacity above the diaphragm with gas over a fluid level."""
    frame, anatomy = scene.frame, scene.anatomy
    radius = lesion.grade(2.9, 4.2)
    centre = (anatomy.midline + lesion.rng.uniform(0.6, 2.6), max(anatomy.dome) - 0.55 * radius - 0.8)
    depth = frame.ellipse(centre, (radius * 1.15, radius))
    support = frame.soft(depth, 0.35)
    level = centre[1] + radius * lesion.rng.uniform(-0.35, 0.15)
    gas = frame.soft(depth - 0.3, 0.4) * frame.soft(level - frame.y, 0.25)
    scene.added = scene.added + lesion.strength(0.08, 0.11) * (support - gas) - lesion.strength(0.15, 0.22) * gas
    return support

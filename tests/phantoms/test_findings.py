"""Each finding is where its mask says, and looks as radiologists describe it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from cxr_kd.data.readers.phantom import FINDINGS, PhantomSettings
from cxr_kd.phantoms import findings as drawn_findings
from cxr_kd.phantoms import labels as drawn_labels
from cxr_kd.phantoms.anatomy import Scene, absorption, scene_of
from cxr_kd.phantoms.body import FIELD_CM, LEFT, RIGHT, Anatomy, exam, person
from cxr_kd.phantoms.findings import DRAW, RESHAPE
from cxr_kd.phantoms.labels import Exam
from cxr_kd.phantoms.lesion import Lesion
from cxr_kd.phantoms.radiograph import Radiograph, radiograph

SETTINGS = PhantomSettings(images=20, size=128)
DARKER = {"Pneumothorax", "Emphysema"}  # more air; everything else is tissue or fluid


def finding_alone(
    settings: PhantomSettings, finding: str | None, *, patient: int = 0, drain: bool = False
) -> Radiograph:
    """Draw one patient with one finding and nothing else; None: a normal chest."""
    truth = np.array([name == finding for name in FINDINGS])
    exam_ = Exam(patient, 0, 35.0 + 7 * (patient % 6), "MF"[patient % 2], "PA", truth, truth, drain)
    return radiograph(exam_, settings.size, seed=settings.seed, conspicuity=settings.conspicuity)


def lesion(side: int = RIGHT, severity: float = 0.5, conspicuity: float = 1.0, seed: int = 0) -> Lesion:
    return Lesion(side, severity, conspicuity, np.random.default_rng(seed))


def body(seed: int = 0, view: str = "PA", age: float = 50) -> Anatomy:
    rng = np.random.default_rng(seed)
    return replace(exam(rng, person(rng, age, male=True), view), turn=0.0, shift=(0.0, 0.0), scale=1.0, leads=0.0)


def drawn(finding: str, of: Lesion, anatomy: Anatomy, size: int = 128) -> tuple[Scene, np.ndarray]:
    """Return the scene with the finding, and where the finding is (0..1)."""
    scene = scene_of(RESHAPE[finding](anatomy, of) if finding in RESHAPE else anatomy, size)
    return scene, DRAW[finding](scene, of)


def centimetres(pixels: float, size: int) -> float:
    return float(pixels) * FIELD_CM / size


def test_every_finding_is_drawn_and_none_is_unknown():
    assert tuple(DRAW) == FINDINGS == drawn_labels.FINDINGS
    assert set(RESHAPE) <= set(drawn_findings.DRAW)


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_shows_where_its_mask_says(finding, size):
    settings = SETTINGS.model_copy(update={"size": size})
    inside, outside = [], []
    for patient in range(8):
        normal = finding_alone(settings, None, patient=patient)
        ill = finding_alone(settings, finding, patient=patient)
        mask, change = ill.masks[finding], ill.image.astype(float) - normal.image
        assert 4 <= mask.sum() < 0.5 * mask.size
        change = np.abs(change) if finding == "Hernia" else change  # gas and fluid in one
        inside.append(change[mask].mean())
        outside.append(np.abs(change[~mask]).mean())
    contrast = np.mean(inside) * (-1 if finding in DARKER else 1)
    assert contrast > 6, f"{finding} changes its own pixels by {contrast:.1f} of 255"
    assert contrast > 1.2 * np.mean(outside)


@pytest.mark.parametrize("finding", ["Nodule", "Mass", "Consolidation", "Infiltration", "Fibrosis"])
def test_conspicuity_scales_the_contrast(finding):
    contrasts = []
    for conspicuity in (0.4, 0.8, 1.2):
        settings = SETTINGS.model_copy(update={"conspicuity": conspicuity})
        changes = []
        for patient in range(6):
            ill, normal = (finding_alone(settings, name, patient=patient) for name in (finding, None))
            changes.append((ill.image.astype(float) - normal.image)[ill.masks[finding]].mean())
        contrasts.append(np.mean(changes))
    assert contrasts[0] < contrasts[1] < contrasts[2]


@pytest.mark.parametrize("severity", [0.0, 0.5, 1.0])
def test_nodules_are_under_3_cm_and_masses_over(severity):
    for seed in range(8):
        scene, nodules = drawn("Nodule", lesion(severity=severity, seed=seed), body(seed), 256)
        for number in range(1, ndimage.label(nodules > 0.4)[1] + 1):
            area = (ndimage.label(nodules > 0.4)[0] == number).sum()
            assert centimetres(2 * np.sqrt(area / np.pi), 256) < 3.0 * (2**0.5 if area > 500 else 1)  # two may touch
        _, mass = drawn("Mass", lesion(severity=severity, seed=seed), body(seed), 256)
        assert centimetres(2 * np.sqrt((mass > 0.4).sum() / np.pi), 256) >= 3.0
        assert scene.lung[nodules > 0.4].mean() > 0.5


def test_cardiomegaly_is_a_heart_wider_than_half_the_chest():
    for seed in range(20):
        for view in ("PA", "AP"):
            anatomy = body(seed, view)
            assert anatomy.heart / (2 * anatomy.cage) < 0.53
            large = RESHAPE["Cardiomegaly"](anatomy, lesion(severity=0.0))
            assert large.heart / (2 * large.cage) >= 0.56 - 1e-9


def test_an_effusion_blunts_the_costophrenic_angle_and_climbs_the_wall():
    for severity in (0.0, 0.6):
        anatomy = body()
        scene, fluid = drawn("Effusion", lesion(LEFT, severity), anatomy)
        normal = scene_of(anatomy, 128)
        angle = (normal.lung > 0.9) & (normal.frame.x > 0.85 * anatomy.cage) & (normal.frame.y > anatomy.dome[1] + 1)
        assert scene.aerated[angle].mean() < 0.3
        assert fluid[normal.frame.x < 0].max() == 0
        top = [np.flatnonzero(fluid[:, column] > 0.5)[0] for column in column_of(scene, (6.0, 12.0))]
        assert top[1] < top[0], "the meniscus is higher at the wall"


def column_of(scene: Scene, at_cm: tuple[float, ...]) -> list[int]:
    return [int(np.abs(scene.frame.x[0] - x).argmin()) for x in at_cm]


@pytest.mark.parametrize("side", [LEFT, RIGHT])
def test_beyond_the_pleural_line_there_are_no_vessels(side):
    scene, air = drawn("Pneumothorax", lesion(side, 0.7), body())
    beyond = (air > 0.99) & (scene.lung > 0.99)
    assert beyond.sum() > 100
    assert scene.vessels[beyond].max() < 0.02
    assert (np.sign(scene.frame.x[beyond]) == side).all()
    line = scene.added[(air > 0.2) & (air < 0.8) & (scene.lung > 0.9)]
    assert line.max() > 0.1, "the pleura is drawn as a line"


def test_emphysema_has_long_flat_black_lungs_and_a_narrow_heart():
    anatomy = body()
    inflated = RESHAPE["Emphysema"](anatomy, lesion())
    assert min(inflated.dome) > max(anatomy.dome)
    assert inflated.dome_depth < 0.5 * anatomy.dome_depth
    assert inflated.heart < 0.92 * anatomy.heart
    normal, ill = scene_of(anatomy, 64), scene_of(inflated, 64)
    both = (normal.lung > 0.99) & (ill.lung > 0.99) & (ill.heart < 0.01) & (normal.heart < 0.01)
    assert absorption(ill)[both].mean() < absorption(normal)[both].mean()


def test_atelectasis_raises_its_own_side_of_the_diaphragm():
    anatomy = body()
    collapsed = RESHAPE["Atelectasis"](anatomy, lesion(LEFT))
    assert collapsed.dome[1] < anatomy.dome[1] - 0.5
    assert collapsed.dome[0] == anatomy.dome[0]
    assert collapsed.midline > anatomy.midline, "the heart moves towards the collapse"


def test_edema_is_on_both_sides_and_spares_the_periphery():
    scene, wings = drawn("Edema", lesion(), body())
    for side in (LEFT, RIGHT):
        half = scene.on(side) & (scene.lung > 0.9)
        assert (wings[half] > 0.5).mean() > 0.15
        assert wings[half & (scene.depth_in_wall < 0.8)].mean() < 0.2 * wings[half & (scene.depth_in_wall > 5)].mean()


def test_a_hernia_lies_behind_the_heart_with_gas_above_fluid():
    scene, sac = drawn("Hernia", lesion(), body())
    assert abs(scene.frame.x[sac > 0.5].mean()) < 4
    gas, fluid = (sac > 0.9) & (scene.added < -0.05), (sac > 0.9) & (scene.added > 0.05)
    assert gas.sum() > 10
    assert fluid.sum() > 10
    assert scene.frame.y[gas].max() < scene.frame.y[fluid].max()


def test_pleural_thickening_hugs_the_wall_or_the_apex():
    for seed in range(12):
        scene, band = drawn("Pleural_Thickening", lesion(seed=seed), body(seed))
        near = (scene.depth_in_wall < 3.2) | (scene.frame.y < scene.anatomy.apex + 5)
        assert near[band > 0.4].all()


def test_a_finding_keeps_its_place_on_the_patients_next_image():
    truth = np.array([name == "Mass" for name in FINDINGS])
    boxes = [
        radiograph(Exam(11, number, 60, "F", "PA", truth, truth, False), 128, seed=0, conspicuity=1.0).boxes["Mass"]
        for number in range(4)
    ]
    centres = np.array([(x + width / 2, y + height / 2) for x, y, width, height in boxes])
    assert np.ptp(centres, axis=0).max() < 0.17  # pose and breath move it, by 6 cm at most


def test_a_drain_is_drawn_where_the_pneumothorax_is():
    for patient in range(4):
        without, with_drain = (
            finding_alone(SETTINGS, "Pneumothorax", patient=patient, drain=drain) for drain in (False, True)
        )
        left = without.masks["Pneumothorax"][:, 64:].sum() > without.masks["Pneumothorax"][:, :64].sum()
        change = np.clip(with_drain.image.astype(float) - without.image, 0, None)
        near, far = (change[:, 64:], change[:, :64]) if left else (change[:, :64], change[:, 64:])
        assert near.sum() > 1.3 * far.sum()


def test_ap_images_have_scapulae_over_the_lungs_and_a_larger_heart():
    for seed in range(10):
        pa, ap = body(seed, "PA"), body(seed, "AP")
        assert ap.scapula < ap.cage < pa.scapula + 1.5
        assert ap.heart > pa.heart
        assert ap.clavicle < pa.clavicle


def test_all_findings_at_once_can_be_drawn():
    truth = np.ones(len(FINDINGS), dtype=bool)
    for patient in range(5):
        film = radiograph(Exam(patient, 0, 70, "M", "AP", truth, truth, True), 64, seed=1, conspicuity=2.0)
        assert all(mask.any() for mask in film.masks.values())
        assert film.image.std() > 10

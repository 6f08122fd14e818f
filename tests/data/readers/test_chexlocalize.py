"""CheXlocalize's polygons become masks of CheXpert's images; what is not of its layout is refused with its place."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from miniatures import write_chexpert

from cxr_kd.data.readers import chexpert
from cxr_kd.data.readers.chexlocalize import CLIPPED, NOT_THERE, Outlined, name_of, read
from cxr_kd.errors import DataError

SQUARE = [[10, 20], [29, 20], [29, 49], [10, 49]]
NAME = "patient64541_study1_view1_frontal"


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def of_one(tmp_path: Path, **findings: object) -> Outlined:
    content = {name.replace("_", " "): polygons for name, polygons in findings.items()}
    return read(write(tmp_path / "gt.json", {NAME: {"img_size": [80, 60], **content}}))[NAME]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_chexpert(tmp_path_factory.mktemp("chexpert"), patients=10, with_test=True, size=16)


def test_masks_belong_to_the_images_of_both_sides(folder) -> None:
    plain = chexpert.read(folder)
    assert plain.masks is None
    valid, test = (next(i for i in plain.frame["image_id"] if i.startswith(f"{side}/")) for side in ("valid", "test"))
    lesion = {"img_size": [80, 60], "Lung Lesion": [SQUARE], "Airspace Opacity": [SQUARE, [[0, 0], [4, 0], [0, 4]]]}
    paths = [
        write(folder / "gt_annotations_val.json", {name_of(valid): lesion}),
        write(folder / "CheXlocalize" / "gt_annotations_test.json", {name_of(test): {"img_size": [9, 9]}}),
    ]
    try:
        table = chexpert.read(folder)
    finally:
        for path in paths:
            path.unlink()
    assert table.masks is not None
    masks = table.masks(valid)
    assert set(masks) == {"Lung Lesion", "Lung Opacity"} <= set(table.findings)
    assert masks["Lung Lesion"].shape == (80, 60)
    assert masks["Lung Lesion"].dtype == bool
    expected = np.zeros((80, 60), bool)
    expected[20:50, 10:30] = True
    np.testing.assert_array_equal(masks["Lung Lesion"], expected)
    assert masks["Lung Opacity"].sum() == expected.sum() + 15, "the union of its polygons"
    assert table.masks(test) == {}
    with pytest.raises(DataError, match=r"valid/nobody\.jpg"):
        table.masks("valid/nobody.jpg")


def test_an_image_of_no_table_is_refused_and_one_without_a_file_counted(folder) -> None:
    lateral = next(i for i in chexpert.read(folder).left_out_ids if i.startswith("valid/"))
    path = write(folder / "gt_annotations_val.json", {name_of(lateral): {"img_size": [80, 60], "Edema": [SQUARE]}})
    try:
        assert chexpert.read(folder).left_out[NOT_THERE] == 1
        write(path, {"patient9_study1_view1_frontal": {"img_size": [80, 60]}})
        with pytest.raises(DataError, match=r"gt_annotations_val\.json: image 'patient9_study1_view1_frontal'"):
            chexpert.read(folder)
    finally:
        path.unlink()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.floats(0, 59), st.floats(0, 79)), min_size=3, max_size=3, unique=True))
def test_a_mask_agrees_with_matplotlib_but_for_pixels_on_the_edge(corners) -> None:
    mask = Outlined(80, 60, {"Edema": [corners]}).masks()["Edema"]
    y, x = np.mgrid[:80, :60]
    outline = Outline([*corners, corners[0]], closed=True)
    inside = outline.contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(80, 60)
    a, b = np.array(corners), np.roll(corners, -1, axis=0)
    points = np.stack([x, y], axis=-1)[:, :, None]
    along = np.clip(((points - a) * (b - a)).sum(-1) / np.maximum(((b - a) ** 2).sum(-1), 1e-12), 0, 1)
    distance = np.linalg.norm(points - a - along[..., None] * (b - a), axis=-1).min(-1)
    clear = distance > 1.5
    np.testing.assert_array_equal(mask[clear], inside[clear])


def test_a_polygon_beyond_the_edge_is_cut_off_and_counted(tmp_path) -> None:
    outlined = of_one(tmp_path, Edema=[[[-10, -10], [19.0, -10], [19, 9], [-10, 9]]], Cardiomegaly=[SQUARE])
    assert outlined.clipped == 1
    mask = outlined.masks()["Edema"]
    assert mask[:10, :20].all()
    assert mask.sum() == 200
    assert "cut off" in CLIPPED


def test_a_finding_without_polygons_has_no_mask(tmp_path) -> None:
    assert of_one(tmp_path, Edema=[]).masks() == {}


@pytest.mark.parametrize(
    ("findings", "told"),
    [
        ({"Fracture": [SQUARE]}, "no finding 'Fracture'"),
        ({"Edema": [SQUARE, []]}, "Edema, polygon 2: 0 corners"),
        ({"Edema": [SQUARE[:2]]}, "Edema, polygon 1: 2 corners"),
        ({"Edema": [[[100, 20], [120, 20], [120, 40]]]}, "polygon 1: lies outside the image"),
        ({"Edema": [[[1, 2], [3, None], [4, 5]]]}, r"corners \[x, y\]"),
        ({"Edema": [[[1, 2], [3, float("nan")], [4, 5]]]}, r"corners \[x, y\]"),
        ({"Edema": [[[1, 2], [3, 1e300], [4, 5]]]}, r"corners \[x, y\]"),
        ({"Edema": "none"}, "a list of polygons is needed"),
        ({"Lung_Opacity": [SQUARE], "Airspace_Opacity": [SQUARE]}, "in two spellings"),
    ],
)
def test_bad_polygons_are_named(tmp_path, findings, told) -> None:
    with pytest.raises(DataError, match=rf"gt\.json, image '{NAME}'.*{told}"):
        of_one(tmp_path, **findings)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "not a JSON file"),
        ("", "not a JSON file"),
        ("[" * 100_000, "nested too deeply|not a JSON file"),
        ([1], "a JSON object of images"),
        ({NAME: [SQUARE]}, "a JSON object of findings"),
        ({NAME: {"Edema": [SQUARE]}}, "img_size must be"),
        ({NAME: {"img_size": [80.5, 60]}}, "img_size must be"),
        ({NAME: {"img_size": [10**6, 10**6]}}, "img_size .*not a radiograph"),
    ],
)
def test_a_file_of_another_layout_is_refused(tmp_path, content, told) -> None:
    with pytest.raises(DataError, match=rf"gt\.json.*(?:{told})"):
        read(write(tmp_path / "gt.json", content))

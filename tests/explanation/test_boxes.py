"""Boxes are scored only where neither the network nor its teacher has seen the image or its patient."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cxr_kd.data.readers import chestxray14
from cxr_kd.data.splits import Split
from cxr_kd.data.table import CxrTable
from cxr_kd.data.trained_on import TrainedOn
from cxr_kd.errors import DataError
from cxr_kd.explanation.boxes import check_boxes_allowed, check_published_protocol

OFFICIAL = Split("official", ("0.png", "1.png"), ("2.png",), ("3.png", "4.png"))
BOXES = pd.DataFrame(
    {"image_id": ["3.png", "4.png"], "finding": "Mass", "x": 0.1, "y": 0.2, "width": 0.3, "height": 0.4}
)


@pytest.fixture
def table() -> CxrTable:
    frame = pd.DataFrame(
        {
            "image_id": [f"{number}.png" for number in range(5)],
            "path": [f"images/{number}.png" for number in range(5)],
            "patient_id": ["a", "b", "c", "d", "d"],
            "view": "PA",
            "age": 50.0,
            "sex": "F",
            "Mass": [0.0, 1.0, 0.0, 1.0, 1.0],
        }
    )
    return CxrTable("chestxray14", "full", Path("root"), frame, ("Mass",), BOXES)


def test_on_the_official_split_all_boxes_are_scored(table) -> None:
    boxes = check_boxes_allowed("net", TrainedOn.of(table, OFFICIAL.train), table, OFFICIAL)
    pd.testing.assert_frame_equal(boxes, BOXES)
    check_published_protocol(table, OFFICIAL)


def test_on_a_random_split_the_unseen_boxes_are_scored_but_not_compared_with_published_ones(table) -> None:
    frame = table.frame.assign(patient_id=["a", "b", "c", "d", "e"])
    table = replace(table, frame=frame)
    split = Split("random-70-10-20", ("0.png", "3.png"), ("2.png",), ("1.png", "4.png"))
    boxes = check_boxes_allowed("net", TrainedOn.of(table, split.train), table, split)
    assert list(boxes["image_id"]) == ["4.png"]
    with pytest.raises(DataError, match="cannot be compared with published ones: the split is 'random-70-10-20'"):
        check_published_protocol(table, split)


@pytest.mark.parametrize(
    ("seen", "told"),
    [(["3.png"], "net .* was trained on 1 of the 2 images"), (["4.png", "0.png"], "net .* trained on")],
)
def test_a_network_that_learned_from_boxed_images_is_refused(table, seen, told) -> None:
    with pytest.raises(DataError, match=told):
        check_boxes_allowed("net", TrainedOn.of(table, seen), table, OFFICIAL)


def test_another_image_of_a_boxed_patient_or_a_teacher_that_saw_it_is_refused_too(table) -> None:
    split = Split("lists", ("0.png", "4.png"), ("2.png",), ("3.png",))
    with pytest.raises(DataError, match="other images of 1 of the 1 patients"):
        check_boxes_allowed("net", TrainedOn.of(table, split.train), table, split)
    teacher = TrainedOn.of(table, ["3.png"])
    with pytest.raises(DataError, match="or its teacher"):
        check_boxes_allowed("net", TrainedOn.of(table, ["0.png"], teacher), table, OFFICIAL)


def test_a_test_side_without_boxes_and_part_of_a_data_set_have_a_reason(table) -> None:
    split = Split("lists", ("3.png", "4.png"), ("2.png",), ("0.png",))
    with pytest.raises(DataError, match="no image on the test side of the split 'lists' has a box"):
        check_boxes_allowed("net", TrainedOn.of(table, []), table, split)
    with pytest.raises(DataError, match="only part of chestxray14"):
        check_published_protocol(replace(table, kind="mini"), OFFICIAL)
    moved = Split("official", ("0.png", "4.png"), ("2.png",), ("3.png",))
    with pytest.raises(DataError, match="1 boxed images are not on the test side"):
        check_published_protocol(table, moved)


@pytest.mark.parametrize(
    ("numbers", "column"),
    [("-1,5,20,20", r"Bbox \[x"), ("5,1000,20,30", r"h\]"), ("900,5,200,20", "w"), ("5,5,0,20", "w")],
)
def test_a_box_outside_the_image_is_refused_with_its_line(tmp_path, numbers, column) -> None:
    path = tmp_path / "BBox_List_2017.csv"
    path.write_text(f"Image Index,Finding Label,Bbox [x,y,w,h],,,\na.png,Mass,1,2,3,4,,,\nb.png,Mass,{numbers},,,\n")
    with pytest.raises(DataError, match=rf"BBox_List_2017\.csv, line 3.*{column}"):
        chestxray14.read_boxes(path, ["a.png", "b.png"])
    boxes, others = chestxray14.read_boxes(path, ["a.png"])
    assert (len(boxes), others) == (1, 1), "boxes of other images are not used"


def test_real_boxes_lie_inside_and_are_the_published_numbers_over_1024(test_data) -> None:
    table = chestxray14.read(test_data / "chestxray14-boxed224")
    assert table.boxes["image_id"].nunique() == 15
    lines = (table.root / "BBox_List_2017.csv").read_text().splitlines()[1:]
    published = {
        (c[0], c[1].replace("Infiltrate", "Infiltration")): c[2:6] for c in (line.split(",") for line in lines)
    }
    for box in table.boxes.itertuples():
        numbers = [float(number) / 1024 for number in published[(box.image_id, box.finding)]]
        assert [box.x, box.y, box.width, box.height] == pytest.approx(numbers)

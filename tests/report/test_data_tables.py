"""The tables of the data print the data card, and are never empty of words."""

from typing import Any

import pytest

from cxr_kd.files import read_json
from cxr_kd.report import data_tables
from cxr_kd.report.tables import Cell, Table


@pytest.fixture
def data(make_study) -> dict[str, Any]:
    return read_json(make_study("mini", "chestxray14").runs_folder / "data.json")


def rows(table: Table) -> dict[str, list[str]]:
    """First column -> the others' texts."""
    texts = [[f"{cell.text} {cell.detail}".strip() if isinstance(cell, Cell) else cell for cell in row]
             for row in table.rows]  # fmt: skip
    return {first: others for first, *others in texts}


def test_prevalence_is_of_known_labels_and_the_shift_is_in_points(data) -> None:
    data["prevalence"]["train"]["Mass"], data["prevalence"]["test"]["Mass"] = 0.104, 0.031
    data["prevalence"]["validation"]["Mass"] = None
    data["prevalence"]["test"]["Effusion"] = data["prevalence"]["train"]["Effusion"] - 0.0001
    table = data_tables.prevalence_table(data)
    assert table.columns == ("Finding", "Train", "Validation", "Test", "Test minus train (percentage points)")
    assert rows(table)["Mass"] == ["10.4 % (77)", "– (no known label)", "3.1 % (33)", "−7.3"]
    assert rows(table)["Effusion"][-1] == "+0.0"
    assert rows(table)["Hernia"][0].endswith("of 690)")
    assert "whose label is known" in table.note


def test_no_shift_is_made_up_where_a_side_is_unknown(data) -> None:
    data["prevalence"]["test"]["Mass"] = None
    assert rows(data_tables.prevalence_table(data))["Mass"][-1] == "–"


def test_people_and_views_a_side(data) -> None:
    table = data_tables.people_table(data)
    assert table.columns[1:] == ("Age (years; median, quartiles)", "Women", "Men", "View PA", "View AP")
    assert rows(table)["test"] == ["47 (31–59)", "80 % (80)", "20 % (20)", "97 % (291)", "3 % (9)"]


def test_unknown_people_and_many_views_are_said(data) -> None:
    for side, n in data["split"]["sides"].items():
        data["age"][side] = {"known": 0, "lower_quartile": None, "median": None, "upper_quartile": None}
        data["patients_by_sex"][side] = {"women": 0, "men": 0, "unknown": n["patients"]}
        data["views"][side] = {"PA": 50, "AP": 40, "LL": 30, "RL": 20, "L": 10, "unknown": 5}
    table = data_tables.people_table(data)
    assert table.columns[2:] == ("Sex unknown", "View PA", "View AP", "View LL", "View RL", "Other views")
    assert rows(table)["test"][:2] == ["unknown", "100 % (100)"]
    assert rows(table)["test"][-1].endswith("(15)")


def test_what_was_left_out_and_quarantined_is_never_empty_of_words(data) -> None:
    assert rows(data_tables.left_out_table(data)) == {"lateral view": ["12"]}
    assert rows(data_tables.quarantine_table(data)) == {"the file is empty (0 bytes)": ["2"]}
    data |= {"left_out": {}, "quarantine": {}}
    assert rows(data_tables.left_out_table(data)) == {"nothing: every row of the label table was used": ["0"]}
    assert rows(data_tables.quarantine_table(data)) == {"none: every file could be decoded": ["0"]}


@pytest.mark.parametrize(
    ("marks", "said"),
    [
        ({"boxes": {"Mass": 4, "Nodule": 1}, "boxed_images": 3, "masks": False},
         "5 boxes on 3 images show where a finding is (Mass 4, Nodule 1)."),
        ({"boxes": {}, "boxed_images": 0, "masks": True}, "The pixels of each finding are known."),
        ({"boxes": {}, "boxed_images": 0, "masks": False},
         "This data set does not say where in the image a finding is."),
    ],
)  # fmt: skip
def test_marks_in_a_sentence(data, marks, said) -> None:
    assert data_tables.marks({**data, "marks": marks}) == said


def test_images_that_are_almost_black_are_said(data) -> None:
    assert data_tables.darkness({**data, "brightest": 64.0}) == ""
    said = data_tables.darkness({**data, "brightest": 15.0})
    assert "almost black: in half of them no pixel is brighter than 15 of 255." in said
    assert "`intensity: per-image` in the study" in said


def test_shared_findings_are_those_of_this_data_set(data) -> None:
    of_chexpert = rows(data_tables.shared_table({**data, "dataset": "chexpert"}))
    assert of_chexpert["pleural effusion"][:2] == ["Effusion", "Pleural Effusion"]
    assert "hernia" not in of_chexpert
    assert rows(data_tables.shared_table(data))["hernia"][1] == "–"
    for same in ("phantom", "chestmnist"):
        assert rows(data_tables.shared_table({**data, "dataset": same})) == rows(data_tables.shared_table(data))
    assert data_tables.shared_table({**data, "dataset": "folder"}) is None


def test_a_data_set_without_patients_says_so_below_its_split(data) -> None:
    assert data_tables.split_table(data).note == ""
    data["source"]["patients"] = "not in the file"
    assert data_tables.split_table(data).note == "Patients: not in the file."

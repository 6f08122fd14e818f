from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_kd.data.readers import chestmnist, chestxray14, chexpert, phantom, shared_findings
from cxr_kd.data.readers.shared_findings import DATA_SETS, SHARED_FINDINGS, in_terms_of, shared
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError

FINDINGS = {
    "chestxray14": chestxray14.FINDINGS,
    "chestmnist": chestmnist.FINDINGS,
    "chexpert": chexpert.FINDINGS,
    "phantom": phantom.FINDINGS,
}


def table_of(dataset: str, labels: dict[str, list[float]], **others) -> CxrTable:
    ids = [f"{number}.png" for number in range(len(next(iter(labels.values()))))]
    about = {"image_id": ids, "path": ids, "patient_id": ids, "view": "PA", "age": 60.0, "sex": "F"}
    frame = pd.DataFrame({**about, **{name: np.array(values, float) for name, values in labels.items()}})
    return CxrTable(dataset, "mini", Path("data"), frame, tuple(labels), **others)


@pytest.mark.parametrize("dataset", FINDINGS)
def test_every_finding_of_a_data_set_is_in_one_row(dataset: str):
    named = [name for row in SHARED_FINDINGS for name in row.labels(dataset)]
    assert sorted(named) == sorted(FINDINGS[dataset])


def test_names_of_padchest_are_of_its_tree_and_none_is_matched_by_a_part():
    named = [name for row in SHARED_FINDINGS for name in row.labels("padchest")]
    assert all(name == name.lower().strip() for name in named)
    assert not {"subcutaneous emphysema", "pseudonodule", "mediastinal mass", "pericardial effusion"} & set(named)
    assert [name for name in named if named.count(name) > 1] == ["hydropneumothorax"] * 2  # air and fluid


def test_a_row_says_why_a_finding_has_no_counterpart():
    alone = [
        row for row in SHARED_FINDINGS if sum(bool(row.labels(name)) for name in DATA_SETS if name != "chestmnist") < 2
    ]
    assert {name for row in alone for name in (row.chestxray14, row.chexpert) if name} == {
        "Infiltration", "Lung Lesion", "Lung Opacity", "Enlarged Cardiomediastinum", "Pleural Other", "Support Devices",
        "No Finding",
    }  # fmt: skip
    assert all(row.remark for row in alone)


def test_shared_findings_of_two_data_sets():
    assert shared("chestxray14", "chexpert") == {
        "Atelectasis": "Atelectasis",
        "Cardiomegaly": "Cardiomegaly",
        "Effusion": "Pleural Effusion",
        "Pneumothorax": "Pneumothorax",
        "Consolidation": "Consolidation",
        "Edema": "Edema",
        "Pneumonia": "Pneumonia",
    }
    assert shared("padchest", "chexpert")["fracture"] == "Fracture"
    assert shared("chestxray14", "padchest")["Mass"] == "pulmonary mass"
    assert shared("phantom", "chestmnist") == {name: name for name in chestxray14.FINDINGS}


@pytest.mark.parametrize("first", [*DATA_SETS, "phantom"])
@pytest.mark.parametrize("second", [*DATA_SETS, "phantom"])
def test_sharing_is_symmetric(first: str, second: str):
    assert shared(second, first) == {other: one for one, other in shared(first, second).items()}


def test_a_table_in_terms_of_another_data_set():
    table = table_of("chestxray14", {"Effusion": [1, 0], "Hernia": [0, 1], "Edema": [np.nan, 1]})
    told = in_terms_of(table, "chexpert")
    assert (told.dataset, told.findings) == ("chestxray14", ("Pleural Effusion", "Edema"))
    assert np.array_equal(told.labels(), [[1, np.nan], [0, 1]], equal_nan=True)
    assert told.source["findings"] == "in terms of chexpert: Pleural Effusion is Effusion; Edema is Edema"
    assert told.frame["image_id"].tolist() == table.frame["image_id"].tolist()
    assert "Hernia" not in told.frame
    assert in_terms_of(table, "chestxray14") is table


def test_a_label_and_its_kinds_are_one_finding():
    labels = {
        "laminar atelectasis": [1, 0, 0, np.nan, np.nan],
        "atelectasis": [0, 1, 0, 1, 0],
        "hydropneumothorax": [1, 0, 0, 0, 0],
    }
    told = in_terms_of(table_of("padchest", labels), "chestxray14")
    assert told.findings == ("Atelectasis", "Effusion", "Pneumothorax")
    assert np.array_equal(told.labels()[:, 0], [1, 1, 0, 1, np.nan], equal_nan=True)
    assert np.array_equal(told.labels()[:, 1], told.labels()[:, 2])
    assert "Atelectasis is atelectasis or laminar atelectasis (not read: total atelectasis" in told.source["findings"]


def test_boxes_and_masks_take_the_new_names():
    boxes = pd.DataFrame(
        [["0.png", "Effusion", 0.1, 0.1, 0.2, 0.2], ["1.png", "Hernia", 0.1, 0.1, 0.2, 0.2]],
        columns=["image_id", "finding", "x", "y", "width", "height"],
    )
    mask = np.ones((4, 4), bool)
    table = table_of("phantom", {"Effusion": [1, 0], "Hernia": [0, 1]}, boxes=boxes)
    told = in_terms_of(replace(table, masks=lambda image_id: {"Effusion": mask, "Hernia": mask}), "chexpert")
    assert told.boxes.values.tolist() == [["0.png", "Pleural Effusion", 0.1, 0.1, 0.2, 0.2]]
    assert told.masks is not None
    assert list(told.masks("0.png")) == ["Pleural Effusion"]


def test_nothing_shared_is_an_error_that_says_what_is():
    own = table_of("folder", {"Effusion": [1]})
    for call in (lambda: in_terms_of(own, "chexpert"), lambda: shared("chexpert", "folder")):
        with pytest.raises(
            DataError, match=r"folder is not in the table.*knows: chestxray14, chestmnist, chexpert, padchest"
        ):
            call()
    with pytest.raises(
        DataError, match=r"Hernia: none is a finding that chestxray14 shares with chexpert: Atelectasis, "
    ):
        in_terms_of(table_of("chestxray14", {"Hernia": [1]}), "chexpert")


def test_the_frame_of_the_report():
    frame = shared_findings.frame()
    assert frame.columns.tolist() == ["concept", *DATA_SETS, "remark"]
    assert len(frame) == len(SHARED_FINDINGS) == frame["concept"].nunique()
    assert frame.map(lambda value: isinstance(value, str)).all(axis=None)
    hernia = frame.set_index("concept").loc["hernia"]
    assert hernia[["chestxray14", "chexpert", "padchest"]].tolist() == ["Hernia", "", "hiatal hernia"]

"""The data card counts the table per side; only known labels count for the prevalence."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_kd.data.cache import Cache
from cxr_kd.data.cache_blocks import BLOCK
from cxr_kd.data.data_card import BRIGHTNESS_IMAGES, TooFew, data_card_of, too_few_positives
from cxr_kd.data.splits import Split
from cxr_kd.data.table import CxrTable

ROWS = [  # image, patient, view, age, sex, Mass, Edema
    ("a", "1", "PA", 40.0, "F", 1, 1),
    ("b", "1", "AP", 41.0, "F", 0, np.nan),
    ("c", "2", "PA", 60.0, "M", 0, np.nan),
    ("d", "3", "", np.nan, "", 1, np.nan),
    ("e", "4", "PA", 50.0, "M", 1, 0),
]
SPLIT = Split("random-70-10-20", ("a", "b", "c"), ("d",), ("e",))


def cache_of(folder: Path, images: np.ndarray, ids: list[str], quarantine: pd.DataFrame) -> Cache:
    np.save(folder / "images.npy", images)
    index = pd.DataFrame({"image_id": ids, "row": np.arange(len(ids))})
    blocks = (images[first : first + BLOCK].tobytes() for first in range(0, len(images), BLOCK))
    hashes = tuple(hashlib.sha256(block).hexdigest() for block in blocks)
    return Cache(folder, np.load(folder / "images.npy", mmap_mode="r"), index, quarantine, {}, hashes)


@pytest.fixture
def card(tmp_path: Path) -> dict:
    names = ["image_id", "patient_id", "view", "age", "sex", "Mass", "Edema"]
    frame = pd.DataFrame(ROWS, columns=names).astype({"Mass": float, "Edema": float})
    frame.insert(1, "path", frame["image_id"] + ".png")
    boxes = pd.DataFrame({"image_id": ["a", "a"], "finding": ["Edema", "Mass"], "x": 0.1, "y": 0.1, "width": 0.2,
                          "height": 0.3})  # fmt: skip
    source = {"name": "five", "blank labels": "unknown", "fingerprint": "not for people"}
    table = CxrTable("folder", "own", Path("here"), frame, ("Mass", "Edema"), boxes, {"no reason": 3}, source=source)
    quarantine = pd.DataFrame({"image_id": ["x", "y", "z"], "path": "", "reason": ["empty", "cut off", "empty"]})
    images = np.zeros((5, 8, 8), np.uint8)
    images[:, 3, 3] = [10, 200, 20, 15, 30]
    cache = cache_of(tmp_path, images, frame["image_id"].tolist(), quarantine)
    return data_card_of(table, cache, SPLIT, "1f")


def test_prevalence_is_of_the_known_labels(card: dict) -> None:
    assert card["positives"]["train"] == {"Mass": 1, "Edema": 1}
    assert card["known"]["train"] == {"Mass": 3, "Edema": 1}
    assert card["prevalence"]["train"] == {"Mass": pytest.approx(1 / 3), "Edema": 1.0}
    assert card["prevalence"]["validation"] == {"Mass": 1.0, "Edema": None}
    assert card["prevalence"]["test"] == {"Mass": 1.0, "Edema": 0.0}


def test_patients_are_counted_once_per_side_and_unknown_values_as_unknown(card: dict) -> None:
    assert card["patients_by_sex"]["train"] == {"women": 1, "men": 1, "unknown": 0}
    assert card["patients_by_sex"]["validation"] == {"women": 0, "men": 0, "unknown": 1}
    assert card["age"]["train"] == {"known": 2, "lower_quartile": 45.0, "median": 50.0, "upper_quartile": 55.0}
    assert card["age"]["validation"] == {"known": 0, "lower_quartile": None, "median": None, "upper_quartile": None}
    assert card["views"] == {"train": {"PA": 2, "AP": 1}, "validation": {"unknown": 1}, "test": {"PA": 1}}


def test_brightest_is_the_median_of_the_brightest_grey_of_each(card: dict) -> None:
    assert card["brightest"] == 20


def test_brightest_uses_images_from_the_first_to_the_last(tmp_path: Path) -> None:
    count = 3 * BRIGHTNESS_IMAGES
    ids = [str(i) for i in range(count)]
    unknown = {"view": "", "age": np.nan, "sex": "", "Mass": 0.0}
    frame = pd.DataFrame({"image_id": ids, "path": ids, "patient_id": ids}).assign(**unknown)
    table = CxrTable("folder", "own", tmp_path, frame, ("Mass",))
    images = (np.arange(count) // 6).astype(np.uint8)[:, np.newaxis, np.newaxis].repeat(2, 1).repeat(2, 2)
    cache = cache_of(tmp_path, images, ids, pd.DataFrame({"image_id": [], "path": [], "reason": []}))
    split = Split("random-70-10-20", tuple(ids[:-2]), (ids[-2],), (ids[-1],))
    assert abs(data_card_of(table, cache, split, "1f")["brightest"] - 127 / 2) <= 1


def test_marks_quarantine_and_source_are_in_the_card(card: dict) -> None:
    assert card["marks"] == {"boxes": {"Mass": 1, "Edema": 1}, "boxed_images": 1, "masks": False}
    assert (card["quarantined"], card["quarantine"]) == (3, {"empty": 2, "cut off": 1})
    assert card["source"] == {"name": "five", "blank labels": "unknown"}
    assert card["split"]["sides"]["train"] == {"images": 3, "patients": 2}


def test_findings_with_too_few_positives_or_negatives_are_listed(card: dict) -> None:
    train = card["positives"]["train"], card["known"]["train"]
    assert too_few_positives(*train, 1) == [TooFew("Edema", 1, 0)]
    assert too_few_positives(*train, 2) == [TooFew("Mass", 1, 2), TooFew("Edema", 1, 0)]
    assert too_few_positives({"Mass": 10}, {"Mass": 20}, 10) == []

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_kd.data.readers.chestxray14 import FINDINGS, read_labels
from cxr_kd.data.splits import make_split
from cxr_kd.data.table import CxrTable
from cxr_kd.data.trained_on import TrainedOn
from cxr_kd.errors import DataError


def a_table(
    dataset: str = "chestxray14", kind: str = "mini", images: int = 10, images_per_patient: int = 1, **source: str
) -> CxrTable:
    """Return a table of ten images; by default patients are unknown (each patient id is the image id)."""
    ids = [f"{number:03}.png" for number in range(images)]
    patients = [f"p{number // images_per_patient}" for number in range(images)] if images_per_patient > 1 else ids
    frame = pd.DataFrame({"image_id": ids, "path": ids, "patient_id": patients, "view": "PA", "sex": "F"})
    return CxrTable(dataset, kind, Path("here"), frame.assign(age=50.0, Mass=0.0), ("Mass",), source=source)


def with_files(table: CxrTable, folder: Path, size: int) -> CxrTable:
    """Return the table with a file of `size` bytes for each of its images."""
    folder.mkdir()
    for path in table.frame["path"]:
        (folder / path).write_bytes(bytes(size))
    return replace(table, root=folder)


def test_the_random_split_s_model_is_refused_on_the_official_test(test_data: Path):
    """In the table of NIH, most of the official test images are in the random training part: a known error."""
    frame = read_labels(test_data / "Data_Entry_2017_v2020.csv.gz")
    official = pd.read_csv(test_data / "official_test_images.csv.gz", header=None)[0]
    test = frozenset(official) & frozenset(frame["image_id"])
    assert len(test) == 25_596
    lists = {"train_val": frozenset(frame["image_id"]) - test, "test": test}
    table = CxrTable(
        "chestxray14", "full", test_data, frame.assign(path=frame["image_id"]), FINDINGS, given_split=lists
    )
    random, published = (make_split(table, name) for name in ("random-70-10-20", "official"))
    learned = TrainedOn.of(table, random.train)
    assert learned.patients == {"chestxray14": frozenset(table.select(random.train).frame["patient_id"])}
    seen = len(frozenset(random.train) & test)
    assert 0.6 < seen / len(test) < 0.8
    with pytest.raises(DataError, match=rf"trained on {seen:,} of the 25,596 images on the test side"):
        learned.check_unseen("densenet161-seed0", table, published.test, "test")
    learned.check_unseen("densenet161-seed0", table, random.test, "test")


def test_a_teacher_s_images_count_too():
    table = a_table()
    teacher = TrainedOn.of(table, ["001.png", "002.png"])
    student = TrainedOn.of(table, ["003.png"], teacher)
    assert student.images == {"chestxray14": frozenset({"001.png", "002.png", "003.png"})}
    with pytest.raises(
        DataError, match=r"student \(or its teacher\) was trained on 1 of the 2 images .* e\.g\. 002\.png"
    ):
        student.check_unseen("student", table, ["002.png", "004.png"], "test")


def test_chestmnist_and_chestxray14_are_the_same_radiographs():
    learned = TrainedOn.of(a_table("chestmnist"), ["001.png"])
    assert learned.patients == {}  # its file does not say whose image is whose
    with pytest.raises(DataError, match="trained on chestmnist, which holds the same radiographs as chestxray14"):
        learned.check_unseen("student", a_table(), ["001.png"], "test")
    learned.check_unseen("student", a_table("padchest"), ["001.png"], "test")


def test_an_own_image_is_recognised_by_its_file_under_another_id(tmp_path: Path):
    table = a_table("folder", "own", name="own data")
    mine, yours = (with_files(table, tmp_path / name, size) for name, size in (("a", 10), ("b", 11)))
    learned = TrainedOn.of(mine, ["001.png"])
    learned.check_unseen("student", yours, ["001.png"], "test")
    ids = mine.frame["image_id"].map(lambda image_id: f"exam {image_id}")
    renamed = replace(mine, frame=mine.frame.assign(image_id=ids), source={"name": "Ward 7"})
    with pytest.raises(DataError, match=r"trained on 1 of the 1 images .*001\.png \(10 bytes\)"):
        learned.check_unseen("student", renamed, ["exam 001.png"], "test")


def test_another_image_of_a_patient_in_a_part_of_the_data_set_is_refused():
    table = a_table(images_per_patient=2)  # 000.png and 001.png are of p0
    learned = TrainedOn.of(table, ["000.png", "004.png"])
    part = table.select(["001.png", "002.png", "003.png"])
    with pytest.raises(DataError, match=r"other images of 1 of the 2 patients on the test side, e\.g\. patient p0"):
        learned.check_unseen("student", part, ["001.png", "002.png"], "test")
    learned.check_unseen("student", part, ["002.png", "003.png"], "test")


def test_another_image_of_a_teacher_s_patient_is_refused():
    table = a_table(images_per_patient=2)
    student = TrainedOn.of(table, ["002.png"], TrainedOn.of(table, ["000.png"]))
    with pytest.raises(DataError, match="patient p0"):
        student.check_unseen("student", table, ["001.png"], "test")


def test_an_own_patient_is_recognised_by_data_set_name_and_id_and_stored_as_a_hash(tmp_path: Path):
    table = a_table("folder", "own", images_per_patient=2, name="Ward 7")
    mine, yours = (with_files(table, tmp_path / name, size) for name, size in (("a", 10), ("b", 11)))
    learned = TrainedOn.of(mine, ["000.png"])
    assert not any("p0" in name for name in learned.patients["folder"])
    with pytest.raises(DataError, match=r"patient p0.* give this data set a `name` of its own"):
        learned.check_unseen("student", yours, ["001.png"], "test")
    learned.check_unseen("student", replace(yours, source={"name": "Ward 8"}), ["001.png"], "test")


def test_the_same_id_of_other_phantoms_is_another_image():
    first, second = (a_table("phantom", "phantom", fingerprint=text) for text in ("a", "b"))
    TrainedOn.of(first, ["001.png"]).check_unseen("student", second, ["001.png"], "test")
    with pytest.raises(DataError, match="trained on 1 of the 1"):
        TrainedOn.of(first, ["001.png"]).check_unseen("student", replace(first), ["001.png"], "test")


NAMES = st.sets(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=1).map(frozenset)


@given(images=NAMES, patients=NAMES)
def test_the_card_gives_back_what_was_written(images: frozenset[str], patients: frozenset[str]):
    trained_on = TrainedOn({"chexpert": images}, {"chexpert": patients})
    assert TrainedOn.from_metadata(trained_on.to_metadata(), "model.safetensors") == trained_on


def test_the_card_of_all_of_chestxray14_stays_small(test_data: Path):
    frame = read_labels(test_data / "Data_Entry_2017_v2020.csv.gz")
    table = CxrTable("chestxray14", "full", test_data, frame.assign(path=frame["image_id"]), FINDINGS)
    card = TrainedOn.of(table, frame["image_id"]).to_metadata()
    sizes = {part: len(card[part]["chestxray14"]) for part in ("images", "patients")}
    assert sizes["images"] < 400_000  # 112,120 images
    assert sizes["patients"] < 120_000  # 30,805 patients


@pytest.mark.parametrize(
    "card",
    [
        None,
        {"chexpert": "eJyLVkpUigUABJYBow=="},  # as written before patients were recorded
        {"images": {"chexpert": "%%%"}, "patients": {}},
        {"images": {"chexpert": "aGVsbG8="}, "patients": {}},
        {"images": {"chexpert": 3}, "patients": {}},
        {"images": [], "patients": {}},
        ["chexpert"],
    ],
)
def test_unreadable_and_older_cards_are_refused(card: object):
    with pytest.raises(DataError, match=r"model\.safetensors: .*train it again"):
        TrainedOn.from_metadata(card, "model.safetensors")  # type: ignore[arg-type]


def test_whole_data_sets_travel_to_students_and_through_a_weights_file():
    teacher = TrainedOn({}, datasets=frozenset({"rsna-pneumonia", "our archive"}))
    student = TrainedOn.of(a_table("chexpert"), ["001.png"], teacher)
    stored = TrainedOn.from_metadata(student.to_metadata(), "here")
    assert stored == student
    assert stored.datasets == {"rsna-pneumonia", "our archive"}
    stored.check_unseen("student", a_table("padchest"), ["001.png"], "test")
    stored.check_unseen("student", a_table("folder", kind="own", name="another"), [], "test")
    for table, message in (
        (a_table("chestmnist"), "rsna-pneumonia, which holds the same radiographs as chestmnist: it cannot"),
        (a_table("folder", kind="own", name="our archive"), "that were trained on our archive: it cannot"),
    ):
        with pytest.raises(DataError, match=rf"student .or its teacher. comes from published weights .*{message}"):
            stored.check_unseen("student", table, [], "test")


def test_weights_files_without_whole_data_sets_stay_readable():
    metadata = TrainedOn.of(a_table(), ["001.png"]).to_metadata()
    del metadata["datasets"]
    assert TrainedOn.from_metadata(metadata, "here") == TrainedOn.of(a_table(), ["001.png"])
    with pytest.raises(DataError, match=r"here: .* unreadable"):
        TrainedOn.from_metadata({**metadata, "datasets": 3}, "here")

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_kd.data.readers.chestxray14 import FINDINGS, read_labels
from cxr_kd.data.splits import SIDES, Split, check_disjoint, make_split
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import SplitLists

PATIENTS = st.lists(st.integers(0, 40), min_size=60, max_size=120).filter(lambda numbers: len(set(numbers)) >= 20)


def a_table(patients: list[int], **given_split: frozenset[str]) -> CxrTable:
    ids = [f"{position:04d}" for position in range(len(patients))]
    frame = pd.DataFrame({"image_id": ids, "path": ids, "patient_id": [f"p{number}" for number in patients]})
    frame = frame.assign(view="PA", age=np.nan, sex="", Mass=0.0)
    return CxrTable("own", "mini", Path("here"), frame, ("Mass",), given_split=given_split)


def sides(split: Split) -> tuple[tuple[str, ...], ...]:
    return split.train, split.validation, split.test


@given(PATIENTS, st.integers(0, 2**32))
def test_a_random_split_puts_whole_patients_on_sides_in_the_stated_shares(patients: list[int], seed: int):
    table = a_table(patients)
    split = make_split(table, "random-70-10-20", seed=seed)
    patient_of = dict(zip(table.frame["image_id"], patients, strict=True))
    parts = [{patient_of[image_id] for image_id in side} for side in sides(split)]
    assert sorted(sum(sides(split), ())) == table.frame["image_id"].tolist()
    assert sum(map(len, parts)) == len(set(patients))  # no patient twice
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        assert abs(len(part) - share * len(set(patients))) <= 1


@given(PATIENTS, st.integers(0, 2**32))
def test_a_split_does_not_depend_on_the_order_of_rows(patients: list[int], seed: int):
    table = a_table(patients)
    assert make_split(table, "random-70-10-20", seed=seed) == make_split(
        table.select(table.frame["image_id"][::-1]), "random-70-10-20", seed=seed
    )


def test_another_seed_gives_another_split_and_hash():
    table = a_table([number // 2 for number in range(100)])
    hashes = {make_split(table, "random-70-10-20", seed=seed).sha256 for seed in range(5)}
    assert len(hashes) == 5


def test_the_hash_is_of_sorted_test_validation_and_training_ids():
    split = Split("any name", ("b", "a"), ("c",), ("d",))
    assert split.sha256 == hashlib.sha256(b'[["d"], ["c"], ["a", "b"]]').hexdigest()
    assert split.sha256 == Split("other", ("a", "b"), ("c",), ("d",)).sha256


def test_official_keeps_the_published_test_images_and_takes_validation_by_patient():
    patients = [number // 3 for number in range(90)]
    table = a_table(patients)
    ids = table.frame["image_id"]
    table = replace(table, given_split={"train_val": frozenset(ids[:60]), "test": frozenset(ids[60:])})
    split = make_split(table, "official", seed=3, validation_share=0.25)
    assert split.test == tuple(ids[60:])
    assert len(split.validation) == 15
    assert not make_split(table, "official", validation_share=0).validation


def test_a_patient_on_both_published_lists_is_named():
    table = a_table([number // 3 for number in range(90)])
    ids = table.frame["image_id"]
    leaking = replace(table, given_split={"train_val": frozenset(ids[:61]), "test": frozenset(ids[61:])})
    with pytest.raises(DataError, match=r"1 patients have images on two sides.*p20"):
        make_split(leaking, "official")


def test_an_image_on_no_published_list_or_on_both_is_named():
    table = a_table(list(range(30)))
    ids = table.frame["image_id"]
    lists = {"train_val": frozenset(ids[:20]), "test": frozenset(ids[19:29])}
    with pytest.raises(DataError, match=r"1 images are on two published lists \(0019\), 1 on none \(0029\)"):
        make_split(replace(table, given_split=lists), "official")


def test_splits_that_cannot_be_made_say_why():
    table = a_table([number // 2 for number in range(40)])
    with pytest.raises(DataError, match="no split named 'offical'; there are: official, random-70-10-20"):
        make_split(table, "offical")
    with pytest.raises(DataError, match="no published split"):
        make_split(table, "official")
    with pytest.raises(DataError, match="validation_share is 1"):
        make_split(table, "random-70-10-20", validation_share=1)
    with pytest.raises(DataError, match="leave none for the"):
        make_split(a_table([1, 2]), "random-70-10-20")


def test_json_round_trip_and_an_edited_file(tmp_path: Path):
    path = tmp_path / "split.json"
    split = make_split(a_table([number // 2 for number in range(100)]), "random-70-10-20")
    split.to_json(path)
    assert Split.from_json(path) == split
    assert [file.name for file in tmp_path.iterdir()] == ["split.json"]
    content = json.loads(path.read_text())
    content["train"].append(content["test"].pop())
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="do not give the stated SHA-256"):
        Split.from_json(path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"name": "x", "train": 1}', "\xff"])
def test_a_file_that_is_no_split_is_a_data_error(tmp_path: Path, content: str):
    path = tmp_path / "split.json"
    path.write_text(content)
    with pytest.raises(DataError, match=r"split\.json"):
        Split.from_json(path)
    with pytest.raises(DataError, match=r"split\.json"):
        Split.from_json(tmp_path / "absent" / "split.json")


def test_an_image_occurs_once_and_has_one_side():
    split = Split("own", ("a",), ("b",), ("c",))
    assert [split.side(image_id) for image_id in "abcd"] == [*SIDES, None]
    with pytest.raises(DataError, match="1 image ids occur twice"):
        Split("own", ("a",), ("b",), ("a",))


def test_check_disjoint_considers_only_images_of_the_split():
    table = a_table([1, 1, 2, 3])
    check_disjoint(table, Split("own", ("0000",), ("0002",), ("0003",)))
    with pytest.raises(DataError, match="p1"):
        check_disjoint(table, Split("own", ("0000",), ("0002",), ("0001",)))


def test_the_official_split_of_the_whole_data_set(test_data: Path):
    frame = read_labels(test_data / "Data_Entry_2017_v2020.csv.gz")
    test = frozenset(pd.read_csv(test_data / "official_test_images.csv.gz", header=None).iloc[:, 0])
    frame.insert(1, "path", frame["image_id"])
    given_split = {"test": test, "train_val": frozenset(frame["image_id"]) - test}
    table = CxrTable("chestxray14", "full", test_data, frame, FINDINGS, given_split=given_split)
    split = make_split(table, "official")
    patients = table.frame.set_index("image_id")["patient_id"]
    assert (len(split.train) + len(split.validation), len(split.test)) == (86_524, 25_596)
    assert patients[list(split.test)].nunique() == 2_797
    assert patients[list(split.train)].nunique() == 28_008 - 2_801
    assert patients[list(split.validation)].nunique() == 2_801  # a tenth of the patients


def write_lists(root: Path, **ids: str) -> SplitLists:
    for side, names in ids.items():
        (root / f"{side}.txt").write_text("".join(f"{name} 0 1 0\n" for name in names.split()))
    return SplitLists(train="train.txt", validation="validation.txt", test="test.txt")


def test_lists_of_the_user_are_used_unchanged(tmp_path: Path):
    table = replace(a_table([0, 0, 1, 2, 3]), root=tmp_path)
    split = make_split(table, "lists", lists=write_lists(tmp_path, train="0000 0001", validation="0002", test="0003"))
    assert sides(split) == (("0000", "0001"), ("0002",), ("0003",))
    assert split.side("0004") is None
    assert split.counts(table)["train"] == {"images": 2, "patients": 1}


@pytest.mark.parametrize(
    ("kind", "ids", "told"),
    [
        ("own", {"train": "0000 9999", "validation": "0002", "test": "0003"},
         r"train\.txt: 1 of its 2 images are in no row of the label table, e\.g\. '9999'"),
        ("mini", {"train": "0000", "validation": "8888 9999", "test": "0003"}, r"validation\.txt: 2 of its 2 images"),
        ("mini", {"train": "0000", "validation": "", "test": "0003"}, r"leave none for the validation side"),
        ("own", {"train": "0000", "validation": "0002 0001", "test": "0003"}, r"1 patients have images on two.*: p0"),
        ("own", {"train": "0000", "validation": "0000", "test": "0003"}, r"1 image ids occur twice"),
    ],
)  # fmt: skip
def test_contradictory_lists_are_refused(tmp_path: Path, kind: str, ids: dict[str, str], told: str):
    table = replace(a_table([0, 0, 1, 2]), root=tmp_path, kind=kind)
    with pytest.raises(DataError, match=told):
        make_split(table, "lists", lists=write_lists(tmp_path, **ids))


def test_lists_may_name_images_that_the_reader_left_out(tmp_path: Path):
    table = replace(a_table([0, 1, 2]), root=tmp_path, left_out_ids=frozenset({"9999"}))
    lists = write_lists(tmp_path, train="0000 9999", validation="0001", test="0002")
    assert make_split(table, "lists", lists=lists).train == ("0000",)


def test_ids_with_spaces_can_be_listed(tmp_path: Path):
    table = a_table([0, 1, 2])
    ids = ["A1", "A1 lateral", "A2"]
    table = replace(table, root=tmp_path, frame=table.frame.assign(image_id=ids))
    for side, image_id in zip(SIDES, ("A1 lateral", "A1", "A2"), strict=True):
        (tmp_path / f"{side}.txt").write_text(f"{image_id}\n")
    lists = SplitLists(train="train.txt", validation="validation.txt", test="test.txt")
    assert sides(make_split(table, "lists", lists=lists)) == (("A1 lateral",), ("A1",), ("A2",))


def test_a_published_validation_side_is_kept_as_it_is():
    table = a_table([0, 0, 1, 2], train=frozenset({"0000", "0001"}), validation=frozenset({"0002"}),
                    test=frozenset({"0003"}))  # fmt: skip
    assert sides(make_split(table, "official", seed=4)) == (("0000", "0001"), ("0002",), ("0003",))
    assert make_split(table, "medmnist-random-70-10-20").test == ("0003",)


def test_an_unreadable_file_changes_no_other_image_s_side():
    table = a_table([number // 2 for number in range(100)])
    split = make_split(table, "random-70-10-20")
    readable = [image_id for image_id in table.frame["image_id"] if image_id not in split.train[:3]]
    assert sides(split.only(readable)) == (split.train[3:], split.validation, split.test)
    with pytest.raises(DataError, match="the images that can be read leave none for the test side"):
        split.only(split.train + split.validation)

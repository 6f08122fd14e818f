import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_kd.data.images.archive import in_archive
from cxr_kd.data.table import CxrTable
from cxr_kd.errors import DataError


def a_table(count: int = 6) -> CxrTable:
    ids = [f"image{number}" for number in range(count)]
    frame = pd.DataFrame(
        {
            "image_id": ids,
            "path": [f"images/{name}.png" for name in ids],
            "patient_id": [f"p{number // 2}" for number in range(count)],
            "view": "PA",
            "age": [np.nan, *range(1, count)],
            "sex": "",
            "Mass": np.arange(count) % 2.0,
            "Edema": [np.nan] * count,
        }
    )
    boxes = pd.DataFrame(
        {"image_id": ["image3", "image1"], "finding": "Mass", "x": 0.1, "y": 0.2, "width": 0.9, "height": 0.5}
    )
    return CxrTable("own", "mini", Path("here"), frame, ("Mass", "Edema"), boxes)


def changed(**columns: object) -> CxrTable:
    table = a_table()
    return replace(table, frame=table.frame.assign(**columns))


def test_labels_are_in_the_order_of_the_findings_with_nan_for_unknown():
    labels = a_table().labels()
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels[:, 0], [0, 1, 0, 1, 0, 1])
    assert np.isnan(labels[:, 1]).all()


@given(st.lists(st.sampled_from([f"image{number}" for number in range(6)]), unique=True, min_size=1))
def test_select_keeps_the_given_order_and_the_rows_together(ids: list[str]):
    table = a_table()
    chosen = table.select(ids)
    assert chosen.frame["image_id"].tolist() == ids
    np.testing.assert_array_equal(chosen.labels(), table.labels()[table.positions(ids)])
    assert set(chosen.boxes["image_id"]) == {"image1", "image3"} & set(ids)


def test_select_names_unknown_ids():
    with pytest.raises(DataError, match=r"1 image ids are not in the table, .* 'nobody'"):
        a_table().select(["image1", "nobody"])


@pytest.mark.parametrize("path", ["/etc/x.png", "../x.png", "a/../../x.png", "a\\x.png", "C:/x.png", "", "a/.."])
def test_a_path_that_leaves_the_root_is_refused(path: str):
    with pytest.raises(DataError, match=r"column 'path' is not a relative posix path.*row 2"):
        changed(path=["a.png", "b.png", path, "c.png", "d.png", "e.png"])


def test_a_name_with_dots_is_not_a_way_out():
    assert len(changed(path=[f"..a/b..c/{number}...png" for number in range(6)])) == 6


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"image_id": ["a", "b", "a", "c", "d", "e"]},
            "'image_id' is on more than one row.*row 2: 'a'",
        ),
        ({"patient_id": ["", "b", "a", "c", "d", "e"]}, "'patient_id' is blank"),
        ({"patient_id": [1, 2, 3, 4, 5, 6]}, "'patient_id' is not text"),
        ({"sex": "male"}, "'sex' is none of"),
        ({"age": 412.0}, "'age' is not between 0 and 130"),
        ({"Mass": -1.0}, "'Mass' is none of 1, 0, NaN"),
        ({"Mass": 1}, "'Mass' is int64, not float"),
    ],
)
def test_a_value_that_breaks_the_contract_is_named_with_its_column(columns: dict[str, object], message: str):
    with pytest.raises(DataError, match=message):
        changed(**columns)


def test_missing_columns_findings_and_a_strange_index_are_refused():
    table = a_table()
    with pytest.raises(DataError, match="no column 'Hernia'"):
        replace(table, findings=("Mass", "Hernia"))
    with pytest.raises(DataError, match="each once"):
        replace(table, findings=("Mass", "Mass"))
    with pytest.raises(DataError, match="reset_index"):
        replace(table, frame=table.frame.iloc[::-1])
    with pytest.raises(DataError, match="kind"):
        replace(table, kind="real")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "columns", [{"x": 0.2}, {"width": 0.0}, {"y": np.nan}, {"finding": "Hernia"}, {"image_id": "nobody"}]
)
def test_boxes_lie_in_an_image_of_the_table(columns: dict[str, object]):
    table = a_table()
    with pytest.raises(DataError, match="2 boxes"):
        replace(table, boxes=table.boxes.assign(**columns))


def test_the_hash_follows_ids_paths_order_and_fingerprint_only():
    table = a_table()
    assert replace(table, frame=table.frame.assign(Mass=0.0)).files_sha256 == table.files_sha256
    others = (
        changed(path=[f"other/{number}.png" for number in range(6)]),
        table.select(table.frame["image_id"][::-1]),
        replace(table, source={"fingerprint": "seed 1"}),
    )
    assert len({table.files_sha256, *(other.files_sha256 for other in others)}) == 4


def test_findings_can_be_selected_in_any_order():
    table = a_table()
    assert table.with_findings(None) is table
    edema = table.with_findings(["Edema"])
    assert (edema.findings, len(edema.boxes), "Mass" in edema.frame) == (("Edema",), 0, False)
    assert table.with_findings(["Edema", "Mass"]).labels()[1, 1] == 1
    with pytest.raises(DataError, match=r"own has no finding 'mass'; it has: Mass, Edema"):
        table.with_findings(["mass"])


def test_an_image_in_an_archive(tmp_path: Path):
    assert in_archive("x/chestmnist_64.npz#train_images/17") == ("x/chestmnist_64.npz", "train_images", 17)
    assert [in_archive(path) for path in ("images/1.png", "a.npz", "a.npz#train", "a.png#train/1")] == [None] * 4
    (tmp_path / "a.npz").write_bytes(b"one")
    paths = [f"a.npz#images/{number}" for number in range(6)]
    before = replace(changed(path=paths), root=tmp_path).files_sha256
    (tmp_path / "a.npz").write_bytes(b"another")
    assert replace(changed(path=paths), root=tmp_path).files_sha256 != before


@pytest.mark.parametrize("linked", ["images/image3.png", "images"])
def test_symbolic_links_may_not_leave_the_root(tmp_path: Path, linked: str):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder in (root / "images", outside):
        folder.mkdir(parents=True)
    for path in a_table().frame["path"]:
        (root / path).write_bytes(b"")
    table = replace(a_table(), root=root)
    (root / "images/image5.png").unlink()
    os.symlink(root / "images/image4.png", root / "images/image5.png")
    table.check_links()  # a link within the root is allowed
    (root / linked).rename(outside / "moved")
    os.symlink(outside / "moved", root / linked)
    with pytest.raises(
        DataError, match=r"[16] images are reached by a symbolic link out .* row [03]: .*image[03]\.png"
    ):
        table.check_links()
    os.symlink(root, tmp_path / "name")  # the root itself may be a link
    (root / linked).unlink()
    (outside / "moved").rename(root / linked)
    replace(table, root=tmp_path / "name").check_links()


def test_a_file_that_was_written_again_is_another_file(tmp_path: Path):
    (tmp_path / "images").mkdir()
    for path in a_table().frame["path"]:
        (tmp_path / path).write_bytes(b"first")
    before = replace(a_table(), root=tmp_path).files_sha256
    assert replace(a_table(), root=tmp_path).files_sha256 == before
    (tmp_path / "images" / "image3.png").write_bytes(b"again")  # as long as before
    os.utime(tmp_path / "images" / "image3.png", ns=(0, 0))
    assert replace(a_table(), root=tmp_path).files_sha256 != before


@pytest.mark.parametrize("column", ["image_id", "path", "patient_id"])
@pytest.mark.parametrize("wrong", ["two\nlines", "nul\x00", "next\x85"])
def test_names_have_no_control_characters(column: str, wrong: str):
    with pytest.raises(DataError, match=rf"column '{column}' (has a line break or other|is not a relative posix path)"):
        changed(**{column: [wrong, *a_table().frame[column][1:]]})

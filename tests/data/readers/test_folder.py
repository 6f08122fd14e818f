import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_miniatures import FOLDER_FINDINGS, write_folder, write_image

from cxr_kd.data import read
from cxr_kd.data.readers import folder
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import DataSettings, FolderSettings

FINDINGS = ("Effusion", "Nodule")
HEADER = "path,patient_id,Effusion,Nodule"
ROWS = ("a/1.png,p1,1,0", "a/2.jpg,p1,0,", "b/3.dcm,p2,true,No")
FILES = ("a/1.png", "a/2.jpg", "b/3.dcm")


def write(root: Path, rows: Sequence[str] = ROWS, header: str = HEADER, files: Sequence[str] = FILES) -> Path:
    for name in files:
        write_image(root / name, np.zeros((8, 8), np.uint8))
    root.mkdir(exist_ok=True)
    (root / "labels.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root


def test_labels_as_people_write_them(tmp_path: Path):
    table = folder.read(write(tmp_path), FINDINGS)
    assert np.array_equal(table.labels(), [[1, 0], [0, np.nan], [1, 0]], equal_nan=True)
    assert (table.dataset, table.kind, table.findings, table.left_out) == ("folder", "own", FINDINGS, {})
    assert table.frame[["image_id", "path", "patient_id", "view", "sex"]].values.tolist() == [
        [name, name, patient, "", ""] for name, patient in zip(FILES, ("p1", "p1", "p2"), strict=True)
    ]


@pytest.mark.parametrize(("blank", "meaning"), [("zeros", 0), ("ignore", np.nan)])
def test_the_meaning_of_a_blank_is_a_setting_and_in_the_source(tmp_path: Path, blank, meaning: float):
    table = folder.read(write(tmp_path), FINDINGS, FolderSettings(blank=blank))
    assert table.labels()[1, 1] == pytest.approx(meaning, nan_ok=True)
    assert ("unknown" in table.source["blank labels"]) == (blank == "ignore")


def test_the_study_names_the_columns(tmp_path: Path):
    options = FolderSettings(
        name="Ward 7", table="tables/mine.csv", path="file", patient="person", image="exam", view="projection",
        age="years", sex="gender", source={"licence": "in house", "ethics": "vote 12/2024"},
    )  # fmt: skip
    write(tmp_path)
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "mine.csv").write_text(
        "exam;Nodule;gender;years;projection;person;file;notes\n"
        "e1;1;female;058Y;PA;7;a/1.png;x\n"
        "e2;0;M;412;LL;7;./a//2.jpg;\n"
        "e3;0;diverse;;;8;b/3.dcm;\n"
    )
    settings = DataSettings(dataset="folder", findings=("Nodule",), folder=options)
    table = read(settings, tmp_path)
    assert table.frame["image_id"].tolist() == ["e1", "e2", "e3"]
    assert table.frame["path"].tolist() == list(FILES)
    assert table.frame[["patient_id", "view", "sex"]].values.tolist() == [
        ["7", "PA", "F"],
        ["7", "LL", "M"],
        ["8", "", ""],
    ]
    assert table.frame["age"].tolist() == pytest.approx([58, np.nan, np.nan], nan_ok=True)
    assert table.left_out == {
        "ages that are none (blank, over 120), taken as unknown": 2,
        "sexes that are neither male nor female, taken as unknown": 1,
    }
    assert table.source["name"] == "Ward 7"
    assert (table.source["licence"], table.source["ethics"]) == ("in house", "vote 12/2024")


def test_missing_and_unnamed_files_are_counted(tmp_path: Path):
    write(tmp_path, files=[*FILES[:2], "b/4.png", "c/d/5.JPEG", "c/notes.txt.png"])
    (tmp_path / "notes.txt").touch()
    table = folder.read(tmp_path, FINDINGS)
    assert table.frame["path"].tolist() == list(FILES[:2])
    assert table.left_out == {"rows whose image file is not there": 1, "image files that no row names": 3}
    assert len(folder.read(tmp_path, FINDINGS, images=False)) == 3


def test_an_image_of_an_archive_is_an_image(tmp_path: Path):
    np.savez(write(tmp_path) / "more.npz", images=np.zeros((2, 8, 8), np.uint8))
    write(tmp_path, [*ROWS, "more.npz#images/1,p3,1,1", "less.npz#images/1,p3,1,1"])
    table = folder.read(tmp_path, FINDINGS)
    assert (table.frame["path"].iloc[-1], len(table)) == ("more.npz#images/1", 4)


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("a/4.png,p1,1,2", r"line 5, column 'Nodule': '2' is none of 1, 1\.0, true, yes, 0, 0\.0, false, no, or blank"),
        ("a/4.png,p1,-1,0", r"line 5, column 'Effusion': '-1' is none of"),
        ("a/4.png,p1,NA,0", r"line 5, column 'Effusion': 'NA' is none of"),
        ("a/4.png,,1,0", r"line 5, column 'patient_id': '' is blank; without patients"),
        ("../4.png,p1,1,0", r"line 5, column 'path': '\.\./4\.png' is not a path inside"),
        ("/etc/hosts,p1,1,0", r"line 5, column 'path': '/etc/hosts' is not a path inside"),
        ("C:/4.png,p1,1,0", r"line 5, column 'path': 'C:/4\.png' is not a path inside"),
        (r"a\4.png,p1,1,0", r"line 5, column 'path': 'a\\\\4\.png' is not a path inside"),
        (",p1,1,0", r"line 5, column 'path': '' is not a path inside"),
        ("a/1.png,p1,1,0", r"line 5, column 'path': 'a/1\.png' is on line 2 already"),
        ("./a//1.png,p1,1,0", r"line 5, column 'path': 'a/1\.png' is on line 2 already"),
        ("a/4.png,p1,1", r"line 5: 3 fields, but the header has 4"),
    ],
)
def test_an_invalid_row_is_named(tmp_path: Path, row: str, why: str):
    with pytest.raises(DataError, match=rf"labels\.csv, {why}"):
        folder.read(write(tmp_path, [*ROWS, row]), FINDINGS)


def test_image_ids_must_exist_and_differ(tmp_path: Path):
    options, header = FolderSettings(image="id"), f"id,{HEADER}"
    with pytest.raises(DataError, match=r"line 3, column 'id': 'x' is on line 2 already"):
        folder.read(write(tmp_path, [f"x,{row}" for row in ROWS], header), FINDINGS, options)
    with pytest.raises(DataError, match=r"line 2, column 'id': '' is blank; each image needs an id"):
        folder.read(write(tmp_path, [f",{ROWS[0]}"], header), FINDINGS, options)


def test_findings_are_columns_that_the_study_names(tmp_path: Path):
    with pytest.raises(DataError, match=r"no column 'Mass'; the columns are path, patient_id, Effusion, Nodule"):
        folder.read(write(tmp_path), [*FINDINGS, "Mass"])
    for findings in (None, (), ("Nodule", "path"), ("image_id",)):
        with pytest.raises(DataError, match=r"name the columns of labels\.csv that are findings"):
            folder.read(tmp_path, findings)


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path):
    root = write(tmp_path / "data", files=FILES[:2])
    write_image(tmp_path / "3.dcm", np.zeros((8, 8), np.uint8))
    (root / "b").mkdir()
    (root / "b" / "3.dcm").symlink_to(tmp_path / "3.dcm")
    with pytest.raises(DataError, match=r"line 4, column 'path': 'b/3\.dcm' is reached by a symbolic link out"):
        read(DataSettings(dataset="folder", findings=FINDINGS), root)


def test_absent_data_says_what_to_put_where_with_an_example_that_works(tmp_path: Path):
    with pytest.raises(DataError, match=r"no labels\.csv\. Put there the images, in any folders") as caught:
        folder.read(tmp_path, FINDINGS)
    example = str(caught.value).split("\n", 1)[1]
    (tmp_path / "labels.csv").write_text(example)
    with pytest.raises(DataError, match=r"no image of the 2 rows of labels\.csv\. Put there"):
        folder.read(tmp_path, FINDINGS)
    for name in ("images/0001.png", "images/0002.dcm"):
        write_image(tmp_path / name, np.zeros((8, 8), np.uint8))
    assert np.array_equal(folder.read(tmp_path, FINDINGS).labels(), [[1, np.nan], [0, np.nan]], equal_nan=True)


CELLS = st.sampled_from(
    ["", "1", "0", "yes", "p1", "a/1.png", "..", ".", "a.npz#b/1", '"', ";", "\t", "412", "\x00", "é"]
)
LINES = st.lists(st.lists(CELLS | st.text(max_size=5), max_size=8).map(",".join), max_size=5).map("\n".join)


@given(
    content=st.binary(max_size=200)
    | st.text(max_size=200).map(str.encode)
    | LINES.map(lambda lines: f"{HEADER},years,sex,id\n{lines}".encode(errors="replace"))
)
def test_any_content_is_a_table_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    root = tmp_path_factory.mktemp("fuzz")
    write_image(root / "a" / "1.png", np.zeros((8, 8), np.uint8))
    (root / "labels.csv").write_bytes(content)
    for options in (None, FolderSettings(image="id", age="years", sex="sex", view="sex", blank="zeros")):
        for images in (True, False):
            with contextlib.suppress(DataError):
                folder.read(root, FINDINGS, options, images=images)


def test_the_miniature_is_read_whole(tmp_path: Path):
    root = write_folder(tmp_path)
    options = FolderSettings(view="view", age="age", sex="sex")
    table = folder.read(root, FOLDER_FINDINGS, options)
    assert (len(table), table.frame["patient_id"].nunique(), table.left_out) == (120, 60, {})
    assert {Path(path).suffix for path in table.frame["path"]} == {".png", ".jpg", ".dcm"}
    assert np.isnan(table.labels()).any()

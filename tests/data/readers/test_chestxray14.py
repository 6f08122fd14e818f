import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cxr_kd.data import read
from cxr_kd.data.readers import chestxray14
from cxr_kd.data.readers.chestxray14 import FINDINGS, IMAGES, PATIENTS, POSITIVES, read_labels
from cxr_kd.data.splits import make_split
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import DataSettings

CHESTXRAY14 = DataSettings(dataset="chestxray14")

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = (
    "00000001_000.png,Cardiomegaly|Emphysema,0,1,57,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,No Finding,1,1,58,M,AP,2682,2749,0.143,0.143",
    "00000002_000.png,Pleural_Thickening,0,2,412,F,PA,2682,2749,0.143,0.143",
)
NAMES = tuple(row.split(",")[0] for row in ROWS)


def write(root: Path, rows: Sequence[str] = ROWS, folder: str = "images", names: Sequence[str] = NAMES) -> Path:
    """Write the data set's layout, with black 8 px images."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    for name in names:
        Image.new("L", (8, 8)).save(root / folder / name)
    return root


def test_labels_by_whole_name_and_no_finding_is_all_zeros(tmp_path: Path):
    table = read(CHESTXRAY14, write(tmp_path))
    positives = [[name for name in FINDINGS if row[name] == 1] for _, row in table.frame.iterrows()]
    assert positives == [["Cardiomegaly", "Emphysema"], [], ["Pleural_Thickening"]]
    assert not np.isnan(table.labels()).any()
    assert table.frame[["image_id", "path", "patient_id", "view", "sex"]].iloc[1].tolist() == [
        "00000001_001.png", "images/00000001_001.png", "1", "AP", "M",
    ]  # fmt: skip
    assert (table.dataset, table.kind) == ("chestxray14", "mini")


def test_numbered_folders_and_a_flat_one_give_equal_tables(tmp_path: Path):
    write(tmp_path / "flat")
    write(tmp_path / "numbered", folder="images_001/images", names=NAMES[:2])
    write(tmp_path / "numbered", folder="images_012/images", names=NAMES[2:])
    flat, numbered = (read(CHESTXRAY14, tmp_path / name) for name in ("flat", "numbered"))
    assert numbered.frame["path"].iloc[2] == "images_012/images/00000002_000.png"
    assert numbered.frame.drop(columns="path").equals(flat.frame.drop(columns="path"))


def test_left_out_rows_and_files_are_counted_by_reason(tmp_path: Path):
    write(tmp_path, names=[*NAMES[1:], "00000009_000.png"])
    (tmp_path / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000002_000.png,Infiltrate,512,256,128,64,,,\n"
        "00000001_000.png,Mass,1,1,1,1,,,\n"
    )
    table = read(CHESTXRAY14, tmp_path)
    assert table.frame["image_id"].tolist() == list(NAMES[1:])
    assert table.left_out == {
        "rows whose image file is not there": 1,
        "image files that no row names": 1,
        "boxes of images that are not there": 1,
        "ages that are none (blank, over 120), taken as unknown": 1,
    }
    assert table.boxes.values.tolist() == [["00000002_000.png", "Infiltration", 0.5, 0.25, 0.125, 0.0625]]


@pytest.mark.parametrize(
    ("written", "years"),
    [("57", 57), ("058Y", 58), ("006M", 0.5), ("000D", 0), ("412", np.nan), ("", np.nan), ("-3", np.nan)],
)
def test_ages_in_years(tmp_path: Path, written: str, years: float):
    table = read(CHESTXRAY14, write(tmp_path, [ROWS[0].replace(",57,", f",{written},")]))
    assert table.frame["age"].iloc[0] == pytest.approx(years, nan_ok=True)


def test_the_first_edition_s_table_and_a_byte_order_mark_are_read(tmp_path: Path):
    (write(tmp_path) / "Data_Entry_2017_v2020.csv").unlink()
    (tmp_path / "Data_Entry_2017.csv").write_text(f"{HEADER},\n{ROWS[0]},\n", encoding="utf-8-sig")
    assert read(CHESTXRAY14, tmp_path).frame["image_id"].tolist() == [NAMES[0]]


@pytest.mark.parametrize("labels", ["Pleural", "cardiomegaly", "", "Mass|", "No Finding|Mass", "Mass;Nodule"])
def test_an_unknown_finding_is_named_with_file_line_and_column(tmp_path: Path, labels: str):
    write(tmp_path, [ROWS[0], ROWS[1].replace("No Finding", labels)])
    with pytest.raises(DataError, match=r"Data_Entry_2017_v2020\.csv, line 3, column 'Finding Labels'.*Hernia"):
        read(CHESTXRAY14, tmp_path)


def test_rows_twice_and_a_missing_column_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"line 5, column 'Image Index': '00000001_000\.png' is on line 2 already"):
        read(CHESTXRAY14, write(tmp_path, [*ROWS, ROWS[0]]))
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(HEADER.replace("Patient ID", "Patient"))
    with pytest.raises(DataError, match=r"no column 'Patient ID'; the columns are Image Index, "):
        read(CHESTXRAY14, tmp_path)


def test_absent_data_says_what_to_put_where(tmp_path: Path):
    with pytest.raises(DataError, match=r"no image and no label table of ChestX-ray14\. Put there.*images_012"):
        read(CHESTXRAY14, tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no image of the label table of ChestX-ray14\. Put"):
        read(CHESTXRAY14, write(tmp_path, names=()))
    with pytest.raises(DataError, match=r"no image of the label table of ChestX-ray14\. Put"):
        read(CHESTXRAY14, write(tmp_path, names=["00000009_000.png"]))


def test_one_list_without_the_other_is_refused(tmp_path: Path):
    (write(tmp_path) / "test_list.txt").write_text(NAMES[0])
    with pytest.raises(DataError, match=r"only test_list\.txt is there; put both"):
        read(CHESTXRAY14, tmp_path)


@pytest.mark.parametrize("row", ["x.png,Mass,1,2,3", "x.png,Mass,1,2,3,four", "x.png,Masses,1,2,3,4"])
def test_a_box_that_cannot_be_read_is_named_with_its_line(tmp_path: Path, row: str):
    (write(tmp_path) / "BBox_List_2017.csv").write_text(f"Image Index,Finding Label,Bbox [x,y,w,h],,,\n{row}\n")
    with pytest.raises(DataError, match=r"BBox_List_2017\.csv(, line 2|: not readable as a table)"):
        read(CHESTXRAY14, tmp_path)


@given(content=st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"{HEADER}\n{text}".encode()))
def test_any_content_is_a_table_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    root = tmp_path_factory.mktemp("fuzz")
    for name in ("Data_Entry_2017_v2020.csv", "BBox_List_2017.csv"):
        write(root)
        (root / name).write_bytes(content)
        with contextlib.suppress(DataError):
            assert len(chestxray14.read(root)) > 0
        (root / name).unlink()


def test_the_published_counts_hold_on_the_whole_label_table(test_data: Path):
    frame = read_labels(test_data / "Data_Entry_2017_v2020.csv.gz")
    labels = frame[list(FINDINGS)].to_numpy()
    assert (len(frame), frame["patient_id"].nunique()) == (IMAGES, PATIENTS)
    assert dict(zip(FINDINGS, labels.sum(0).astype(int).tolist(), strict=True)) == POSITIVES
    assert ((labels.sum(1) == 0).sum(), (labels.sum(1) >= 2).sum()) == (60_361, 20_796)
    assert frame["view"].value_counts().to_dict() == {"PA": 67_310, "AP": 44_810}
    assert frame["sex"].value_counts().to_dict() == {"M": 63_340, "F": 48_780}
    assert frame["age"].notna().all()  # the 2020 edition has no impossible age left


def test_the_boxes_of_the_whole_data_set(test_data: Path):
    frame = read_labels(test_data / "Data_Entry_2017_v2020.csv.gz")
    boxes, left_out = chestxray14.read_boxes(test_data / "chestxray14-mini" / "BBox_List_2017.csv", frame["image_id"])
    assert (len(boxes), boxes["image_id"].nunique(), boxes["finding"].nunique(), left_out) == (984, 880, 8, 0)
    assert "Infiltration" in set(boxes["finding"])
    assert (boxes["x"] + boxes["width"]).max() < 1
    assert (boxes["y"] + boxes["height"]).max() < 1


def test_the_real_miniature(test_data: Path):
    table = read(CHESTXRAY14, test_data / "chestxray14-mini")
    labels = table.labels()
    assert (len(table), table.frame["patient_id"].nunique(), table.kind) == (1000, 264, "mini")
    assert (labels.sum(1) >= 2).sum() == 213
    assert (labels[:, FINDINGS.index("Hernia")].sum(), labels[:, FINDINGS.index("Pneumonia")].sum()) == (9, 11)
    split = make_split(table, "official")
    assert (len(split.train) + len(split.validation), len(split.test)) == (690, 310)


def test_the_real_boxes_are_fractions_of_the_published_frame(test_data: Path):
    table = read(CHESTXRAY14, test_data / "chestxray14-boxed224")
    assert (len(table), len(table.boxes)) == (39, 15)
    box = table.boxes.iloc[0]
    published = (test_data / "chestxray14-boxed224" / "BBox_List_2017.csv").read_text().splitlines()
    written = next(line for line in published if line.startswith(box["image_id"])).split(",")
    assert box["finding"] == written[1]
    assert box[["x", "y", "width", "height"]].tolist() == pytest.approx([float(value) / 1024 for value in written[2:6]])

import contextlib
import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniatures import PADCHEST_COLUMNS, PADCHEST_TABLE, REPORT, write_padchest
from PIL import Image

from cxr_kd.data import read
from cxr_kd.data.readers import padchest
from cxr_kd.data.readers.padchest import FINDINGS
from cxr_kd.data.readers.padchest_files import UNREADABLE
from cxr_kd.data.readers.padchest_labels import parse_labels
from cxr_kd.data.splits import make_split
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import DataSettings, PadchestSettings

FIRST, SECOND, THIRD = (f"21684011136696401328192070611120103071426010{number}_02-014-084.png" for number in (1, 2, 3))
AGES = "ages that are none (blank, over 120), taken as unknown"


def row(name: str, labels: str = "['pneumonia']", **fields: object) -> dict[str, object]:
    """Return one row as published: the report has commas, quotation marks and a line break."""
    usual = {
        "": 7,
        "ImageID": name,
        "ImageDir": 3,
        "StudyDate_DICOM": 20131223,
        "StudyID": "216840111366964012819207061112010307142602251",
        "PatientID": "84313642931634190",
        "PatientBirth": "1967.0",
        "PatientSex_DICOM": "F",
        "Projection": "PA",
        "Pediatric": "No",
        "Report": REPORT,
        "MethodLabel": "Physician",
        "Labels": labels,
    }
    return usual | fields


def write(root: Path, rows: Sequence[dict[str, object]], folder: str = "", names: Sequence[str] | None = None) -> Path:
    """Write the label table, and black 16-bit 8 px images for its rows (or with these names) into a folder."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    with (root / PADCHEST_TABLE).open("w", newline="") as file:
        writer = csv.DictWriter(file, PADCHEST_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    for name in names if names is not None else [str(one["ImageID"]) for one in rows]:
        Image.fromarray(np.zeros((8, 8), np.uint16)).save(root / folder / name)
    return root


def positives(root: Path, findings: Sequence[str] | None = None, **options: object) -> list[list[str]]:
    """Return the positive findings of each row that is read."""
    table = padchest.read(root, findings, PadchestSettings(**options))
    return [[name for name in table.findings if one[name] == 1] for _, one in table.frame.iterrows()]


def test_a_row_is_read_despite_its_report(tmp_path: Path):
    table = padchest.read(write(tmp_path, [row(FIRST, Pediatric="PED")]))
    columns = ["image_id", "path", "patient_id", "view", "age", "sex", "exam", "labelled_by", "pediatric"]
    assert table.frame[columns].iloc[0].tolist() == [
        FIRST, FIRST, "84313642931634190", "PA", 46, "F", "216840111366964012819207061112010307142602251",
        "Physician", True,
    ]  # fmt: skip
    assert (table.dataset, table.kind, table.findings, table.given_split) == ("padchest", "mini", FINDINGS, {})
    assert not np.isnan(table.labels()).any()


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("['pneumonia ', '', ' emphysema']", {"pneumonia", "emphysema"}),
        ("['COPD signs', 'NSG  tube']", {"copd signs", "nsg tube"}),
        ('["Chilaiditi sign"]', {"chilaiditi sign"}),
        ("['']", set()),
        ("[]", set()),
        ("nan", set()),
        ("", set()),
    ],
)
def test_written_lists_are_parsed_with_their_stray_spaces_and_empty_entries(written: str, labels: set[str]):
    assert parse_labels(written) == labels


def test_nodule_is_not_pseudonodule(tmp_path: Path):
    root = write(
        tmp_path, [row(FIRST, "['pseudonodule']"), row(SECOND, "['nodule ']"), row(THIRD, "['pseudo nodule']")]
    )
    assert positives(root, ["nodule"]) == [[], ["nodule"], []]


def test_emphysema_is_not_subcutaneous_emphysema(tmp_path: Path):
    root = write(tmp_path, [row(FIRST, "['subcutaneous emphysema', 'normal']"), row(SECOND, "[' emphysema']")])
    assert positives(root) == [[], ["emphysema"]]


def test_a_label_does_not_count_as_those_above_it_in_the_tree(tmp_path: Path):
    assert positives(write(tmp_path, [row(FIRST, "['atypical pneumonia', 'copd signs']")])) == [
        ["atypical pneumonia", "COPD signs"]
    ]


def test_findings_that_no_row_has_are_zeros_and_unknown_ones_are_refused(tmp_path: Path):
    root = write(tmp_path, [row(FIRST, "['pleural effusion', 'cardiomegaly']")])
    assert positives(root, ["bone metastasis", "cardiomegaly"]) == [["cardiomegaly"]]
    with pytest.raises(DataError, match=r"unknown finding 'pleural efusion'; similar ones: 'pleural effusion'"):
        padchest.read(root, ["pleural efusion"])
    with pytest.raises(DataError, match=r"unknown finding 'xyz'; there are: .*'cardiomegaly'"):
        padchest.read(root, ["xyz"])


def test_left_out_rows_are_counted_under_the_first_reason_that_holds(tmp_path: Path):
    unreadable = next(iter(UNREADABLE))
    labels = ["nan", "['']", "['exclude', 'unchanged']", "['pneumonia', 'unchanged ']", "['Suboptimal  study']"]
    rows = [row(f"{number}.png", one) for number, one in enumerate(labels)]
    rows += [row("l.png", Projection="L"), row("rnn.png", MethodLabel="RNN_model"), row(unreadable), row("gone.png")]
    rows += [row(FIRST, PatientBirth=""), row(FIRST, PatientBirth="")]
    write(tmp_path, rows, names=[*(str(one["ImageID"]) for one in rows if one["ImageID"] != "gone.png"), "alone.png"])
    table = padchest.read(tmp_path, options=PadchestSettings(labelled_by="physician"))
    assert table.frame["image_id"].tolist() == [FIRST]
    assert table.left_out == {
        "rows that repeat an earlier one": 1,
        AGES: 1,
        "image files that no row names": 1,
        "rows without a label": 2,
        "labelled exclude (no usable report or image)": 1,
        "labelled suboptimal study": 1,
        "labelled unchanged (the findings are in an earlier report)": 1,
        "projections other than PA, AP, AP_horizontal": 1,
        "reports labelled by the network": 1,
        "image files known to be unreadable as published": 1,
        "rows whose image file is not there": 1,
    }
    everything = padchest.read(tmp_path, images=False)
    assert (len(everything), everything.left_out) == (10, {"rows that repeat an earlier one": 1, AGES: 1})
    assert np.isnan(everything.labels()[:2]).all()
    assert not np.isnan(everything.labels()[2:]).any()


def test_labels_of_the_network_and_children_are_read_and_counted(tmp_path: Path):
    table = padchest.read(write(tmp_path, [row(FIRST), row(SECOND, MethodLabel="RNN_model", Pediatric="PED")]))
    assert table.source["labelled by"].startswith("physicians: 1 of 2 images")
    assert table.source["children"].startswith("1 of 2 images")


@pytest.mark.parametrize("folder", ["", "images", "3", "images/3", "54"])
def test_images_can_be_in_the_root_or_in_numbered_folders(tmp_path: Path, folder: str):
    table = padchest.read(write(tmp_path, [row(FIRST)], folder))
    assert table.frame["path"].tolist() == [f"{folder}/{FIRST}" if folder else FIRST]


def test_the_table_may_be_compressed(tmp_path: Path):
    table = write(tmp_path, [row(FIRST)]) / PADCHEST_TABLE
    with gzip.open(tmp_path / f"{PADCHEST_TABLE}.gz", "wb") as packed:
        packed.write(table.read_bytes())
    table.unlink()
    assert len(padchest.read(tmp_path)) == 1


def test_without_images_paths_are_those_of_the_archives(tmp_path: Path):
    table = padchest.read(write(tmp_path, [row(FIRST, ImageDir="13.0"), row(SECOND)], names=()), images=False)
    assert table.frame["path"].tolist() == [f"13/{FIRST}", f"3/{SECOND}"]


@pytest.mark.parametrize(
    ("exam", "birth", "age"),
    [("20131223", "1967", 46), ("20131223.0", "1967.0", 46), ("20131223", "", np.nan), ("", "1967", np.nan),
     ("20131223", "2014", np.nan), ("20131223", "1890", np.nan), ("23-12-2013", "1967", np.nan)],
)  # fmt: skip
def test_age_is_the_year_of_the_exam_less_that_of_birth(tmp_path: Path, exam: str, birth: str, age: float):
    table = padchest.read(write(tmp_path, [row(FIRST, StudyDate_DICOM=exam, PatientBirth=birth)]))
    assert table.frame["age"].iloc[0] == pytest.approx(age, nan_ok=True)


def test_projections_are_those_of_the_study(tmp_path: Path):
    root = write(tmp_path, [row(FIRST), row(SECOND, Projection="COSTAL"), row(THIRD, Projection="OBLIQUE")])
    table = padchest.read(root, options=PadchestSettings(projections=("COSTAL", "OBLIQUE")))
    assert table.frame["view"].tolist() == ["COSTAL", "OBLIQUE"]
    with pytest.raises(DataError, match=r"unknown projection 'AP_horizontl'; similar ones: 'AP_horizontal'"):
        padchest.read(root, options=PadchestSettings(projections=("AP_horizontl",)))
    with pytest.raises(DataError, match=r"unknown projection 'pa'; there are: .*'OBLIQUE', 'PA'"):
        padchest.read(root, options=PadchestSettings(projections=("pa",)))


@pytest.mark.parametrize(
    "written",
    ["pneumonia", "['pneumonia'", "[pneumonia]", "['pneumonia', nan]", "('pneumonia',)", "{'pneumonia'}", "[1]",
     "[['pneumonia']]", "__import__('os')", "[" * 3000],
)  # fmt: skip
def test_labels_that_are_no_list_are_named_with_file_line_and_column(tmp_path: Path, written: str):
    write(tmp_path, [row(FIRST), row(SECOND, written)])
    with pytest.raises(DataError, match=rf"{PADCHEST_TABLE}, line 5, column 'Labels': .* is not a written list"):
        padchest.read(tmp_path)


@pytest.mark.parametrize(
    ("column", "value"),
    [("ImageID", "../x.png"), ("ImageID", ""), ("ImageID", ".."), ("PatientID", ""), ("ImageDir", "../0")],
)
def test_an_invalid_value_is_named_with_file_line_and_column(tmp_path: Path, column: str, value: str):
    write(tmp_path, [row(FIRST), row(SECOND) | {column: value}], names=[FIRST])
    with pytest.raises(DataError, match=rf"{PADCHEST_TABLE}, line 5, column '{column}'"):
        padchest.read(tmp_path)


def test_two_different_rows_of_an_image_are_refused(tmp_path: Path):
    with pytest.raises(DataError, match=r"line 5, column 'ImageID'.*is on line 3 already"):
        padchest.read(write(tmp_path, [row(FIRST), row(FIRST, "['normal']")]))


@pytest.mark.parametrize("column", ["Labels", "PatientID", "Projection"])
def test_a_missing_column_is_named(tmp_path: Path, column: str):
    table = write(tmp_path, [row(FIRST)]) / PADCHEST_TABLE
    table.write_text(table.read_text().replace(f",{column},", ",Other,", 1))
    with pytest.raises(DataError, match=f"{PADCHEST_TABLE}: no column '{column}'"):
        padchest.read(tmp_path)


def test_absent_data_says_what_to_put_where(tmp_path: Path):
    with pytest.raises(DataError, match=r"no image and no label table of PadChest\. Put there.*0/ \.\.\. 54/"):
        padchest.read(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no image of the label table of PadChest\. Put"):
        padchest.read(write(tmp_path, [row(FIRST)], names=()))
    with pytest.raises(DataError, match=r"no image of the label table of PadChest\. Put"):
        padchest.read(write(tmp_path, [row(FIRST)], names=["other.png"]))


def test_a_study_that_leaves_no_row_gets_the_reasons(tmp_path: Path):
    write(tmp_path, [row(FIRST, Projection="L"), row(SECOND, "['exclude']")])
    with pytest.raises(DataError, match=r"no row can be used.*labelled exclude.*: 1.*projections other than PA.*: 1"):
        padchest.read(tmp_path)


def test_the_miniature_reads_like_the_real_thing(tmp_path: Path):
    settings = DataSettings(dataset="padchest", findings=("pneumonia", "emphysema", "pulmonary edema"))
    table = read(settings, write_padchest(tmp_path))
    assert len(table) > 100
    assert set(table.frame["view"]) == {"PA", "AP_horizontal"}
    assert set(table.frame["path"].str.split("/").str[0]) == {"0", "1", "54"}
    with Image.open(tmp_path / table.frame["path"].iloc[0]) as image:
        assert image.mode == "I;16"
    split = make_split(table, "random-70-10-20")
    for side in (split.train, split.validation, split.test):
        assert (table.select(side).labels().sum(axis=0) > 0).all()


@given(content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_content_is_a_table_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, content: bytes):
    root = tmp_path_factory.mktemp("fuzz")
    (root / PADCHEST_TABLE).write_bytes(content)
    with contextlib.suppress(DataError):
        assert padchest.read(root, images=False).findings == FINDINGS


WRITTEN = st.text(max_size=60) | st.lists(st.none() | st.text(max_size=9) | st.integers(), max_size=4).map(str)


@given(written=WRITTEN | st.text("[]()'\"\\,{}-x0 \n", max_size=60))
def test_any_text_is_labels_or_none(written: str):
    labels = parse_labels(written)
    assert labels is None or all(label and label == label.strip() for label in labels)


@given(fields=st.lists(WRITTEN | st.sampled_from(["PA", "3", FIRST, "['pneumonia']"]), min_size=11, max_size=11))
def test_any_row_is_read_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, fields: list[str]):
    columns = ("ImageID", "ImageDir", "StudyDate_DICOM", "StudyID", "PatientID", "PatientBirth", "PatientSex_DICOM",
               "Projection", "Pediatric", "MethodLabel", "Labels")  # fmt: skip
    rows = [row(FIRST), row(SECOND) | dict(zip(columns, fields, strict=True))]
    root = write(tmp_path_factory.mktemp("fuzz"), rows, names=())
    with contextlib.suppress(DataError):
        assert padchest.read(root, images=False).frame["image_id"].iloc[0] == FIRST


@pytest.mark.parametrize("finding", ["Pneumonia", "pneumonia ", "copd signs"])
def test_a_finding_has_one_spelling(tmp_path: Path, finding: str):
    with pytest.raises(DataError, match=r"unknown finding '(Pneumonia|pneumonia |copd signs)'; similar ones: "):
        padchest.read(write_padchest(tmp_path), [finding])

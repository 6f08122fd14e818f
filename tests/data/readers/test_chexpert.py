import contextlib
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniatures import CHEXPERT_COLUMNS, write_chexpert
from PIL import Image

from cxr_kd.data import read
from cxr_kd.data.readers import chexpert
from cxr_kd.data.readers.chexpert import FINDINGS, PUBLISHED, PUBLISHED_WITH_TEST
from cxr_kd.data.splits import make_split
from cxr_kd.errors import DataError
from cxr_kd.study.data_settings import ChexpertSettings, DataSettings

PREFIX = "CheXpert-v1.0-small"
FRONTAL = "train/patient00001/study1/view1_frontal.jpg"
LATERAL = "train/patient00001/study1/view2_lateral.jpg"
OTHER = "train/patient00002/study5/view1_frontal.jpg"
VALID = "valid/patient64541/study1/view1_frontal.jpg"


def row(path: str, view: str = "AP", about: str = "Female,68", **labels: str) -> dict[str, str]:
    """Return one row as published; labels not given as keywords (`Pleural_Effusion="1.0"`) are blank."""
    sex, age = about.split(",")
    kind = "Lateral" if "lateral" in path else "Frontal"
    said = {name.replace("_", " "): value for name, value in labels.items()}
    return {"Path": f"{PREFIX}/{path}", "Sex": sex, "Age": age, "Frontal/Lateral": kind, "AP/PA": view, **said}


TRAIN = (
    row(FRONTAL, Edema="1.0", Pneumonia="-1.0", Atelectasis="-1.0", Fracture="0.0"),
    row(LATERAL, view="", Edema="1.0", Pneumonia="-1.0", Atelectasis="-1.0", Fracture="0.0"),
    row(OTHER, view="PA", about="Male,90", No_Finding="1.0"),
)


def write(
    root: Path,
    train: Sequence[dict[str, str]] = TRAIN,
    valid: Sequence[dict[str, str]] = (),
    test: Sequence[dict[str, str]] = (),
    columns: Sequence[str] = CHEXPERT_COLUMNS,
    images: bool = True,
) -> Path:
    """Write the tables that have rows, and black 8 px images for their rows."""
    for name, rows in (("train.csv", train), ("valid.csv", valid), ("test_labels.csv", test)):
        if rows:
            root.mkdir(parents=True, exist_ok=True)
            with (root / name).open("w", newline="") as file:
                writer = csv.DictWriter(file, columns, extrasaction="ignore")
                writer.writeheader()
                writer.writerows(rows)
        for path in (root / one["Path"].removeprefix(f"{PREFIX}/") for one in rows if images):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8)).save(path, "jpeg")
    return root


def said(root: Path, finding: str, **options: object) -> list[float]:
    """Return the labels of one finding in frontal views, as read with these options."""
    return chexpert.read(root, options=ChexpertSettings(**options)).frame[finding].tolist()


def test_patient_exam_and_view_come_from_path_and_columns(tmp_path: Path):
    table = chexpert.read(write(tmp_path), options=ChexpertSettings(views="all"))
    columns = ["image_id", "path", "patient_id", "exam", "view", "age", "sex"]
    assert table.frame[columns].values.tolist() == [
        [FRONTAL, FRONTAL, "patient00001", "patient00001/study1", "AP", 68, "F"],
        [LATERAL, LATERAL, "patient00001", "patient00001/study1", "L", 68, "F"],
        [OTHER, OTHER, "patient00002", "patient00002/study5", "PA", 90, "M"],
    ]
    assert (table.dataset, table.kind, table.findings) == ("chexpert", "mini", FINDINGS)


def test_the_root_has_the_tables_or_the_folder_with_them(tmp_path: Path):
    write(tmp_path / PREFIX)
    within, above = chexpert.read(tmp_path / PREFIX), chexpert.read(tmp_path)
    assert above.frame["path"].tolist() == [f"{PREFIX}/{path}" for path in within.frame["path"]]
    assert above.frame["image_id"].equals(within.frame["image_id"])
    write(tmp_path / "CheXpert-v1.0")
    with pytest.raises(DataError, match="two editions"):
        chexpert.read(tmp_path)


@pytest.mark.parametrize(("policy", "label"), [("zeros", 0), ("ones", 1), ("ignore", np.nan)])
def test_uncertain_labels_mean_what_the_study_says(tmp_path: Path, policy: str, label: float):
    assert said(write(tmp_path), "Pneumonia", uncertain=policy) == pytest.approx([label, 0], nan_ok=True)


def test_a_finding_may_have_its_own_policy_and_the_report_says_so(tmp_path: Path):
    options = ChexpertSettings(uncertain="zeros", uncertain_for={"Atelectasis": "ones"}, blank="ignore")
    table = chexpert.read(write(tmp_path), options=options)
    assert table.frame["Atelectasis"].iloc[0] == 1
    assert table.frame["Pneumonia"].iloc[0] == 0
    assert table.source["uncertain labels (-1)"] == "taken as 0, but taken as 1 for Atelectasis: 2 of 28 labels"
    assert table.source["blank labels (not mentioned)"] == (
        "taken as unknown: 11 of 28 labels; taken as 0, because their row is labelled No Finding: 12"
    )


def test_blanks_are_negatives_only_if_the_study_says_so(tmp_path: Path):
    root = write(tmp_path)
    assert said(root, "Cardiomegaly", blank="zeros") == [0, 0]
    assert np.isnan(said(root, "Cardiomegaly", blank="ignore")[0])
    assert said(root, "Fracture", blank="ignore")[0] == 0


def test_no_finding_makes_blanks_negatives_as_the_labeller_defines_it(tmp_path: Path):
    train = [
        row(FRONTAL, No_Finding="1.0", Fracture="0.0", Pneumonia="-1.0", Edema="1.0"),
        row(OTHER, No_Finding="1.0", Support_Devices="1.0"),
        row("train/patient00003/study1/view1_frontal.jpg", No_Finding="0.0"),
        row("train/patient00004/study1/view1_frontal.jpg", Support_Devices="1.0"),
    ]
    options = ChexpertSettings(blank="ignore")
    table = chexpert.read(write(tmp_path, train), options=options)
    labels = dict(zip(FINDINGS, table.labels().T.tolist(), strict=True))
    unknown = np.nan
    assert labels.pop("No Finding") == pytest.approx([1, 1, 0, unknown], nan_ok=True)
    assert labels.pop("Support Devices") == pytest.approx([unknown, 1, unknown, 1], nan_ok=True)
    assert labels.pop("Pneumonia") == pytest.approx([unknown, 0, unknown, unknown], nan_ok=True)  # -1 stays uncertain
    assert labels.pop("Edema") == pytest.approx([1, 0, unknown, unknown], nan_ok=True)  # 1 stays 1
    for others in labels.values():
        assert others == pytest.approx([0, 0, unknown, unknown], nan_ok=True)


def test_no_finding_counts_for_a_study_that_does_not_read_it(tmp_path: Path):
    table = chexpert.read(write(tmp_path), ["Edema"], ChexpertSettings(blank="ignore"))
    assert table.labels()[:, 0].tolist() == [1, 0]
    assert table.source["blank labels (not mentioned)"].endswith("labelled No Finding: 1")


def test_uncertain_and_blank_labels_are_counted_for_the_findings_read(tmp_path: Path):
    table = chexpert.read(write(tmp_path), ["Pneumonia", "Edema"])
    assert table.findings == ("Pneumonia", "Edema")
    assert table.source["uncertain labels (-1)"] == "taken as unknown: 1 of 4 labels"


@pytest.mark.parametrize(
    ("views", "ids", "left_out"),
    [("frontal", [FRONTAL, OTHER], {"lateral views": 1}), ("lateral", [LATERAL], {"frontal views": 2})],
)
def test_views_that_are_left_out_are_counted(tmp_path: Path, views: str, ids: list[str], left_out: dict[str, int]):
    table = chexpert.read(write(tmp_path), options=ChexpertSettings(views=views))
    assert (table.frame["image_id"].tolist(), table.left_out) == (ids, left_out)


def test_rows_without_a_file_are_left_out_unless_only_labels_are_read(tmp_path: Path):
    (write(tmp_path) / OTHER).unlink()
    assert chexpert.read(tmp_path).left_out == {"lateral views": 1, "rows whose image file is not there": 1}
    table = chexpert.read(tmp_path, images=False)
    assert (table.frame["image_id"].tolist(), table.left_out) == ([FRONTAL, LATERAL, OTHER], {})


def test_the_published_split_is_by_table(tmp_path: Path):
    write(tmp_path)
    assert chexpert.read(tmp_path).given_split == {}
    write(tmp_path, valid=[row(VALID)])
    assert chexpert.read(tmp_path).given_split == {"train_val": {FRONTAL, LATERAL, OTHER}, "test": {VALID}}


def test_the_test_set_comes_with_paths_and_labels_alone(tmp_path: Path):
    test = "test/patient64741/study1/view2_lateral.jpg"
    write(tmp_path, valid=[row(VALID)])
    write(tmp_path, train=(), test=[{"Path": test, "Edema": "1"}], columns=["Path", *FINDINGS])
    table = chexpert.read(tmp_path, options=ChexpertSettings(views="lateral"))
    assert {side: len(ids) for side, ids in table.given_split.items()} == {"train": 3, "validation": 1, "test": 1}
    last = table.frame.iloc[-1]
    assert last[["image_id", "patient_id", "view", "sex", "Edema"]].tolist() == [test, "patient64741", "L", "", 1]
    assert np.isnan(last["age"])
    (tmp_path / "test_labels.csv").rename(tmp_path / "test.csv")
    assert chexpert.read(tmp_path).given_split["test"] == {test}


@pytest.mark.parametrize("value", ["2.0", "-2", "nan", "yes", "1.5"])
def test_an_invalid_label_is_named_with_file_line_and_column(tmp_path: Path, value: str):
    write(tmp_path, [TRAIN[0], row(OTHER, Edema=value)])
    with pytest.raises(DataError, match=rf"train\.csv, line 3, column 'Edema': '{value}' is none of 1\.0, 0\.0, -1\.0"):
        chexpert.read(tmp_path)


@pytest.mark.parametrize(
    "path",
    ["../../x.jpg", "train/../../x.jpg", "patient00001/study1/view1_frontal.jpg", "train/1/study1/view1_frontal.jpg",
     "train/patient00001/study1/view1_frontal.png", "train/patient00001/study1/view1_oblique.jpg", ""],
)  # fmt: skip
def test_an_invalid_path_is_named_with_file_line_and_column(tmp_path: Path, path: str):
    write(tmp_path, [TRAIN[0]])
    write(tmp_path, (), [row(VALID), {**row(OTHER), "Path": path}], images=False)
    with pytest.raises(DataError, match=r"valid\.csv, line 3, column 'Path'"):
        chexpert.read(tmp_path)


def test_rows_twice_are_refused_within_a_table_and_between_them(tmp_path: Path):
    edited = {**TRAIN[0], "Path": f"CheXpert-v1.0/{FRONTAL}"}
    with pytest.raises(DataError, match=r"train\.csv, line 5, column 'Path'.*is on an earlier line"):
        chexpert.read(write(tmp_path, [*TRAIN, edited]))
    with pytest.raises(DataError, match=r"valid\.csv, line 3, column 'Path'.*is in the table of train as well"):
        chexpert.read(write(tmp_path, valid=[row(VALID), TRAIN[2]]))


def test_a_patient_on_two_sides_of_the_published_split_is_refused(tmp_path: Path):
    again = "valid/patient00001/study9/view1_frontal.jpg"
    table = chexpert.read(write(tmp_path, valid=[row(VALID), row(again)]))
    with pytest.raises(DataError, match=r"patients? .*two sides.*patient00001"):
        make_split(table, "official", validation_share=0)


def test_an_unknown_finding_is_refused_with_the_allowed_names(tmp_path: Path):
    write(tmp_path)
    with pytest.raises(DataError, match=r"uncertain_for names 'Oedema'.*Edema, Consolidation"):
        chexpert.read(tmp_path, options=ChexpertSettings(uncertain_for={"Oedema": "ones"}))
    with pytest.raises(DataError, match=r"no finding 'Hernia'.*Edema, Consolidation"):
        chexpert.read(tmp_path, ["Edema", "Hernia"])


@pytest.mark.parametrize("column", ["Edema", "Path", "AP/PA", "Age"])
def test_a_missing_column_is_named(tmp_path: Path, column: str):
    write(tmp_path, columns=[name for name in CHEXPERT_COLUMNS if name != column])
    with pytest.raises(DataError, match=rf"train\.csv: no column '{column}'"):
        chexpert.read(tmp_path)


def test_an_invalid_projection_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"train\.csv, line 2, column 'Frontal/Lateral': 'Oblique'"):
        chexpert.read(write(tmp_path, [{**TRAIN[0], "Frontal/Lateral": "Oblique"}]))


def test_absent_data_says_what_to_put_where(tmp_path: Path):
    with pytest.raises(DataError, match=r"no train\.csv of CheXpert\. Put there.*batches"):
        chexpert.read(tmp_path / "nowhere")
    for image in write(tmp_path).glob("train/*/*/*.jpg"):
        image.unlink()
    with pytest.raises(DataError, match=r"no image of the label tables of CheXpert\. Put"):
        chexpert.read(tmp_path)
    with pytest.raises(DataError, match="no row is of a lateral view"):
        chexpert.read(write(tmp_path, [TRAIN[0]]), options=ChexpertSettings(views="lateral"))


def test_the_published_counts_add_up():
    for published in (PUBLISHED, PUBLISHED_WITH_TEST):
        images, patients = zip(*published.sides.values(), strict=True)
        assert (sum(images), sum(patients)) == (published.images, published.patients)


def test_the_miniature_reads_like_the_real_thing(tmp_path: Path):
    write_chexpert(tmp_path, with_test=True)
    settings = DataSettings(dataset="chexpert", split="official", findings=("Edema", "Pleural Effusion"))
    table = read(settings, tmp_path)
    assert len(table) > 120
    assert {"AP", "PA"} < set(table.frame["view"])
    assert np.isnan(table.labels()).any()
    for name in ("official", "random-70-10-20"):
        split = make_split(table, name)
        for side in (split.train, split.validation, split.test):
            assert (np.nansum(table.select(side).labels(), axis=0) > 0).all()


TEXT = st.text(max_size=40) | st.sampled_from(["1.0", "-1.0", "", *CHEXPERT_COLUMNS, f"{PREFIX}/{FRONTAL}", "../x"])


@given(
    content=st.binary(max_size=300) | st.text(max_size=300).map(str.encode),
    name=st.sampled_from(["train.csv", "valid.csv", "test.csv"]),
)
def test_any_content_is_a_table_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str):
    root = write(tmp_path_factory.mktemp("fuzz"), images=False)
    (root / name).write_bytes(content)
    with contextlib.suppress(DataError):
        assert chexpert.read(root, images=False).findings == FINDINGS


@given(fields=st.lists(TEXT, min_size=len(CHEXPERT_COLUMNS), max_size=len(CHEXPERT_COLUMNS)), path=TEXT)
def test_any_row_is_read_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, fields: list[str], path: str):
    root = tmp_path_factory.mktemp("fuzz")
    for fuzzed in ({**TRAIN[2], "Path": path}, dict(zip(CHEXPERT_COLUMNS, fields, strict=True))):
        write(root, [TRAIN[0], fuzzed], images=False)
        with contextlib.suppress(DataError):
            assert chexpert.read(root, images=False).frame["image_id"].iloc[0] == FRONTAL


def test_files_that_no_row_names_are_counted(tmp_path: Path):
    root = write(tmp_path)
    (extra := root / "train" / "patient99999" / "study1").mkdir(parents=True)
    (extra / "view1_frontal.jpg").write_bytes(b"")
    assert chexpert.read(root).left_out["image files that no row names"] == 1

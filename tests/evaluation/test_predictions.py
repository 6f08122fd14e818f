"""A predictions file is read as it was written, and a damaged or inconsistent one is refused with the reason."""

import json
import resource
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_kd.errors import PredictionsError, StorageError
from cxr_kd.evaluation.predictions import Predictions, PredictionsMetadata

METADATA = PredictionsMetadata(
    study="tiny",
    dataset="phantom",
    kind="phantom",
    run="densenet121-seed0",
    network="densenet121",
    split="official",
    split_sha256="ab" * 32,
    split_sides={"test": {"images": 3, "patients": 2}},
    side="test",
    findings=("Mass", "Pleural_Thickening"),
)


def tiny() -> Predictions:
    labels = np.array([[1, 0], [0, np.nan], [1, 1]])
    return Predictions.from_arrays(
        ["a", "b", "c"], ["1", "1", "2"], labels, np.arange(6.0).reshape(3, 2) - 2.5, METADATA
    )


ABOUT = {"sex": ["M", "F", ""], "age": [0.5, 71, np.nan], "view": ["PA", "AP", ""]}


def described() -> Predictions:
    labels = np.zeros((3, 2))
    return Predictions.from_arrays(["a", "b", "c"], ["1", "1", "2"], labels, labels - 1, METADATA, about=ABOUT)


def test_a_file_says_who_the_patients_are_and_an_older_one_does_not(tmp_path: Path) -> None:
    described().write(tmp_path / "new.parquet")
    read = Predictions.read(tmp_path / "new.parquet")
    pd.testing.assert_frame_equal(read.frame, described().frame)
    for column, values in ABOUT.items():
        np.testing.assert_array_equal(read.about(column), np.array(values, float if column == "age" else object))
    tiny().write(tmp_path / "old.parquet")
    old = Predictions.read(tmp_path / "old.parquet")
    assert [old.about(column) for column in (*ABOUT, "source")] == [None] * 4


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("sex", "W", r"row 1 \(image b\), column sex: found 'W'; allowed: \"M\", \"F\", \"\""),
        ("sex", None, r"row 1 \(image b\), column sex: .*text is needed"),
        ("view", None, r"row 1 \(image b\), column view: .*text is needed"),
        ("age", -1.0, r"row 1 \(image b\), column age: found .*-1.*; allowed: 0 to 130 years, NaN if unknown"),
        ("age", np.inf, r"row 1 \(image b\), column age: .*inf"),
        ("age", 411.0, r"row 1 \(image b\), column age: .*411"),
    ],
)
def test_a_bad_sex_age_or_view_is_named(column: str, value: object, message: str) -> None:
    frame = described().frame
    frame[column] = [value if row == 1 else old for row, old in enumerate(frame[column])]
    with pytest.raises(PredictionsError, match=message):
        Predictions(frame, METADATA)


def test_ages_as_text_and_columns_of_another_length_or_name_are_refused() -> None:
    with pytest.raises(PredictionsError, match=r"column age is .*numbers are needed"):
        Predictions(described().frame.assign(age="70"), METADATA)
    labels, ids = np.zeros((3, 2)), ["a", "b", "c"]
    for about, message in (({"sex": ["M"]}, "sex has 1 values for 3 images"), ({"race": ids}, "no optional column 'r")):
        with pytest.raises(PredictionsError, match=message):
            Predictions.from_arrays(ids, ids, labels, labels, METADATA, about=about)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = tiny()
    written.write(tmp_path / "deep" / "predictions-test.parquet")
    read = Predictions.read(tmp_path / "deep" / "predictions-test.parquet")
    pd.testing.assert_frame_equal(read.frame, written.frame)
    assert read.metadata == METADATA
    assert read.labels.shape == read.logits.shape == (3, 2)
    assert np.isnan(read.labels[1, 1])
    assert list(read.patients) == ["1", "1", "2"]


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "predictions-test.parquet"
    tiny().write(path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the file has about 5,000 bytes
    try:
        with pytest.raises(StorageError, match=r"cannot write to .*: make room") as caught:
            tiny().write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label:Mass", 2.0, r"row 1 \(image b\), column label:Mass: found .*2.0.*; allowed: 0, 1, NaN"),
        ("logit:Mass", np.inf, r"row 1 \(image b\), column logit:Mass: .*finite"),
        ("logit:Mass", 1e300, r"row 1 \(image b\), column logit:Mass: .*finite"),
        ("logit:Mass", np.nan, r"row 1 \(image b\), column logit:Mass: .*finite"),
        ("image_id", "a", r"row 1 .*column image_id: .*each image must have one row"),
        ("patient_id", None, r"row 1 .*column patient_id: .*non-empty"),
    ],
)
def test_a_bad_value_is_named(column: str, value: object, message: str) -> None:
    frame = tiny().frame.astype({"logit:Mass": float})
    frame.loc[1, column] = value
    with pytest.raises(PredictionsError, match=message):
        Predictions(frame, METADATA)


def test_a_missing_column_and_an_empty_table_are_refused() -> None:
    with pytest.raises(PredictionsError, match="no column logit:Mass"):
        Predictions(tiny().frame.drop(columns="logit:Mass"), METADATA)
    with pytest.raises(PredictionsError, match="no row"):
        Predictions(tiny().frame.iloc[:0], METADATA)


def test_numbers_written_as_text_are_refused() -> None:
    with pytest.raises(PredictionsError, match=r"column logit:Mass is .*numbers are needed"):
        Predictions(tiny().frame.astype({"logit:Mass": "string"}), METADATA)


def test_arrays_of_another_shape_are_refused() -> None:
    with pytest.raises(PredictionsError, match=r"logits have the shape \(3, 1\).*\(3, 2\)"):
        Predictions.from_arrays(["a", "b", "c"], ["1", "1", "2"], np.zeros((3, 2)), np.zeros((3, 1)), METADATA)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="there is no such predictions file"):
        Predictions.read(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("image_id,patient_id\n")
    with pytest.raises(PredictionsError, match=r"text\.parquet: not a readable parquet file"):
        Predictions.read(tmp_path / "text.parquet")
    tiny().frame.to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(PredictionsError, match="without cxr_kd's metadata"):
        Predictions.read(tmp_path / "plain.parquet")


def test_a_finding_or_column_that_appears_twice_is_refused() -> None:
    frame = tiny().frame
    with pytest.raises(PredictionsError, match="several columns logit:Mass; one is needed"):
        Predictions(pd.concat([frame, frame[["logit:Mass"]]], axis=1), METADATA)
    with pytest.raises(PredictionsError, match="a finding is named twice: Mass, Mass"):
        Predictions(frame, METADATA.model_copy(update={"findings": ("Mass", "Mass")}))


@given(st.data())
def test_a_damaged_file_is_refused_or_read_as_it_was_written(damaged_path: Path, data: st.DataObject) -> None:
    written = tiny()
    written.write(damaged_path)
    content = bytearray(damaged_path.read_bytes())
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    for _ in range(data.draw(st.integers(1, 4)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged_path.write_bytes(bytes(content))
    reason = ""
    try:
        pd.testing.assert_frame_equal(Predictions.read(damaged_path).frame, written.frame)
    except PredictionsError as error:
        reason = str(error)
    if reason:
        assert reason.startswith(f"{damaged_path}: ")
        assert "\n" not in reason


@pytest.fixture(scope="module")
def damaged_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "predictions-test.parquet"


def with_metadata(path: Path, stored: str) -> Path:
    tiny().write(path)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"cxr_kd.predictions": stored}), path)
    return path


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        ('{"run": "densenet121-seed0"}', r"split_sha256: Field required"),
        ("", r"all of it: Invalid JSON"),
        ("[1, 2]", r"all of it: Input should be an object"),
        (json.dumps({**METADATA.model_dump(), "findings": []}), r"findings: .*at least 1 item"),
        (json.dumps({**METADATA.model_dump(), "findings": "Mass"}), r"findings: Input should be a valid"),
        (json.dumps({**METADATA.model_dump(), "run": 7}), r"run: Input should be a valid string"),
        (json.dumps({**METADATA.model_dump(), "side": "train"}), r"side: Input should be 'validation' or 'test'"),
        (json.dumps({**METADATA.model_dump(), "split_sides": {"test": {"images": "3"}}}), r"split_sides\.test\.images"),
        (json.dumps({**METADATA.model_dump(), "more": 1}), r"more: Extra inputs"),
    ],
)
def test_wrong_metadata_are_refused_by_key(tmp_path: Path, stored: str, message: str) -> None:
    path = with_metadata(tmp_path / "predictions-test.parquet", stored)
    with pytest.raises(PredictionsError, match=rf"predictions-test\.parquet: its metadata are wrong \(.*{message}"):
        Predictions.read(path)

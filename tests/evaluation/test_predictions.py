"""A predictions file holds what it promises, comes back as it was written, and says what is wrong when it is not so."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from cxr_kd.errors import PredictionsError
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


def test_comes_back_as_written(tmp_path: Path) -> None:
    written = tiny()
    written.write(tmp_path / "deep" / "predictions-test.parquet")
    read = Predictions.read(tmp_path / "deep" / "predictions-test.parquet")
    pd.testing.assert_frame_equal(read.frame, written.frame)
    assert read.metadata == METADATA
    assert read.labels.shape == read.logits.shape == (3, 2)
    assert np.isnan(read.labels[1, 1])
    assert list(read.patients) == ["1", "1", "2"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "predictions-test.parquet"
    tiny().write(path)
    before = path.read_bytes()

    def full_disk(_table: object, where: Path, **_settings: object) -> None:
        where.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(OSError, match="No space"):
        tiny().write(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("label:Mass", 2.0, r"row 1 \(image b\), column label:Mass: found .*2.0.*; allowed: 0, 1, NaN"),
        ("logit:Mass", np.inf, r"row 1 \(image b\), column logit:Mass: .*finite"),
        ("logit:Mass", np.nan, r"row 1 \(image b\), column logit:Mass: .*finite"),
        ("image_id", "a", r"row 1 .*column image_id: .*once"),
        ("patient_id", None, r"row 1 .*column patient_id: .*non-empty"),
    ],
)
def test_a_bad_value_is_named(column: str, value: object, message: str) -> None:
    frame = tiny().frame.copy()
    frame.loc[1, column] = value
    with pytest.raises(PredictionsError, match=message):
        Predictions(frame, METADATA)


def test_a_missing_column_and_no_rows_are_named() -> None:
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


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="there is no such predictions file"):
        Predictions.read(tmp_path / "absent.parquet")
    (tmp_path / "text.parquet").write_text("image_id,patient_id\n")
    with pytest.raises(PredictionsError, match=r"text\.parquet: not a readable parquet file"):
        Predictions.read(tmp_path / "text.parquet")
    tiny().frame.to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(PredictionsError, match="without cxr_kd's metadata"):
        Predictions.read(tmp_path / "plain.parquet")


def test_metadata_of_another_version_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions-test.parquet"
    tiny().write(path)
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({"cxr_kd.predictions": '{"run": "densenet121-seed0"}'}), path)
    with pytest.raises(
        PredictionsError, match=r"predictions-test\.parquet: its metadata .*split_sha256: Field required"
    ):
        Predictions.read(path)

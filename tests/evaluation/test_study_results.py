"""A table of results is read from its file, and a missing or damaged file is refused with the reason."""

from pathlib import Path

import pandas as pd
import pytest

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.study_results import read_table

COLUMNS = ("arm", "auroc", "left_out")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "evaluations.csv"
    file.write_text("arm,auroc,left_out\nNA,0.5,\ndensenet121,,too few\n")
    return file


def test_an_arm_may_be_called_na_and_an_empty_reason_is_text(path):
    table = read_table(path, COLUMNS)
    assert list(table["arm"]) == ["NA", "densenet121"]
    assert list(table["left_out"]) == ["", "too few"]
    assert pd.isna(table["auroc"][1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not readable as CSV"),
        (b"\xff\xfe\x00\x81", "not readable as CSV"),
        (b'arm,left_out\n"never closed', "not readable as CSV"),
        (b"arm,left_out\n1,2,3,4\n1,2\n1,2,3,4,5,6\n", "not readable as CSV"),
        (b"arm,auroc\ndensenet121,0.5\n", "no column left_out"),
        (b"arm,auroc,left_out\ndensenet121,half,\n", "column auroc must hold numbers"),
    ],
)
def test_a_damaged_file_is_refused_with_what_to_do(path, content, message):
    path.write_bytes(content)
    with pytest.raises(PredictionsError, match=rf"evaluations\.csv: {message}.*; run notebook 04_evaluate again"):
        read_table(path, COLUMNS)


def test_a_missing_file_is_named(path):
    path.unlink()
    with pytest.raises(PredictionsError, match=r"evaluations\.csv: there is no such file; run notebook 04_evaluate"):
        read_table(path, COLUMNS)

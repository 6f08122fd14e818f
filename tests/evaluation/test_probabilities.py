"""Every table of the probabilities has all arms, and what is fitted is written beside the run."""

import numpy as np
import pandas as pd
import pytest
from two_sides import FINDINGS, both_sides

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.probability.cases import COUNTS
from cxr_kd.evaluation.probability.operating_points import OperatingPoints
from cxr_kd.evaluation.probability.recalibration import Recalibration, fit_recalibration
from cxr_kd.evaluation.probability.tables import TABLES, evaluate_probabilities, write_fitted
from cxr_kd.study.settings import Evaluation


def test_every_table_has_each_arm_and_finding_and_survives_a_csv_file(tmp_path) -> None:
    test, validation = both_sides((0, 1))
    sides = [{"teacher": runs[:1], "student": runs} for runs in (test, validation)]
    tables = evaluate_probabilities(*sides, Evaluation(resamples=20))
    assert list(tables) == list(TABLES)
    for name, table in tables.items():
        assert table.columns[:2].tolist() == ["arm", "seeds"]
        assert set(COUNTS) <= set(table.columns)
        assert table.columns.is_unique
        assert table.groupby("arm", sort=False)["finding"].unique().map(tuple).to_dict() == {
            "teacher": FINDINGS, "student": FINDINGS,
        }  # fmt: skip
        assert table.groupby("arm")["interval"].unique().map(list).to_dict() == {
            "teacher": ["patients"], "student": ["patients and trainings"],
        }  # fmt: skip
        left_out = table["left_out"] != ""
        assert set(table.loc[left_out, "finding"]) == {"Hernia"}
        table.to_csv(tmp_path / name, index=False)
        again = pd.read_csv(tmp_path / name, keep_default_na=False, na_values=[""])
        numbers = table.select_dtypes("number").columns
        np.testing.assert_allclose(again[numbers], table[numbers])


def test_an_arm_without_validation_is_named() -> None:
    test, validation = both_sides()
    with pytest.raises(PredictionsError, match="arm student: no predictions of the validation side"):
        evaluate_probabilities({"teacher": test, "student": test}, {"teacher": validation})


def test_what_is_fitted_is_kept_beside_the_run(tmp_path) -> None:
    (run,) = both_sides()[1]
    write_fitted(run, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["operating-points.json", "recalibration.json"]
    assert Recalibration.read(tmp_path / "recalibration.json") == fit_recalibration(run)
    assert OperatingPoints.read(tmp_path / "operating-points.json").run == "net-seed0"

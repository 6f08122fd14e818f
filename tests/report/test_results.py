"""A study's runs as arms: evaluated over seeds, compared with their control, written and read again."""

import pandas as pd
import pytest

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.study_results import evaluate_study, read_predictions, read_results
from cxr_kd.evaluation.uncertainty import compare, evaluate
from cxr_kd.study import load_study
from cxr_kd.study.arms import arms_of, controls, taught

ALONE, FROM_CNN, FROM_TRANSFORMER = "eeea_net_c2_alone", "eeea_net_c2_from_densenet161", "eeea_net_c2_from_visformer_s"


def test_arms_are_in_the_studys_order_with_their_seeds_and_controls(make_study) -> None:
    study = make_study(seeds=(3, 1))
    assert list(arms_of(study)) == ["densenet161", "visformer_s", ALONE, FROM_CNN, FROM_TRANSFORMER]
    assert [run.name for run in arms_of(study)[FROM_CNN]] == [f"{FROM_CNN}-seed1", f"{FROM_CNN}-seed3"]
    assert controls(study) == [(ALONE, FROM_CNN), (ALONE, FROM_TRANSFORMER)]
    assert taught(study) == [
        ("densenet161", ALONE), ("densenet161", FROM_CNN), ("visformer_s", ALONE), ("visformer_s", FROM_TRANSFORMER),
    ]  # fmt: skip


def test_an_arm_of_several_seeds_is_their_mean(make_study) -> None:
    study = make_study(seeds=(0, 1))
    table = evaluate_study(study).evaluations.set_index(["arm", "finding"])
    members = read_predictions(study, arms_of(study))[FROM_CNN]
    single = [evaluate(run, study.evaluation).set_index("finding").loc["Effusion", "auroc"] for run in members]
    assert single[0] != single[1]
    assert table.loc[(FROM_CNN, "Effusion"), "auroc"] == pytest.approx(sum(single) / 2)
    assert (table["seeds"] == 2).all()


def test_comparisons_are_distilled_minus_alone_with_the_studys_settings(make_study) -> None:
    study = make_study()
    table, members = evaluate_study(study).comparisons, read_predictions(study, arms_of(study))
    assert table.groupby("second").size().to_dict() == {FROM_CNN: 8, FROM_TRANSFORMER: 8}
    assert set(table["first"]) == {ALONE}
    expected = compare(members[ALONE], members[FROM_CNN], study.evaluation)
    rows = table[table["second"] == FROM_CNN].reset_index(drop=True)
    pd.testing.assert_series_equal(rows["auroc_low"], expected["auroc_low"])


def test_results_come_back_from_their_files(make_study) -> None:
    study = make_study()
    results = read_results(study)
    for read, computed in zip(results, evaluate_study(study), strict=True):
        pd.testing.assert_frame_equal(read, computed, check_dtype=False)
    evaluations = results.evaluations
    assert set(evaluations.loc[evaluations["finding"] == MEAN, "left_out"]) == {""}


def test_a_study_without_a_control_has_results_and_no_comparison(make_study) -> None:
    study = make_study()
    lines = study.file.read_text().splitlines()
    study.file.write_text("\n".join(line for line in lines if line != "  - {network: eeea_net_c2}"))
    alone_less = load_study(study.file)
    comparisons = evaluate_study(alone_less).comparisons
    assert comparisons.empty
    comparisons.to_csv(alone_less.runs_folder / "comparisons.csv", index=False)
    assert list(read_results(alone_less)[1].columns) == list(comparisons.columns)


def test_missing_and_mixed_files_are_named(make_study) -> None:
    study = make_study()
    path = study.runs_folder / f"{ALONE}-seed0" / "predictions-test.parquet"
    run = Predictions.read(path)
    other = run.metadata.model_copy(update={"split_sha256": "f" * 64})
    Predictions(run.frame, other).write(path)
    with pytest.raises(PredictionsError, match=rf"{ALONE}-seed0.*different splits"):
        evaluate_study(study)
    path.unlink()
    with pytest.raises(PredictionsError, match="no such predictions file"):
        evaluate_study(study)
    (study.runs_folder / "evaluations.csv").unlink()
    with pytest.raises(PredictionsError, match=r"evaluations\.csv: .*04_evaluate"):
        read_results(study)

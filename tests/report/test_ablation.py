"""An ablation says what its files show, with corrections, and claims nothing that seeds or chance could undo."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from fake_study import ABLATION, write_study

from cxr_kd.errors import PredictionsError
from cxr_kd.evaluation.ablation import compare_ablation, describe_arms, question_arms, read_ablation
from cxr_kd.evaluation.bootstrap import MEAN, bootstrap_difference
from cxr_kd.evaluation.resampling import holm, p_value
from cxr_kd.evaluation.study_results import read_predictions
from cxr_kd.evaluation.uncertainty import compare
from cxr_kd.report import ablation
from cxr_kd.report.page import write_report
from cxr_kd.report.verify import verify_report
from cxr_kd.study import load_study
from cxr_kd.study.arms import compared_arms

FROM = "eeea_net_c2_from_densenet161"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    write_study(folder, "phantom", "phantom", (0, 1, 2), ABLATION)
    return folder


@pytest.fixture
def study(home, tmp_path):
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    return load_study(tmp_path / "studies" / "artificial.yaml")


@pytest.fixture
def comparisons(study) -> pd.DataFrame:
    return read_ablation(study)[0]


def means(comparisons: pd.DataFrame) -> pd.DataFrame:
    return comparisons[comparisons["finding"] == MEAN].set_index("arm")


def test_differences_are_the_arm_minus_the_reference_averaged_over_seeds(study, comparisons):
    members = read_predictions(study, compared_arms(study))
    expected = compare(members[FROM], members[f"{FROM}-better"], study.evaluation).set_index("finding")
    ours = comparisons[comparisons["arm"] == f"{FROM}-better"].set_index("finding")
    for column in ("auroc_difference", "auroc_low", "auroc_high", "average_precision_difference"):
        np.testing.assert_allclose(ours[column], expected[column], rtol=1e-9)
    assert ours.loc[MEAN, "auroc_difference"] > 0
    seeds = ours[[f"auroc_seed{seed}" for seed in (0, 1, 2)]]
    np.testing.assert_allclose(seeds.mean(axis=1), ours["auroc_difference"], atol=1e-9)


def test_p_is_corrected_over_findings_and_that_of_the_mean_over_arms(study, comparisons):
    members = read_predictions(study, compared_arms(study))
    expected = bootstrap_difference(members[FROM], members[f"{FROM}-unsteady"], study.evaluation).inference("auroc").p
    arm = comparisons[comparisons["arm"] == f"{FROM}-unsteady"]
    np.testing.assert_allclose(arm["auroc_p"], expected)
    findings = arm[arm["finding"] != MEAN]
    np.testing.assert_allclose(findings["auroc_p_holm"], holm(findings["auroc_p"].to_numpy()))
    assert findings.loc[findings["finding"] == "Hernia", "auroc_p_holm"].isna().all()  # left out: it counts for nothing
    mean = means(comparisons)
    np.testing.assert_allclose(mean["auroc_p_holm"], holm(mean["auroc_p"].to_numpy()))


def test_only_what_survives_other_patients_and_other_trainings_is_shown(study, comparisons):
    mean = means(comparisons)
    assert bool(mean.loc[f"{FROM}-better", "shown"])
    alone = mean.loc["eeea_net_c2_alone"]
    assert alone["auroc_p"] < 0.05 < alone["auroc_p_holm"]
    assert not alone["shown"]
    assert not mean.loc[f"{FROM}-same", "shown"]
    unsteady = mean.loc[f"{FROM}-unsteady"]
    members = read_predictions(study, compared_arms(study))
    difference = bootstrap_difference(members[FROM], members[f"{FROM}-unsteady"], study.evaluation)
    assert p_value(difference.resampled.mean(axis=0))[0, -1] < 0.05 / 4  # patients alone would say so
    assert unsteady["auroc_se_trainings"] > unsteady["auroc_se_patients"] / 2
    assert not unsteady["shown"]


def test_the_sentences_claim_no_more_than_the_file_shows(study, comparisons):
    said = dict(ablation.answers(comparisons, study, patients=100))
    assert list(said) == list(study.ablation.questions)
    assert said["Which loss?"].startswith(
        "With binary_kl 0.5 in place of logit_mse 0.5: higher mean AUROC than the reference"
    )
    assert said["Is a teacher worth anything?"].startswith("No teacher: no difference could be shown")
    assert "no difference could be shown" in said["How much weight?"]
    assert said["How many views?"].startswith("2 views in place of 4: no difference could be shown")
    assert "higher with 2 of 3 seeds" in said["How many views?"]
    assert all("too few to tell" in text for _, text in ablation.answers(comparisons, study, patients=29))


def test_the_report_has_the_ablation_and_keeps_variants_out_of_the_rest(study):
    folder = write_report(study).parent
    page = (folder / "index.html").read_text()
    assert '<section id="ablation">' in page
    assert "from DenseNet-161, focal_bce 1 + logit_mse 0.5, 4 views" in page
    assert page.count("binary_kl 0.5 in place of logit_mse 0.5") >= 3
    results = page[page.index('<section id="results">') : page.index('<section id="explanations">')]
    assert "(better)" not in results
    assert "EEEA-Net-C2</span> alone" in results
    assert not any(check.problems for check in verify_report(folder))
    sent = folder / "study" / "runs" / "artificial" / "ablation.csv"
    frame = pd.read_csv(sent, dtype=str, keep_default_na=False)
    frame.loc[0, "auroc_difference"] = "0.4"
    frame.to_csv(sent, index=False)
    [found] = verify_report(folder)[1].problems
    assert re.search(r"/ablation\.csv: row 1, auroc_difference: '0\.4'; the predictions give '", found)


def test_a_study_without_an_ablation_has_no_such_section(report):
    assert "ablation" not in report.read_text().split("<main>")[1].split('<section id="again">')[0].lower()


def test_cost_counts_the_teacher_and_its_answers(study):
    arms = read_ablation(study)[1].set_index("arm")
    assert arms.index[0] == FROM
    row = arms.loc[f"{FROM}-same"]
    assert (row["teacher_training_seconds"], row["answering_seconds"]) == (pytest.approx(83.4), pytest.approx(13.0))
    assert row["answers_mb"] == pytest.approx(0.5, abs=0.01)
    assert arms.loc["eeea_net_c2_alone", "teacher_training_seconds"] == 0
    assert np.isnan(arms.loc["eeea_net_c2_alone", "over_control"])
    assert arms.loc[FROM, "over_control"] == pytest.approx(
        -means(compare_ablation(study)).loc["eeea_net_c2_alone"]["auroc_difference"]
    )


def test_files_of_another_ablation_are_refused(study):
    path = study.runs_folder / "ablation.csv"
    pd.read_csv(path).replace("How many views?", "Another question?").to_csv(path, index=False)
    with pytest.raises(PredictionsError, match="answers other questions than the study's; run notebook 05_ablation"):
        read_ablation(study)
    path.unlink()
    with pytest.raises(PredictionsError, match=r"ablation\.csv: there is no such file"):
        read_ablation(study)


def test_a_study_without_an_ablation_says_so(make_study):
    study = make_study()
    assert question_arms(study) == []
    with pytest.raises(PredictionsError, match="has no ablation; add one, with a reference and questions"):
        describe_arms(study, pd.DataFrame())


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("better", "with binary_kl 0.5 in place of logit_mse 0.5"),
        ("unsteady", "2 views in place of 4"),
        ("same", "with logit_mse 2 in place of logit_mse 0.5"),
    ],
)
def test_what_an_arm_changes_is_said_from_the_settings(study, label, text):
    reference, run = (study.student_run("eeea_net_c2", "densenet161", 0, each) for each in ("", label))
    assert ablation.changes(run, reference) == text
    more = run.model_copy(update={"objective": {**reference.objective, "map_cosine": 0.1}, "views": 4})
    assert ablation.changes(more, reference) == "with map_cosine 0.1"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"seconds": null}', '{"seconds": "long"}'])
def test_a_damaged_run_card_is_named(study, content):
    path = study.run_folder(study.student_run("eeea_net_c2", "densenet161", 0)) / "card.json"
    path.write_text(content)
    with pytest.raises(PredictionsError, match=rf"{FROM}-seed0/card\.json: not the card of a finished run"):
        describe_arms(study, pd.DataFrame({"arm": []}))

"""A study file is checked before anything runs, and a study knows what each result depends on."""

import re
from pathlib import Path
from typing import get_args

import pytest

from cxr_kd import study as studies
from cxr_kd.data import READERS
from cxr_kd.errors import StudyError
from cxr_kd.models import registry
from cxr_kd.study import data_settings, settings
from cxr_kd.study.steps import steps

SHIPPED = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))
SMOKE = next(path for path in SHIPPED if path.stem == "smoke").read_text()


def written(folder: Path, text: str = SMOKE, name: str = "mine") -> Path:
    file = folder / "studies" / f"{name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_study_is_valid(file):
    study = studies.load_study(file)
    assert study.name == file.stem
    assert {run.role for run in study.all_runs} == {"teacher", "student alone", "student distilled"}
    for run in study.all_runs:
        registry.info(run.network).check_size(study.image_size)


def test_the_names_that_a_study_can_use_are_those_that_exist():
    for name in (*registry.names(), "convnext_tiny", "resnet18.a1_in1k"):
        assert settings.network_name(name) == name
    assert set(get_args(data_settings.DatasetName)) == set(READERS)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("epochs: 2, b", "epochz: 2, b", r"mine.yaml:\d+: teacher_training.epochz: unknown key; did you mean 'epochs'"),
        ("title:", "titel:", r"mine.yaml:2: titel: unknown key; did you mean 'title'"),
        (
            "[densenet121]",
            "[DenseNet-121]",
            r"mine.yaml:\d+: teachers.0.network: 'DenseNet-121' cannot .*`cxr-kd models`",
        ),
        ("explanation: {", "explanation: {form: shift2, ", r"mine.yaml:\d+: explanation: .*shift2: add it to forms"),
        ("teacher_views: 2", "objective: {focal: 1.0}", r"mine.yaml:\d+: objective.focal: .*mean 'focal_bce'"),
        ("teacher_views: 2", "objective: {bce: -1.0}", r"objective.bce: .*greater than or equal to 0"),
        ("image_size: 64", 'image_size: "64"', r"mine.yaml:\d+: image_size: .*integer, not '64'"),
        ("images: 240", "images: 2.5", r"data.phantom.images: .*integer, not 2.5"),
        ("split: random-70-10-20", "split: random", r"data.split: .*'random-70-10-20'"),
        ("split: random-70-10-20", "split: official", r"data: phantom has no official split: use split: random-7"),
        ("teacher: densenet121}", "teacher: densenet161}", r"'densenet161' is not among the teachers"),
        (
            "[densenet121]",
            "[densenet121, {network: densenet121, pretrained: imagenet}]",
            r"teachers: .*no entry twice|only once",
        ),
        (
            "[densenet121]",
            "[{network: densenet121, pretrained: true}]",
            r"mine.yaml:\d+: teachers.0.pretrained: .*'imagenet'",
        ),
        (
            "[densenet121]",
            "[{network: densenet121, epochs: 3}]",
            r"mine.yaml:\d+: teachers.0.epochs: unknown key.*training",
        ),
        (
            "[densenet121]",
            "[{network: densenet121, training: {epochs: 0}}]",
            r"teachers.0.training.epochs: .*greater than",
        ),
        ("teacher_views: 2", "seeds: [1, 1]", r"seeds: .*no entry twice"),
        ("teacher_views: 2", "seeds: [-1]", r"seeds.0: .*greater than or equal to 0"),
        ("teacher_views: 2", "objective: {focal_bce: 1.0}", r"does not use its teacher: .*above 0.*logit_mse, "),
        (
            "teacher_views: 2",
            "objective: {logit_mse: 1.0}",
            r"densenet121-seed0 has no loss: .*above 0.*focal_bce, .*bce",
        ),
        ("teacher_views: 2", "teacher_views: 2\nimage_size: 96", r"mine.yaml:\d+: image_size is given twice"),
        ("question:", "question: [", r"not readable as YAML"),
        (SMOKE, "- a list", r"a study is a mapping"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_the_allowed_values(tmp_path, before, after, told):
    assert before in SMOKE
    file = written(tmp_path, SMOKE.replace(before, after, 1))
    with pytest.raises(StudyError, match=re.compile(told)):
        studies.load_study(file)


def test_scientific_notation_is_a_number(tmp_path):
    file = written(tmp_path, SMOKE.replace("learning_rate: 1e-3", "learning_rate: 5e-4", 1))
    assert studies.load_study(file).teacher_training.learning_rate == 5e-4


def test_a_study_is_found_by_name_and_an_unknown_name_lists_the_shipped_studies():
    assert studies.load_study("smoke").file == studies.load_study("studies/smoke.yaml").file
    with pytest.raises(StudyError, match=r"demo.*smoke"):
        studies.load_study("no-such-study")


def test_results_are_stored_beside_the_studies_folder(tmp_path):
    study = studies.load_study(written(tmp_path))
    assert study.runs_folder == tmp_path / "runs" / "mine"
    assert study.report_folder == tmp_path / "reports" / "mine"


def test_run_names_contain_network_teacher_and_seed():
    assert [run.name for run in studies.load_study("smoke").all_runs] == [
        "densenet121-seed0",
        "eeea_net_c2_alone-seed0",
        "eeea_net_c2_from_densenet121-seed0",
    ]


def test_the_student_alone_has_no_loss_that_needs_a_teacher():
    objectives = {run.role: run.objective for run in studies.load_study("smoke").all_runs}
    assert "logit_mse" not in objectives["student alone"]
    assert "logit_mse" not in objectives["teacher"]
    assert objectives["student distilled"]["logit_mse"] > 0


def test_each_network_says_what_it_starts_from_and_a_teacher_how_it_is_trained(tmp_path):
    teachers = "[{network: tf_efficientnet_lite0, pretrained: imagenet, training: {epochs: 7}}, visformer_s]"
    study = studies.load_study(
        written(tmp_path, SMOKE.replace("[densenet121]", teachers).replace(": densenet121}", ": visformer_s}"))
    )
    lite, visformer, *students = study.all_runs
    assert [run.pretrained for run in study.all_runs] == ["imagenet", None, None, None]
    assert (study.training_of(lite).epochs, study.training_of(lite).batch_size) == (7, 32)
    assert study.training_of(visformer) == study.teacher_training
    assert {study.training_of(run) for run in students} == {study.student_training}

    text = study.file.read_text().replace("teacher_views", "pretrained: imagenet\nteacher_views")
    study = studies.load_study(
        written(tmp_path, text.replace("{network: eeea_net_c2}", "{network: eeea_net_c2, pretrained: false}"))
    )
    assert [run.pretrained for run in study.all_runs] == ["imagenet", "imagenet", None, "imagenet"]
    assert study.teacher_run("densenet121", 0).pretrained == "imagenet"  # not listed: what the study says


def test_a_run_that_the_study_does_not_list_can_be_asked_for():
    run = studies.load_study("smoke").student_run("eeea_net_c2", "visformer_s", seed=3)
    assert run.name == "eeea_net_c2_from_visformer_s-seed3"
    assert run.objective["logit_mse"] > 0


@pytest.mark.parametrize("names", [("../runs", "alone"), ("eeea_net_c2", "Dense Net"), ("eeea_net_c2", "")])
def test_a_run_of_an_impossible_network_name_is_refused(names):
    with pytest.raises(StudyError, match="cxr-kd models"):
        studies.load_study("smoke").student_run(*names, seed=0)


@pytest.mark.parametrize("given", [None, "no/such/folder"])
def test_a_study_without_its_data_says_what_to_put_where(monkeypatch, given):
    monkeypatch.delenv("CXR_KD_DATA", raising=False)
    if given:
        monkeypatch.setenv("CXR_KD_DATA", given)
    with pytest.raises(StudyError, match=r"chestxray14.*DATA=DIR"):
        studies.load_study("chestxray14").data_root()


def identities(folder: Path, text: str) -> dict[str, str]:
    return {step.name: step.identity for step in steps(studies.load_study(written(folder, text)))}


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ('title: "Smoke', 'title: "Another', {"08_report"}),
        ("images: 3", "images: 4", {"06_explain"}),
        ("latency_repeats: 30", "latency_repeats: 31", {"07_device"}),
        ("resamples: 200", "resamples: 300", {"04_evaluate", "06_explain", "08_report"}),
        (
            "teacher: densenet121}",
            "teacher: densenet121, objective: {focal_bce: 1.0, logit_mse: 0.7}}",
            {"03_distill-eeea_net_c2_from_densenet121-seed0"},
        ),
        (
            "teacher_training: {epochs: 2",
            "teacher_training: {epochs: 3",
            {"02_teacher-densenet121-seed0", "03_distill-eeea_net_c2_from_densenet121-seed0"},
        ),
    ],
)
def test_a_setting_changes_the_steps_that_depend_on_it_and_no_other(tmp_path, before, after, changed):
    assert before in SMOKE
    old, new = identities(tmp_path, SMOKE), identities(tmp_path, SMOKE.replace(before, after, 1))
    assert {name for name in new if new[name] != old.get(name)} == changed


def test_a_study_that_moved_is_still_the_same_study(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    here, there = identities(tmp_path, SMOKE), identities(tmp_path / "elsewhere", SMOKE)
    assert {name for name in here if here[name] != there[name]} == {"01_data"}  # its data root has moved


def test_steps_come_after_what_they_need():
    done = set()
    for step in steps(studies.load_study("smoke")):
        assert {needed.name for needed in step.needs} <= done
        done.add(step.name)


def test_an_edited_table_a_folder_down_or_a_list_is_seen(tmp_path, monkeypatch):
    text = SMOKE.replace("dataset: phantom", "dataset: chexpert").replace("split: random-70-10-20", "split: lists")
    lists = "lists: {train: l/a.txt, validation: l/b.txt, test: l/c.txt}"
    text = re.sub(r"  phantom: .*", f"  {lists}", text)
    data = tmp_path / "data"
    for name in ("CheXpert-v1.0-small/train.csv", "l/a.txt", "l/b.txt", "l/c.txt"):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_text("a")
    monkeypatch.setenv("CXR_KD_DATA", str(data))
    study = studies.load_study(written(tmp_path, text))
    seen = {steps(study)[0].identity}
    for name in ("CheXpert-v1.0-small/train.csv", "l/b.txt"):
        (data / name).write_text("ab")
        seen.add(steps(study)[0].identity)
    assert len(seen) == 3


ABLATION = """
seeds: [0, 1, 2]
ablation: {reference: eeea_net_c2_from_densenet121, questions: {"Is a teacher worth anything?": [eeea_net_c2_alone]}}
"""


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("seeds: [0, 1, 2]", "seeds: [0, 1]", r"needs at least three seeds, not 2"),
        (
            "[eeea_net_c2_alone]",
            "[eeea_net_c2_from_x]",
            r"has no student eeea_net_c2_from_x; its students: eeea",
        ),
        ("[eeea_net_c2_alone]", "[eeea_net_c2_from_densenet121]", r"is the reference, so no question can name it"),
        ("[eeea_net_c2_alone]", "[]", r"mine.yaml:\d+: ablation.questions.*at least 1 item"),
        ("[eeea_net_c2_alone]", "[densenet121]", r"has no student densenet121"),
    ],
)
def test_an_ablation_that_cannot_be_answered_is_refused(tmp_path, before, after, told):
    studies.load_study(written(tmp_path, SMOKE + ABLATION))
    with pytest.raises(StudyError, match=told):
        studies.load_study(written(tmp_path, SMOKE + ABLATION.replace(before, after)))


def test_questions_change_the_comparisons_and_no_training(tmp_path):
    plain = {
        step.name: step.identity for step in steps(studies.load_study(written(tmp_path, SMOKE + "seeds: [0, 1, 2]\n")))
    }
    asking = {step.name: step.identity for step in steps(studies.load_study(written(tmp_path, SMOKE + ABLATION)))}
    assert {name for name in plain if plain[name] != asking[name]} == {"08_report"}
    assert set(asking) - set(plain) == {"05_ablation"}


FURTHER = """
evaluate_on:
  hospital_b:
    data: {dataset: phantom, phantom: {images: 40, size: 64, seed: 7, ap_share: 0.8}}
"""


def test_a_further_data_set_changes_the_evaluation_and_no_training(tmp_path):
    alone, further, other = (
        {step.name: step.identity for step in steps(studies.load_study(written(tmp_path, text)))}
        for text in (SMOKE, SMOKE + FURTHER, SMOKE + FURTHER.replace("0.8", "0.7"))
    )
    assert {name for name in alone if alone[name] != further[name]} == {"04_evaluate"}
    assert {name for name in alone if other[name] != further[name]} == {"04_evaluate"}
    before, after = (studies.load_study(written(tmp_path, text)) for text in (SMOKE, SMOKE + FURTHER))
    assert [before.run_settings(run) for run in before.all_runs] == [after.run_settings(run) for run in after.all_runs]
    assert after.evaluate_on["hospital_b"].data.split == "all-test"
    assert after.external_root("hospital_b") != after.data_root()


def test_new_labels_in_the_folder_of_a_further_data_set_change_the_evaluation(tmp_path):
    (tmp_path / "there").mkdir()
    text = SMOKE + "evaluate_on:\n  there: {root: there, data: {dataset: chexpert, split: official}}\n"
    seen = set()
    for labels in ("Path\n", "Path,Sex\n"):
        (tmp_path / "there" / "train.csv").write_text(labels)
        study = studies.load_study(written(tmp_path, text))
        seen.add(next(step.identity for step in steps(study) if step.name == "04_evaluate"))
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (FURTHER.replace("ap_share", "ap_shar"), r"mine.yaml:\d+: .*ap_shar: unknown key; did you mean 'ap_share'"),
        (FURTHER.replace("data:", "date:"), r"evaluate_on.hospital_b.date: unknown key; did you mean 'data'"),
        (FURTHER.replace("hospital_b", "../b"), r"evaluate_on.../b: '../b' cannot name a folder: use letters"),
        (FURTHER.replace("hospital_b", "b" * 41), r"cannot name a folder: .*at most 40"),
        (FURTHER.replace("seed: 7, ", ""), r"hospital_b: phantoms of one seed are the same patients.*than 0"),
        (
            FURTHER + "    root: there\n",
            r"evaluate_on.hospital_b: the study draws its phantoms itself: leave out 'root'",
        ),
        (
            "evaluate_on:\n  b: {data: {dataset: padchest}}\n",
            r"evaluate_on.b: name the folder of .*'padchest': root: DIR",
        ),
        (
            "evaluate_on:\n  b: {root: x, data: {dataset: padchest, split: official}}\n",
            r"padchest has no official split",
        ),
        ("evaluate_on:\n  b: {root: '', data: {dataset: padchest}}\n", r"evaluate_on.b.root: .*at least 1 char"),
        ("evaluate_on: [b]\n", r"mine.yaml:\d+: evaluate_on: .*object, not"),
    ],
)
def test_a_wrong_further_data_set_is_named(tmp_path, text, told):
    with pytest.raises(StudyError, match=told):
        studies.load_study(written(tmp_path, SMOKE + text))


def test_a_study_needs_a_training_side(tmp_path):
    with pytest.raises(StudyError, match=r"data: split: all-test leaves no image to train on; .*evaluate_on"):
        studies.load_study(written(tmp_path, SMOKE.replace("random-70-10-20", "all-test")))


def test_settings_of_another_hospital_leave_older_phantoms_valid():
    """Phantoms are found and recognised by the digest of their settings, which was this before there were others."""
    settings_ = data_settings.PhantomSettings(images=240, size=64, minimum_rate=0.12)
    assert settings.digest(settings_.model_dump()) == "03f00a469a00c0b15fe23bfbcba7f0c828a97c7fcdc3cbadec8e8704ed47238c"
    other = data_settings.PhantomSettings(images=240, size=64, minimum_rate=0.12, exposure=0.1)
    assert other.model_dump()["exposure"] == 0.1
    assert "ap_share" not in other.model_dump()

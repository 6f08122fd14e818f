"""Each of the paper's teachers is trained, teaches and explains; several teach together; answers are computed once."""

import numpy as np
import pytest
import torch
from tiny_study import tiny_study

from cxr_kd.distill.outputs import observe
from cxr_kd.distill.stored_answers import answers_summary
from cxr_kd.errors import StudyError, TeacherError
from cxr_kd.explanation.examples import choose_examples, explain_examples
from cxr_kd.files import read_json
from cxr_kd.training.finished_run import load_run, read_trained_on
from cxr_kd.training.run import train

PAPER = ("eeea_net_c2", "ofa_595", "densenet161", "visformer_s", "autoformer_v2_t")
MAPS = "objective: {focal_bce: 1.0, logit_mse: 0.5, map_cosine: 0.1}\n"


def study_of(home, *students, teachers=PAPER):
    return tiny_study(home, *students, teachers=teachers, epochs=2, more=MAPS)


@pytest.mark.parametrize("name", PAPER)
def test_every_teacher_of_the_paper_learns_teaches_and_explains(home, data, name):
    study = study_of(home, f"{{network: eeea_net_c2, teacher: {name}}}")
    teacher, student = study.teacher_run(name, 0), study.student_run("eeea_net_c2", name, 0)
    train(study, student, data)
    history = study.run_folder(student) / "history.csv"
    assert "map_cosine" in history.read_text()
    networks = {run.arm: load_run(study, run, data) for run in (teacher, student)}
    pair = choose_examples(data, 2)
    for example, (image_id, finding) in zip(explain_examples(networks, data, pair), pair, strict=True):
        image = torch.from_numpy(data.cache.images[data.cache.rows([image_id])][:, None].copy())
        for arm, network in networks.items():
            with torch.no_grad():
                expected = observe(network.eval(), image, {"evidence"})
            column = data.table.findings.index(finding)
            np.testing.assert_allclose(example.logits[arm], expected.logits[0, column].numpy(), atol=1e-4)
            np.testing.assert_allclose(example.maps[arm], expected.evidence[0, column].relu().numpy(), atol=1e-4)


def test_two_teachers_answer_as_one_and_the_student_names_the_images_of_both(home, data):
    study = study_of(home, "{network: eeea_net_c2, teacher: eeea_net_c2+ofa_595}")
    run = study.student_run("eeea_net_c2", "eeea_net_c2+ofa_595", 0)
    folder = train(study, run, data)
    assert folder.name == "eeea_net_c2_from_eeea_net_c2+ofa_595-seed0"
    assert read_json(folder / "card.json")["teacher"] == "eeea_net_c2+ofa_595"
    for teacher in study.teacher_runs(run):
        assert answers_summary(study.run_folder(teacher))["views"] == 1
    assert len(read_trained_on(folder / "model.safetensors").images) == 1  # the same phantoms, once


def test_answers_are_computed_once_for_the_views_of_all_students(home, data, monkeypatch):
    study = study_of(
        home,
        "{network: eeea_net_c2, teacher: eeea_net_c2, label: few}",
        "{network: eeea_net_c2, teacher: eeea_net_c2, label: many, views: 2}",
        teachers=("eeea_net_c2",),
    )
    few, many = (run for run in study.all_runs if run.role != "teacher")
    train(study, few, data)
    (teacher,) = study.teacher_runs(few)
    stored = answers_summary(study.run_folder(teacher))
    assert stored["views"] == 2  # as many as the student with most views needs
    assert stored["seconds"] > 0
    again = "cxr_kd.training.teacher_answers.compute_answers"
    monkeypatch.setattr(again, lambda *_, **__: pytest.fail("the answers were computed again"))
    train(study, many, data)


def test_a_teacher_without_stored_answers_has_no_summary(tmp_path):
    with pytest.raises(TeacherError, match=r"answers: no answers are stored; train a student"):
        answers_summary(tmp_path)


def test_teachers_that_cannot_answer_together_are_refused(tmp_path):
    one, two = "{network: eeea_net_c2, teacher: ofa_595+ofa_595}", "{network: eeea_net_c2, teacher: ofa_595+resnet18}"
    with pytest.raises(StudyError, match="name each teacher once"):
        study_of(tmp_path, one)
    with pytest.raises(StudyError, match="'resnet18' is not among the teachers"):
        study_of(tmp_path, two)
    with pytest.raises(StudyError, match="hint compares features, and features of several teachers cannot"):
        study_of(
            tmp_path, "{network: eeea_net_c2, teacher: ofa_595+densenet161, objective: {focal_bce: 1.0, hint: 1.0}}"
        )

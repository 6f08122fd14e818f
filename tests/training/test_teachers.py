"""Each of the paper's teachers is trained, teaches and explains; several teach together, and each is asked once."""

import numpy as np
import pytest
import torch

from cxr_kd import study as studies
from cxr_kd.data.prepare import Prepared, prepare
from cxr_kd.distill import teacher as teachers
from cxr_kd.distill.outputs import observe
from cxr_kd.errors import StudyError
from cxr_kd.explanation.examples import choose, explain
from cxr_kd.files import read_json
from cxr_kd.training.run import load_run, read_trained_on, train

PAPER = ("eeea_net_c2", "ofa_595", "densenet161", "visformer_s", "autoformer_v2_t")
TINY = """
title: Tiny
question: Does every teacher teach?
data:
  dataset: phantom
  phantom: {{images: 60, size: 32, minimum_rate: 0.2}}
image_size: 32
teachers: [{teachers}]
students:
{students}
objective: {{focal_bce: 1.0, logit_mse: 0.5, map_cosine: 0.1}}
teacher_views: 1
teacher_training: {{epochs: 1, batch_size: 16}}
student_training: {{epochs: 2, batch_size: 16}}
"""


def study_of(folder, *students: str, teachers=PAPER) -> studies.Study:
    file = folder / "studies" / "tiny.yaml"
    file.parent.mkdir(exist_ok=True)
    lines = "\n".join(f"  - {student}" for student in students)
    file.write_text(TINY.format(teachers=", ".join(teachers), students=lines))
    return studies.load_study(file)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def data(home) -> Prepared:
    return prepare(study_of(home, "{network: eeea_net_c2}"), workers=1, progress=False)


@pytest.mark.parametrize("name", PAPER)
def test_every_teacher_of_the_paper_learns_teaches_and_explains(home, data, name):
    study = study_of(home, f"{{network: eeea_net_c2, teacher: {name}}}")
    teacher, student = study.teacher_run(name, 0), study.student_run("eeea_net_c2", name, 0)
    train(study, student, data)
    history = study.run_folder(student) / "history.csv"
    assert "map_cosine" in history.read_text()
    networks = {run.arm: load_run(study, run, data) for run in (teacher, student)}
    pair = choose(data, 2)
    for example, (image_id, finding) in zip(explain(networks, data, pair), pair, strict=True):
        image = torch.from_numpy(data.cache.images[data.cache.rows([image_id])][:, None].copy())
        for arm, network in networks.items():
            with torch.no_grad():
                said = observe(network.eval(), image, {"evidence"})
            column = data.table.findings.index(finding)
            np.testing.assert_allclose(example.logits[arm], said.logits[0, column].numpy(), atol=1e-4)
            np.testing.assert_allclose(example.maps[arm], said.evidence[0, column].relu().numpy(), atol=1e-4)


def test_two_teachers_answer_as_one_and_both_travel_with_the_student(home, data):
    study = study_of(home, "{network: eeea_net_c2, teacher: eeea_net_c2+ofa_595}")
    run = study.student_run("eeea_net_c2", "eeea_net_c2+ofa_595", 0)
    folder = train(study, run, data)
    assert folder.name == "eeea_net_c2_from_eeea_net_c2+ofa_595-seed0"
    assert read_json(folder / "card.json")["teacher"] == "eeea_net_c2+ofa_595"
    for teacher in study.teacher_runs(run):
        assert teachers.cost(study.run_folder(teacher))["views"] == 1
    assert len(read_trained_on(folder / "model.safetensors").images) == 1  # the same phantoms, once


def test_a_teacher_is_asked_once_for_all_of_its_students_views(home, data, monkeypatch):
    study = study_of(
        home,
        "{network: eeea_net_c2, teacher: eeea_net_c2, label: few}",
        "{network: eeea_net_c2, teacher: eeea_net_c2, label: many, views: 2}",
        teachers=("eeea_net_c2",),
    )
    few, many = (run for run in study.all_runs if run.role != "teacher")
    train(study, few, data)
    (teacher,) = study.teacher_runs(few)
    kept = teachers.cost(study.run_folder(teacher))
    assert kept["views"] == 2  # as many as the one with most needs
    assert kept["seconds"] > 0
    monkeypatch.setattr("cxr_kd.training.run.ask", lambda *_, **__: pytest.fail("the teacher was asked again"))
    train(study, many, data)


def test_a_teacher_that_was_never_asked_has_no_cost(tmp_path):
    with pytest.raises(teachers.TeacherError, match=r"answers: no answers are kept; train a student"):
        teachers.cost(tmp_path)


def test_teachers_that_can_not_answer_together_are_refused(tmp_path):
    one, two = "{network: eeea_net_c2, teacher: ofa_595+ofa_595}", "{network: eeea_net_c2, teacher: ofa_595+resnet18}"
    with pytest.raises(StudyError, match="must each stand once"):
        study_of(tmp_path, one)
    with pytest.raises(StudyError, match="'resnet18' is not among the teachers"):
        study_of(tmp_path, two)
    with pytest.raises(StudyError, match="hint compares features, of which several teachers have no mean"):
        study_of(
            tmp_path, "{network: eeea_net_c2, teacher: ofa_595+densenet161, objective: {focal_bce: 1.0, hint: 1.0}}"
        )

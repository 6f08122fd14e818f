"""Published weights in a study file: what must be said about them, and how mistakes are named."""

import pytest

from cxr_kd.errors import StudyError
from cxr_kd.study import load_study
from cxr_kd.study.published import data_set_name, data_sets_in

ALL = "nih-pc-chex-mimic_ch-google-openi-kaggle-densenet121-d121-tw-lr001-rot45-tr15-sc15-seed0-best.pt"
TEXT = """
title: Published
question: Does a published network teach?
data: {dataset: phantom, phantom: {images: 40}}
pretrained: imagenet
teachers: [%s]
students: [{network: eeea_net_c2, pretrained: false, teacher: densenet121}]
teacher_training: {epochs: 1}
student_training: {epochs: 1}
"""


@pytest.fixture
def read(tmp_path):
    def read(teacher):
        file = tmp_path / "studies" / "published.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(TEXT % teacher)
        return load_study(file)

    return read


def weights(**settings):
    settings = {"file": "weights/x.pt", "layout": "torchxrayvision", "trained_on": "[chex]", **settings}
    return "weights: {" + ", ".join(f"{key}: {value}" for key, value in settings.items() if value) + "}"


def test_a_teacher_of_published_weights_does_not_start_from_imagenet(read):
    study = read(f"{{network: densenet121, {weights()}}}")
    teacher = study.teacher_run("densenet121", 0)
    assert teacher.pretrained is None
    assert study.published_weights(teacher).trained_on == ("chexpert",)
    assert study.published_weights(study.student_run("eeea_net_c2", "densenet121", 0)) is None


def test_its_identity_is_that_of_the_file_s_content(read, tmp_path):
    study = read(f"{{network: densenet121, {weights()}}}")
    teacher, student = study.teacher_run("densenet121", 0), study.student_run("eeea_net_c2", "densenet121", 0)
    with pytest.raises(StudyError, match=r"there is no weights file at .*weights/x\.pt: put it there, or correct"):
        study.run_settings(teacher)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "x.pt").write_bytes(b"first")
    first = study.identity(student, "data")
    (tmp_path / "weights" / "x.pt").rename(tmp_path / "moved.pt")
    moved = read(f"{{network: densenet121, {weights(file=tmp_path / 'moved.pt')}}}")
    assert moved.identity(student, "data") == first
    (tmp_path / "moved.pt").write_bytes(b"second")
    assert moved.identity(student, "data") != first


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (f"{{network: densenet121, {weights(trained_on='')}}}", "say what these weights were trained on, every data s"),
        (
            f"{{network: densenet121, {weights(trained_on='', file=ALL)}}}",
            r"trained_on: \[chestxray14, padchest, chexpert, mimic-cxr, google-nih, openi, rsna-pneumonia\].*By ",
        ),
        (f"{{network: densenet121, {weights(trained_on='[chexpret]')}}}", "'chexpret' .* did you mean 'chexpert'"),
        (f"{{network: densenet121, {weights(layout='foreign')}}}", "layout: Input should be 'torchxrayvision'"),
        (f"{{network: resnet50, {weights()}}}", "layout torchxrayvision are those of a densenet121, not resnet50"),
        (f"{{network: densenet121, pretrained: imagenet, {weights()}}}", "leave out 'training' and 'pretrained'"),
        (f"{{network: densenet121, training: {{epochs: 1}}, {weights()}}}", "leave out 'training' and 'pretrained'"),
    ],
)
def test_mistakes_are_named_with_their_line(read, teacher, message):
    with pytest.raises(StudyError, match=rf"published\.yaml:6: teachers\.0.*{message}"):
        read(teacher)


def test_data_sets_have_one_name():
    assert data_set_name("NIH") == data_set_name("ChestX-ray14") == "chestxray14"
    assert data_set_name("MIMIC-CXR-JPG") == data_set_name("mimic_ch") == "mimic-cxr"
    assert data_set_name("Hospital of Springfield") == "Hospital of Springfield"
    for wrong, message in (("chest-xray-41", "did you mean 'chestxray14'"), (" ", "cannot be empty")):
        with pytest.raises(ValueError, match=message):
            data_set_name(wrong)


def test_a_file_name_that_is_not_torchxrayvision_s_gives_no_hint():
    assert data_sets_in("pc-densenet121-d121.pt") == ("padchest",)
    assert data_sets_in("best.pt") == data_sets_in("nih-mine-densenet121.pt") == ()

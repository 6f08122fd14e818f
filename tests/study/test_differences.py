"""Settings that differ between studies, as a flat table."""

from pathlib import Path

from cxr_kd.study import load_study
from cxr_kd.study.differences import differing_settings, flat, setting_text

ABOUT = "title: A\nquestion: B?\n"
REST = """\
data: {dataset: chexpert}
teachers: [densenet161, {network: visformer_s, pretrained: imagenet}]
students:
  - {network: eeea_net_c2}
  - {network: eeea_net_c2, teacher: densenet161, views: 3}
teacher_training: {epochs: 2}
student_training: {epochs: 3}
seeds: [0, 1, 2]
"""


def differing(folder: Path, *texts: str) -> dict[str, list[str]]:
    studies = []
    for number, text in enumerate(texts):
        file = folder / f"study{number}.yaml"
        file.write_text(ABOUT + text)
        studies.append(load_study(file))
    return differing_settings(studies)


def test_equal_studies_differ_in_nothing_whatever_they_say_of_themselves(tmp_path: Path) -> None:
    other = REST + "reporting: {limitations: The images are few and from one hospital.}\n"
    assert differing(tmp_path, REST, other.replace("epochs: 2", "epochs: 2, batch_size: 32")) == {}


def test_defaults_count_and_other_losses_are_told_one_by_one(tmp_path: Path) -> None:
    other = REST.replace("epochs: 3", "epochs: 3, learning_rate: 0.002").replace("[0, 1, 2]", "[0, 1]")
    found = differing(
        tmp_path, REST, other + "objective: {focal_bce: 1.0, map_cosine: 0.1}\naugmentation: {scale: 0.0}\n"
    )
    assert found == {
        "augmentation.scale": ["0.1", "0"],
        "objective.logit_mse": ["0.5", ""],
        "objective.map_cosine": ["", "0.1"],
        "seeds": ["[0, 1, 2]", "[0, 1]"],
        "student_training.learning_rate": ["0.001", "0.002"],
    }


def test_a_teacher_or_student_is_compared_between_the_studies_that_have_it(tmp_path: Path) -> None:
    other = REST.replace("pretrained: imagenet", "pretrained: false").replace("views: 3", "views: 2")
    third = REST.replace(", {network: visformer_s, pretrained: imagenet}", "")
    assert differing(tmp_path, REST, other, third) == {
        "teachers.visformer_s.pretrained": ["imagenet", "false", ""],
        "students.eeea_net_c2_from_densenet161.views": ["3", "2", "3"],
    }
    assert differing(tmp_path, REST, third) == {}


def test_labels_with_dots_are_labels(tmp_path: Path) -> None:
    more = "".join(f"  - {{network: eeea_net_c2, teacher: densenet161, label: w{n}, views: 2}}\n" for n in ("0", "0.5"))
    one = REST.replace("teacher_training", more + "teacher_training")
    other = one.replace("label: w0.5, views: 2", "label: w0.5, views: 1")
    without = one.replace(more, more.splitlines()[0] + "\n")
    key = "students.eeea_net_c2_from_densenet161-w0.5.views"
    assert differing(tmp_path, one, other, without) == {key: ["2", "1", ""]}
    assert differing(tmp_path, one, without) == {}


def test_a_part_that_only_one_study_has_is_listed_by_its_settings_alone(tmp_path: Path) -> None:
    ablation = "ablation: {reference: eeea_net_c2_from_densenet161, questions: {Any at all: [eeea_net_c2_alone]}}\n"
    assert differing(tmp_path, REST, REST + ablation) == {
        "ablation.reference": ["", "eeea_net_c2_from_densenet161"],
        "ablation.questions.Any at all": ["", "[eeea_net_c2_alone]"],
    }


def test_settings_are_written_as_in_a_study_file() -> None:
    assert flat({"a": {"b": {"c": 1}, "d": None}, "e": ()}) == {"a.b.c": 1, "a.d": None, "e": ()}
    texts = [setting_text(value) for value in (True, None, 0.00005, 3, "official", [[], ["first"]], {"a": False})]
    assert texts == ["true", "null", "5e-05", "3", "official", "[[], [first]]", "{a: false}"]

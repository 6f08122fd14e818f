"""Arms, controls and variants of a study with an ablation."""

from cxr_kd.study import load_study
from cxr_kd.study.arms import all_arms, arms_of, compared_arms, control_of, controls, variants

FROM = "eeea_net_c2_from_densenet121"


def test_an_ablation_compares_its_reference_first_and_each_arm_once() -> None:
    study = load_study("ablation")
    compared = compared_arms(study)
    assert compared[0] == FROM
    assert len(set(compared)) == len(compared)
    assert set(compared) == {arm for arm, runs in all_arms(study).items() if runs[0].role != "teacher"}
    assert compared_arms(load_study("smoke")) == ()


def test_variants_are_the_labelled_students_that_only_the_ablation_names() -> None:
    study = load_study("ablation")
    assert all(arm.startswith(f"{FROM}-") for arm in variants(study))
    assert set(arms_of(study)) == set(all_arms(study)) - variants(study)
    assert "eeea_net_c2_alone" in arms_of(study)


def test_the_control_is_the_same_network_alone() -> None:
    study = load_study("ablation")
    assert control_of(study, f"{FROM}-kl") == "eeea_net_c2_alone"
    assert control_of(study, "densenet121") is None
    assert ("eeea_net_c2_alone", FROM) in controls(study)
    assert {arm for pair in controls(study) for arm in pair} <= set(arms_of(study))

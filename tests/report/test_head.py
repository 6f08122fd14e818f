"""The head of the report: the answer, how far to trust it, the steps of the study, its limits; references as files."""

import re
from html import unescape

import numpy as np
import pandas as pd
import pytest

from cxr_kd.files import read_json, write_json
from cxr_kd.report.citations import bibtex, link, references
from cxr_kd.report.headline import share_sentences, side_tested
from cxr_kd.report.limits import intended_use, limits
from cxr_kd.report.methods import methods_text, references_of
from cxr_kd.report.page import SECTIONS, write_report
from cxr_kd.report.scheme import scheme
from cxr_kd.report.study_files import read_study_files
from cxr_kd.report.style import arm_styles
from cxr_kd.report.trust import trust

NO_BREAK = "\N{NO-BREAK SPACE}"


def told(study) -> dict[str, str]:
    files = read_study_files(study)
    return dict(trust(study, files, arm_styles(study), side_tested(files.data)))


def test_each_student_keeps_a_share_of_its_teachers_advantage(make_study) -> None:
    study = make_study()
    styles = arm_styles(study)
    row = {
        "teacher": "densenet161", "alone": "eeea_net_c2_alone", "student": "eeea_net_c2_from_densenet161",
        "interval": "patients", "advantage": 0.16, "advantage_low": 0.1, "advantage_high": 0.2,
    }  # fmt: skip
    kept = pd.DataFrame([{**row, "share": 0.391, "share_low": -0.02, "share_high": 0.52}])
    assert share_sentences(kept, styles) == [
        f"Of DenseNet-161's advantage in mean AUROC over EEEA-Net-C2 alone, +0.160{NO_BREAK}(+0.100{NO_BREAK}to"
        f"{NO_BREAK}+0.200), EEEA-Net-C2 from DenseNet-161 kept "
        + "39 % (\N{MINUS SIGN}2 to 52 %)".replace(" ", NO_BREAK)
        + "."
    ]
    without = kept.assign(share=np.nan, share_low=np.nan, share_high=np.nan)
    assert "had no clear advantage" in share_sentences(without, styles)[0]
    assert share_sentences(kept.assign(advantage=np.nan), styles) == []
    assert "kept" in write_report(study).read_text()


def test_trust_says_how_many_trainings_patients_and_other_data_sets(make_study) -> None:
    once = told(make_study())
    assert list(once) == ["Trainings", "Patients", "Test images", "Probabilities", "Use"]
    assert "trained once" in once["Trainings"]
    assert "No patient is on two sides" in once["Patients"]
    assert "no test on images of another data set" in once["Patients"]


def test_trust_changes_with_the_study(make_study) -> None:
    study = make_study(seeds=(0, 1))
    data = read_json(study.runs_folder / "data.json")
    data["split"]["sides"]["test"]["patients"] = 12
    write_json(study.runs_folder / "data.json", {**data, "source": {**data["source"], "patients": "not known"}})
    twice = told(study)
    assert "2 seeds" in twice["Trainings"]
    assert "12 patients. Intervals from so few patients are too narrow." in twice["Patients"]
    assert "The patients are not known" in twice["Patients"]


def test_the_calibration_error_is_the_mean_over_scored_findings(make_study) -> None:
    study = make_study()
    frame = pd.read_csv(study.runs_folder / "calibration.csv")
    scored = (frame["arm"] == "eeea_net_c2_from_densenet161") & frame["left_out"].isna()
    for kind, error in (("raw", 0.31), ("platt", 0.04)):
        frame.loc[scored & (frame["probabilities"] == kind), "ece"] = error
    frame.to_csv(study.runs_folder / "calibration.csv", index=False)
    assert "by 31 percentage points" in told(study)["Probabilities"]
    assert "by 4 after recalibration" in told(study)["Probabilities"]


def test_the_scheme_names_each_step_with_numbers_of_the_data_card(make_study) -> None:
    study = make_study()
    files = read_study_files(study)
    steps = dict(scheme(study, files, arm_styles(study)))
    assert list(steps) == ["Data", "Split", "Teacher", "Answers", "Student", "Device"]
    assert f"{files.data['images']:,} images" in steps["Data"]
    assert "DenseNet-161" in steps["Teacher"]
    assert "distilled in 2 ways" in steps["Student"]


def test_limits_follow_from_the_data(make_study) -> None:
    study = make_study()
    files = read_study_files(study)
    phantoms = " ".join(limits(study, files, side_tested(files.data)))
    assert "drawn by a program" in phantoms
    assert "trained once" in phantoms
    assert "for no patient" in intended_use(study, files)
    study = make_study("mini", "chestxray14", seeds=(0, 1))
    files = read_study_files(study)
    real = " ".join(limits(study, files, side_tested(files.data)))
    assert "extracted from reports" in real
    assert "drawn by a program" not in real
    assert "trained once" not in real
    assert "none may be used for decisions about patients" in intended_use(study, files)


def test_the_answer_comes_first_and_data_and_methods_after_the_results(report) -> None:
    anchors = re.findall(r'<section id="([^"]*)"', report.read_text())
    assert anchors == [anchor for anchor in SECTIONS if anchor in anchors]
    assert anchors.index("results") < anchors.index("explanations") < anchors.index("cost") < anchors.index("data")
    head = unescape(report.read_text().partition('<section id="asked">')[0])
    for piece in ("How far to trust this", "kept", "Figure 1.", "probability that a network gives an image"):
        assert piece in head


def test_every_reference_becomes_bibtex_with_authors_title_and_year() -> None:
    for text in references().values():
        entry = bibtex([text])
        for field in ("author", "title", "year"):
            assert re.search(rf"(?m)^  {field} = \{{.+\}},$", entry), text
        assert entry.count("{") == entry.count("}")


def test_bibtex_of_a_known_reference_and_of_a_data_cards() -> None:
    assert bibtex([references()["timm"]]) == (
        "@misc{timm,\n  author = {Wightman, R},\n  title = {{PyTorch Image Models (timm), 2019}},\n"
        "  howpublished = {doi:10.5281/zenodo.4414861},\n  year = {2019},\n"
        "  url = {https://doi.org/10.5281/zenodo.4414861},\n}\n"
    )
    assert "title = {{Drawn by hand}}" in bibtex(["Drawn by hand"])
    assert bibtex(["Drawn by hand"]).startswith("@misc{ref1,")


@pytest.mark.parametrize(
    ("reference", "address"),
    [
        ("A B. C. CVPR 2017. arXiv:1608.06993.", "https://arxiv.org/abs/1608.06993"),
        ("A B. C. J 2025. doi:10.1016/j.landig.2025.100916.", "https://doi.org/10.1016/j.landig.2025.100916"),
        ("A B. C. ICCV 2017.", ""),
    ],
)
def test_a_reference_links_to_its_doi_or_preprint(reference, address) -> None:
    assert link(reference) == address


def test_the_references_of_the_methods_are_those_of_the_file(make_study) -> None:
    study = make_study()
    page = write_report(study)
    cited = references_of(methods_text(study, read_study_files(study)))
    assert len(cited) > 10
    assert (page.parent / "references.bib").read_text().count("@misc{") == len(cited)
    listed = re.search(r'<ol class="references">(.*?)</ol>', page.read_text(), re.DOTALL)[1]
    assert listed.count("<li>") == len(cited)

"""The section about other hospitals: in the report of a study that names some, with the numbers of its files."""

from dataclasses import replace

import pytest
from fake_study import SHA

from cxr_kd.errors import PredictionsError, ReportError
from cxr_kd.evaluation.across import CHANGES, EVALUATIONS, FILES, PREDICTIONS, read_across, write_across
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.mrmc import OVER_BOTH
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.report import across_views
from cxr_kd.report.page import write_report
from cxr_kd.report.style import arm_styles, to_svg
from cxr_kd.study import load_study
from cxr_kd.study.arms import arms_of

FURTHER = """
evaluate_on:
  hospital_b:
    data: {dataset: phantom, phantom: {images: 300, seed: 3}}
"""


@pytest.fixture
def study(make_study):
    """A study whose networks were also scored on the first 240 images of "another hospital", over three findings."""
    plain = make_study()
    plain.file.write_text(plain.file.read_text() + FURTHER)
    study = load_study(plain.file)
    for run in [run for runs in arms_of(study).values() for run in runs]:
        ours = Predictions.read(study.run_folder(run) / "predictions-test.parquet")
        metadata = ours.metadata.model_copy(update={"split": "all-test", "split_sha256": SHA[::-1]})
        frame = ours.frame.head(240).reset_index(drop=True)
        theirs = replace(ours, frame=frame, metadata=metadata).of_findings(("Effusion", "Mass", "Hernia"))
        theirs.write(study.external_folder(run, "hospital_b") / PREDICTIONS)
    write_across(study)
    return study


def test_the_report_has_the_section_with_what_it_is_about(study):
    page = write_report(study).read_text(encoding="utf-8")
    section = page.split('<section id="external">')[1].split("</section>")[0]
    assert "Other hospitals: external testing" in section
    assert "External testing: hospital_b (phantoms, split all-test, test side, 240 images of 80 patients)" in section
    assert (
        "Internal testing: phantom (phantoms, split random-70-10-20, test side, 300 images of 100 patients)" in section
    )
    assert "the same 2 shared findings" in section
    assert section.count("data:image/svg+xml") == 1
    means = read_across(study)[EVALUATIONS].query("finding == @MEAN")
    for value in means["auroc"]:
        assert f"{value:.3f}" in section
    assert all(name in section for name in FILES)


def test_guidelines_and_methods_tell_of_external_testing(study):
    page = write_report(study)
    guidelines = (page.parent / "guidelines.html").read_text(encoding="utf-8")
    assert "External testing over the shared findings, without training again: hospital_b (phantoms" in guidelines
    assert 'href="index.html#external"' in guidelines
    assert "internal testing only" not in guidelines.lower()
    methods = (page.parent / "methods.md").read_text(encoding="utf-8")
    assert "internal and external testing" in methods
    assert "tested on hospital_b over the shared findings (external testing)" in methods


def test_a_study_without_further_data_sets_has_no_section(report):
    assert 'id="external"' not in report.read_text(encoding="utf-8")


def test_the_tables_hold_the_numbers_of_the_files(study):
    frames, styles = read_across(study), arm_styles(study)
    matrix = across_views.matrix_table(frames, styles)
    assert [row[0].text for row in matrix.rows] == [style.label for style in styles.values()]
    assert len(matrix.columns) == 3
    changes = frames[CHANGES].query("finding == @MEAN")
    rows = across_views.change_table(frames, styles).rows
    assert [row[3].text.replace("\N{MINUS SIGN}", "-") for row in rows] == [
        f"{value:+.3f}" for value in changes["auroc_difference"]
    ]
    findings = across_views.finding_table(frames, styles)
    assert [row[0] for row in findings.rows] == ["Effusion", "Effusion", "Mass", "Mass", "Hernia", "Hernia"]
    assert findings.rows[-1][-1].detail.startswith("left out: ")


def test_the_matrix_is_drawn_also_without_a_mean(study):
    frames, styles = read_across(study), arm_styles(study)
    evaluations = frames[EVALUATIONS].copy()
    evaluations.loc[evaluations["finding"] == MEAN, ["auroc", "auroc_low", "auroc_high"]] = float("nan")
    for each in (frames, {**frames, EVALUATIONS: evaluations}):
        assert to_svg(across_views.matrix(each, styles)).startswith(b"<?xml")


def test_a_change_is_shown_untested_or_absent(study):
    frames, styles = read_across(study), arm_styles(study)
    assert {row[5] for row in across_views.change_table(frames, styles).rows} == {"not tested: one training"}
    shown = frames[CHANGES]["data_set"] == "hospital_b"
    several = {**frames, CHANGES: frames[CHANGES].assign(interval=OVER_BOTH, shown=shown)}
    verdicts = {(row[1], row[5]) for row in across_views.change_table(several, styles).rows}
    assert verdicts == {("Internal testing, phantom", "no"), ("External testing, hospital_b", "yes")}
    assert across_views.change_table({**frames, CHANGES: frames[CHANGES].head(0)}, styles) is None


def test_missing_and_foreign_tables_are_named(study):
    path = study.runs_folder / EVALUATIONS
    text = path.read_text()
    path.write_text(text.replace("hospital_b", "hospital_c"))
    with pytest.raises(PredictionsError, match=r"across-data-sets.csv: holds other networks or data sets.*04_evaluate"):
        write_report(study)
    path.unlink()
    with pytest.raises(ReportError, match=r"across-data-sets.csv: there is no such file; run notebook 04_evaluate"):
        write_report(study)

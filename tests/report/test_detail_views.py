"""The report's sections about probabilities, groups of patients and agreement, and the figures behind them."""

import re

import pandas as pd
import pytest

from cxr_kd.errors import ReportError
from cxr_kd.evaluation.details import FILES, read_details
from cxr_kd.evaluation.probability.operating_points import FILE, OperatingPoints
from cxr_kd.report import detail_views
from cxr_kd.report.page import write_report
from cxr_kd.report.style import arm_styles
from cxr_kd.study.arms import main_arms, taught


def test_the_main_arms_are_one_teacher_its_student_alone_and_the_last_distilled(make_study) -> None:
    study = make_study()
    assert main_arms(study) == ("densenet161", "eeea_net_c2_alone", "eeea_net_c2_from_densenet161")
    assert ("visformer_s", "eeea_net_c2_alone") in taught(study)


def test_curves_have_the_main_arms_and_tables_every_arm(report) -> None:
    page = re.sub(r"base64,[^\"]*", "", report.read_text())
    section = page[page.index('<section id="probabilities">') : page.index('<section id="groups">')]
    assert section.count("<img ") == 6
    assert section.count("<details>") == 6  # one per network, and one for further figures
    assert "0.5 is not its operating point" in section
    assert section.count('.svg" aria-label="SVG: ') == 6
    groups = page[page.index('<section id="groups">') : page.index('<section id="agreement">')]
    assert "All images" in groups
    agreement = page[page.index('<section id="agreement">') : page.index('<section id="published">')]
    assert agreement.count("<table>") == 3


def test_operating_points_are_kept_beside_each_run_and_are_those_of_the_table(make_study) -> None:
    study = make_study()
    table = read_details(study)["operating-points.csv"].set_index(["arm", "finding", "rule"])
    for run in study.all_runs:
        point = OperatingPoints.read(study.run_folder(run) / FILE).of("Effusion", "youden")
        assert point.logit == pytest.approx(table.loc[(run.arm, "Effusion", "youden"), "threshold_logit"])


def test_a_missing_table_is_named(make_study) -> None:
    study = make_study()
    (study.runs_folder / FILES[0]).unlink()
    with pytest.raises(ReportError, match=rf"{re.escape(FILES[0])}: .*04_evaluate"):
        write_report(study)


def test_nothing_is_drawn_if_nothing_is_scored(make_study) -> None:
    study = make_study()
    frames, styles = read_details(study), arm_styles(study)
    points = frames["operating-points.csv"].assign(left_out="too few")
    poor = {**frames, "operating-points.csv": points}
    assert detail_views.curve_figures(poor, styles) == []
    assert detail_views.arm_tables(poor, next(iter(styles.values()))) == []


def test_no_change_of_gaps_is_no_table(make_study) -> None:
    study = make_study()
    frames, styles = read_details(study), arm_styles(study)
    card = {"source": {"name": "Artificial"}, "split": {"name": "random-70-10-20"}}
    none = {**frames, "subgroup-gap-changes.csv": pd.DataFrame(columns=frames["subgroup-gap-changes.csv"].columns)}
    assert len(detail_views.group_tables(none, styles, card)) == 4
    assert [each.name for each in detail_views.subgroup_figures(none, styles, card)] == ["subgroups"]

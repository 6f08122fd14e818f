"""The tables of exported files and of what was tried to make them smaller."""

import pandas as pd
import pytest

from cxr_kd.report.exported_table import candidates_table, exported_table
from cxr_kd.report.study_files import read_study_files
from cxr_kd.report.style import arm_styles
from cxr_kd.report.tables import DASH


@pytest.fixture
def parts(make_study):
    study = make_study()
    return read_study_files(study), arm_styles(study)


def texts(table) -> list[list[str]]:
    return [[getattr(cell, "text", cell) for cell in row] for row in table.rows]


def test_each_file_has_a_row_with_its_form_and_runtime(parts) -> None:
    files, styles = parts
    rows = texts(exported_table(files.exported, styles))
    assert len(rows) == len(files.exported)
    assert {row[1] for row in rows} == {"float32", "weights in 8 bits"}
    assert {row[5] for row in rows} == {"+0.001"}
    nothing = files.exported.assign(
        auroc_exported=float("nan"), auroc_change=float("nan"), map_correlation=float("nan")
    )
    assert texts(exported_table(nothing, styles))[0][4:6] == [DASH, DASH]


def test_candidates_are_chosen_or_refused_with_the_finding(parts) -> None:
    files, styles = parts
    table = candidates_table(files.smaller, styles, "too much")
    rows = texts(table)
    assert [row[-1] for row in rows] == ["chosen", "refused"] * (len(files.smaller) // 2)
    assert rows[1][1] == "8-bit arithmetic (per channel, minmax)"
    assert rows[0][3].startswith("\N{MINUS SIGN}0.001")
    assert table.rows[1][4].detail == "(Mass)"
    assert "no further training with simulated 8 bits" in table.note


def test_a_student_without_a_smaller_file_is_named(parts) -> None:
    files, styles = parts
    refused = files.smaller.assign(chosen=False)
    arm = refused["arm"].iloc[0]
    assert f"No candidate was within the limits for {arm}" in candidates_table(refused, styles, "too much").note
    one = pd.concat([files.smaller[files.smaller["arm"] != arm], refused[refused["arm"] == arm]])
    assert f"for {arm}, which" in candidates_table(one, styles, "too much").note

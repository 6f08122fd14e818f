"""Tables of probabilities print the values of their frames, with the reasons, and warn of a raw score of 0.5."""

import pytest
from two_sides import both_sides, relabelled

from cxr_kd.errors import ReportError
from cxr_kd.evaluation.probability.confusion import RAW_HALF
from cxr_kd.evaluation.probability.tables import evaluate_probabilities
from cxr_kd.report.probability_tables import (
    RAW_IS_NO_PROBABILITY,
    WHY_NOT_ACCURACY,
    accuracy_table,
    calibration_table,
    net_benefit_table,
    operating_point_table,
    predictive_value_table,
    raw_half_table,
)
from cxr_kd.report.style import ROLES, ArmStyle
from cxr_kd.report.tables import Cell, Table, estimate
from cxr_kd.study.settings import Evaluation

STYLE = ArmStyle("student", "A student", "student alone", *ROLES["student alone"], "A student")
TABLES = ("calibration.csv", "operating-points.csv", "predictive-values.csv", "decision-curves.csv")


@pytest.fixture(scope="module")
def frames() -> dict:
    test, validation = both_sides()
    empty = relabelled(validation[0], "Effusion", 0.0)
    return evaluate_probabilities({"student": test}, {"student": [empty]}, Evaluation(resamples=20), TABLES)


def cells(table: Table, finding: str) -> list[list]:
    """The rows of a finding, whose name is only in its first row."""
    names = [row[0] for row in table.rows]
    first = names.index(finding)
    more = next((i for i in range(first + 1, len(names)) if names[i]), len(names))
    return [list(row) for row in table.rows[first:more]]


def test_calibration_is_printed_for_each_method(frames) -> None:
    table = calibration_table(frames["calibration.csv"], STYLE)
    rows = cells(table, "Mass")
    assert [row[2] for row in rows] == ["raw score", "temperature scaling", "Platt scaling", "prevalence correction"]
    frame = frames["calibration.csv"].set_index(["finding", "probabilities"])
    expected = frame.loc["Mass", "platt"]
    assert rows[2][4] == estimate(expected["slope"], expected["slope_low"], expected["slope_high"])
    assert rows[0][1].detail == "of 220, 20 unknown †"
    assert cells(table, "Effusion")[2][3] == Cell("", "left out: validation: no positive", span=8)
    assert cells(table, "Hernia")[0][3].detail == "left out: 4 positives, fewer than 10"
    assert "15 bins of equal image counts" in table.note
    assert "test side: 240 images" in table.note


def test_operating_points_are_printed_without_the_score_that_nobody_chose(frames) -> None:
    table = operating_point_table(frames["operating-points.csv"], STYLE)
    rows = cells(table, "Mass")
    assert [row[2] for row in rows] == ["Youden", "sensitivity 90 %", "specificity 90 %"]
    row = frames["operating-points.csv"].set_index(["finding", "rule"]).loc["Mass", "youden"]
    assert rows[0][5] == estimate(row["sensitivity"], row["sensitivity_low"], row["sensitivity_high"])
    assert {row[3].detail for row in cells(table, "Effusion")} == {"left out: validation: no positive"}


def test_accuracy_stands_beside_that_of_no_finding_for_everyone(frames) -> None:
    table = accuracy_table(frames["operating-points.csv"], STYLE)
    assert table.columns[2:] == (
        "Accuracy",
        "Accuracy of no finding for everyone",
        "F1",
        "F1 of no finding for everyone",
    )
    row = frames["operating-points.csv"].set_index(["finding", "rule"]).loc["Mass", "youden"]
    (printed,) = cells(table, "Mass")
    assert printed[3].text == f"{1 - row['prevalence']:.3f}"
    assert printed[5].text == "0.000"
    assert WHY_NOT_ACCURACY in table.note


def test_what_a_raw_score_of_half_calls_is_printed_beside_the_positives(frames) -> None:
    table = raw_half_table(frames["operating-points.csv"], STYLE)
    row = frames["operating-points.csv"].set_index(["finding", "rule"]).loc["Effusion", RAW_HALF]
    (printed,) = cells(table, "Effusion")
    assert (printed[1].text, printed[2].text) == (f"{row['positives']}", f"{row['called']:.0f}")
    assert RAW_IS_NO_PROBABILITY in table.note


def test_predictive_values_have_a_column_per_prevalence(frames) -> None:
    frame = frames["predictive-values.csv"]
    for value in ("ppv", "npv"):
        table = predictive_value_table(frame, STYLE, "sensitivity", value)
        assert table.columns[2] == "0.1 %"
        rows = frame[(frame["finding"] == "Mass") & (frame["rule"] == "sensitivity") & (frame["at_prevalence"] == 0.1)]
        row = rows.iloc[0]
        (printed,) = cells(table, "Mass")
        position = table.columns.index("10 %")
        assert printed[position] == estimate(row[value], row[f"{value}_low"], row[f"{value}_high"])


def test_net_benefit_is_printed_per_1000_images(frames) -> None:
    table = net_benefit_table(frames["decision-curves.csv"], STYLE, (0.1, 0.2), "raw")
    frame = frames["decision-curves.csv"].set_index(["finding", "probabilities", "threshold"])
    (printed,) = cells(table, "Mass")
    expected = f"{1000 * frame.loc[('Mass', 'raw', 0.2), 'advantage'] + 0.0:.1f}".replace("-", "−")
    assert printed[3].text == expected
    assert cells(table, "Hernia")[0][2].detail == "left out: 4 positives, fewer than 10"
    assert table.columns[2:] == ("10 %", "20 %")


def test_what_is_not_in_a_table_is_an_error(frames) -> None:
    with pytest.raises(ReportError, match=r"no row with threshold 0\.123"):
        net_benefit_table(frames["decision-curves.csv"], STYLE, (0.123,))
    with pytest.raises(ReportError, match="no row with rule 'best'"):
        predictive_value_table(frames["predictive-values.csv"], STYLE, "best")

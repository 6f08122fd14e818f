"""Figures of probabilities draw every finding and arm, say what they are drawn from, and name what is left out."""

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from two_sides import both_sides

from cxr_kd.errors import ReportError
from cxr_kd.evaluation.probability.tables import evaluate_probabilities
from cxr_kd.report.curve_figures import precision_recall_plot, roc_plot
from cxr_kd.report.probability_figures import calibration_plot, decision_curve_plot, distribution_plot
from cxr_kd.report.style import ROLES, ArmStyle, to_svg
from cxr_kd.study.settings import Evaluation

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # a font, a layout that did not fit
STYLES = {
    arm: ArmStyle(arm, title, role, *ROLES[role], title)
    for arm, title, role in (("teacher", "A teacher", "teacher, CNN"), ("student", "A student", "student alone"))
}
FIGURES = {
    "calibration": ("reliability-curves.csv", calibration_plot),
    "decision": ("decision-curves.csv", decision_curve_plot),
    "distribution": ("probability-distributions.csv", distribution_plot),
    "roc": ("roc-curves.csv", roc_plot),
    "precision-recall": ("precision-recall-curves.csv", precision_recall_plot),
}


@pytest.fixture(scope="module")
def tables() -> dict:
    test, validation = both_sides((0, 1))
    sides = ({"teacher": runs[:1], "student": runs} for runs in (test, validation))
    return evaluate_probabilities(*sides, Evaluation(resamples=20), [table for table, _ in FIGURES.values()])


def texts(figure: Figure) -> str:
    figure.draw_without_rendering()
    return " ".join(text.get_text().replace("\n", " ") for text in figure.findobj(mpl.text.Text))


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_a_panel_per_finding_and_says_what_it_is_drawn_from(tables, name: str) -> None:
    table, draw = FIGURES[name]
    figure = draw(tables[table], STYLES)
    titles = [axes.get_title("left") for axes in figure.axes if axes.get_title("left")]
    frame = tables[table].drop_duplicates("finding").set_index("finding")
    assert titles == [f"{finding} ({frame.loc[finding, 'positives']})" for finding in ("Effusion", "Mass")]
    said = texts(figure)
    assert "phantom (phantom), split official, test side: 240 images of" in said
    assert f"{frame['side_patients'].iloc[0]} patients, mean over 1 or 2 trainings" in said
    assert "95 % intervals over patients or patients and trainings" in said
    assert "Left out: Hernia (4 positives, fewer than 10)." in said
    for axes in figure.axes[:2]:
        colours = {mpl.colors.to_hex(line.get_color()) for line in axes.lines}
        assert {style.colour for style in STYLES.values()} <= colours
        assert len(axes.collections) >= len(STYLES)  # the bands


@pytest.mark.parametrize(
    ("name", "x", "y"),
    [
        ("calibration", "predicted", "observed"),
        ("decision", "threshold", "net_benefit"),
        ("roc", "false_positive_rate", "sensitivity"),
        ("precision-recall", "recall", "precision"),
    ],
)
def test_the_lines_are_the_rows_of_the_table(tables, name: str, x: str, y: str) -> None:
    table, draw = FIGURES[name]
    frame = tables[table]
    rows = frame[(frame["arm"] == "student") & (frame["finding"] == "Mass")]
    if "probabilities" in frame:
        rows = rows[rows["probabilities"] == ("raw" if name == "calibration" else "platt")]
    if name == "calibration":
        rows = rows[rows["curve"] == "smooth"]
    axes = draw(frame, STYLES).axes[1]
    drawn = max((line for line in axes.lines if mpl.colors.to_hex(line.get_color()) == STYLES["student"].colour),
                key=lambda line: len(line.get_xdata()))  # fmt: skip
    count = len(drawn.get_xdata())
    assert count > 30
    np.testing.assert_array_equal(drawn.get_xdata(), rows[x][:count])
    np.testing.assert_array_equal(drawn.get_ydata(), rows[y][:count])


def test_a_raw_score_is_never_called_a_probability(tables) -> None:
    for name in ("calibration", "distribution"):
        table, draw = FIGURES[name]
        assert "not a calibrated probability" in texts(draw(tables[table], STYLES, "raw"))
        assert "probability after Platt scaling on validation" in texts(draw(tables[table], STYLES, "platt"))
    assert "probability after Platt scaling" in texts(decision_curve_plot(tables["decision-curves.csv"], STYLES))


def test_the_same_table_gives_the_same_file(tables) -> None:
    frame = tables["roc-curves.csv"]
    assert to_svg(roc_plot(frame, STYLES)) == to_svg(roc_plot(frame, STYLES))


@pytest.mark.parametrize("name", FIGURES)
def test_findings_that_are_all_left_out_are_named_and_not_a_crash(tables, name: str) -> None:
    table, draw = FIGURES[name]
    frame = tables[table]
    figure = draw(frame[frame["finding"] == "Hernia"], STYLES)
    assert "Left out: Hernia" in texts(figure)


def test_an_empty_table_and_an_unknown_method_are_errors(tables) -> None:
    with pytest.raises(ReportError, match="no row to draw"):
        roc_plot(tables["roc-curves.csv"].iloc[:0], STYLES)
    with pytest.raises(ReportError, match="no row with probabilities 'temperature' in the table; it has raw, platt"):
        calibration_plot(tables["reliability-curves.csv"], STYLES, "temperature")

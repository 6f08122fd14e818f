"""Figures and tables of subgroups show what the frames hold, with what the data are and why a group has no value."""

from dataclasses import dataclass, replace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fake_study import FINDINGS, YAML, data_json, write_run
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.decision_agreement import decision_agreement
from cxr_kd.evaluation.study_results import read_predictions
from cxr_kd.evaluation.subgroup.groups import CHILDREN
from cxr_kd.evaluation.subgroup.tables import SubgroupResults, subgroup_results
from cxr_kd.report import subgroup_figures, subgroup_tables
from cxr_kd.report.style import ArmStyle, arm_styles
from cxr_kd.report.tables import Cell, Table
from cxr_kd.study import Study, load_study
from cxr_kd.study.arms import arms_of, controls
from cxr_kd.study.settings import Evaluation

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # a font, a layout that did not fit
FROM_CNN = "eeea_net_c2_from_densenet161"


@dataclass(frozen=True, eq=False)
class Views:
    results: SubgroupResults
    agreement: pd.DataFrame
    styles: dict[str, ArmStyle]
    about: str


@pytest.fixture(scope="module", params=[(0,), (0, 1)], ids=["one seed", "two seeds"])
def views(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Views:
    """Of the fake study's predictions alone: its other files take longer to make."""
    file = tmp_path_factory.mktemp("artificial") / "studies" / "artificial.yaml"
    file.parent.mkdir()
    file.write_text(YAML.format(dataset="phantom", more=", phantom: {images: 1100}", seeds=list(request.param)))
    study = load_study(file)
    for run in study.all_runs:
        write_run(study, run, "phantom", "phantom")
    return views_of(study)


def views_of(study: Study) -> Views:
    random = np.random.default_rng(0)
    about = {
        "sex": np.repeat(random.choice(["M", "F"], 100), 3),
        "age": np.repeat(random.choice([5.0, 30.0, 50.0], 100), 3),
        "view": np.where(np.arange(300) < 4, "LL", "PA"),
    }
    predictions = {
        arm: [replace(run, frame=run.frame.assign(**about)) for run in runs]
        for arm, runs in read_predictions(study, arms_of(study)).items()
    }
    cuts = {arm: [dict.fromkeys(FINDINGS, 0.7)] * len(runs) for arm, runs in predictions.items()}
    few = Evaluation(resamples=20, minimum_positives=5)
    results = subgroup_results(predictions, controls(study), few, cuts)
    agreement = decision_agreement(predictions, [("densenet161", FROM_CNN)], few, cuts)
    line = subgroup_tables.data_line(data_json("phantom", "phantom"), results.evaluations)
    return Views(results, agreement, arm_styles(study), line)


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def drawn_intervals(axes: mpl.axes.Axes, colour: str) -> np.ndarray:
    """(low, high) of each interval of a colour."""
    lines = [c for c in axes.collections if np.allclose(c.get_colors()[0][:3], to_rgb(colour))]
    return np.array([segment[:, 0] for line in lines for segment in line.get_segments() if len(segment)])


def rows_of(table: Table, column: int = 0) -> dict[str, list[str]]:
    cells = [[f"{c.text} {c.detail}".strip() if isinstance(c, Cell) else c for c in row] for row in table.rows]
    return {row[column]: row for row in cells}


def test_every_group_has_its_interval_and_the_figure_says_which_data_it_is_of(views: Views) -> None:
    assert views.about == "Artificial radiographs, split random-70-10-20, test side: 300 images of 100 patients"
    for metric in ("auroc", "log_calibration"):
        figure = subgroup_figures.subgroup_figure(views.results.evaluations, views.styles, views.about, metric)
        shown = texts(figure)
        assert any(views.about in text for text in shown)
        means = views.results.evaluations.query("metric == @metric and finding == 'mean'")
        for arm, style in views.styles.items():
            own = means[(means["arm"] == arm) & means["value"].notna()]
            drawn = drawn_intervals(figure.axes[0], style.colour)
            drawn = drawn[np.isfinite(drawn).all(axis=1)]
            expected = own[["low", "high"]].to_numpy(float)
            expected = np.exp(expected) if metric == "log_calibration" else expected
            np.testing.assert_allclose(drawn, expected)
        assert "the source is not known for any image" in shown
        children = means[means["group"] == CHILDREN].iloc[0]
        assert f"Age: under 18  ({children['images']} images, {children['patients']} patients)" in shown


def test_gaps_are_drawn_before_and_after_and_marks_are_filled_only_for_a_small_corrected_p(views: Views) -> None:
    changes = views.results.changes.copy()
    changes.loc[changes["group"] == CHILDREN, "p_holm"] = 0.01
    changes.loc[changes["group"] != CHILDREN, "p_holm"] = 0.2
    figure = subgroup_figures.gap_figure(views.results.gaps, changes, views.styles, views.about)
    left, right = figure.axes
    means = changes[(changes["metric"] == "auroc") & (changes["finding"] == MEAN)]
    own = means[means["second"] == FROM_CNN]
    style = views.styles[FROM_CNN]
    drawn = drawn_intervals(right, style.colour)
    assert {tuple(row) for row in np.round(drawn, 9)} == {
        tuple(row) for row in np.round(own[["low", "high"]], 9).to_numpy()
    }
    assert len(drawn_intervals(left, style.colour)) == len(own)
    filled = [x for line in right.lines if line.get_markerfacecolor() == style.colour for x in line.get_xdata()]
    assert filled == own[own["group"] == CHILDREN]["change"].tolist()
    assert any(views.about in text for text in texts(figure))
    with pytest.raises(ValueError, match="no change of a gap to draw"):
        subgroup_figures.gap_figure(views.results.gaps, changes.iloc[:0], views.styles, views.about)


def test_the_table_of_groups_holds_the_frame_and_the_reasons(views: Views) -> None:
    table = subgroup_tables.subgroup_table(views.results.evaluations, views.styles, views.about)
    rows = rows_of(table)
    frame = views.results.evaluations.query("metric == 'auroc' and finding == 'mean'").set_index(["group", "arm"])
    row = frame.loc[(CHILDREN, FROM_CNN)]
    place = table.columns.index(views.styles[FROM_CNN].label)
    assert rows["Age: under 18"][place] == f"{row['value']:.3f} ({row['low']:.3f}–{row['high']:.3f})"
    assert rows["Age: under 18"][1:3] == [f"{row['images']}", f"{row['patients']}"]
    assert rows["Age: 80 and over"][3:] == ["no image"]
    assert rows["View position: LL"][3:] == ["no finding can be scored"]
    assert table.note.startswith(views.about)
    assert "6 over all images" in table.note
    ratio = subgroup_tables.subgroup_table(views.results.evaluations, views.styles, views.about, "log_calibration")
    value = views.results.evaluations.query(
        "metric == 'log_calibration' and finding == 'mean' and arm == @FROM_CNN and group == 'female'"
    )["value"].iloc[0]
    assert rows_of(ratio)["Sex: female"][place].startswith(f"{np.exp(value):.2f} (")


def test_the_table_of_changes_tests_only_several_seeds(views: Views) -> None:
    table = subgroup_tables.gap_change_table(views.results.changes, views.styles, views.about)
    frame = views.results.changes.query("metric == 'auroc' and finding == 'mean' and second == @FROM_CNN")
    own = [row for row in table.rows if row[0].text == views.styles[FROM_CNN].label]
    assert len(own) == len(frame)
    for row, expected in zip(own, frame.to_dict("records"), strict=True):
        assert row[4].text == f"{round(expected['change'], 3) + 0.0:+.3f}".replace("-", "−")
    one_seed = frame["seeds"].iloc[0] == 1
    assert all((row[5] == row[6] == "–") == one_seed for row in own)
    assert ("supports no test" in table.note) == one_seed
    assert ("patients and trainings" in table.note) != one_seed


def test_the_tables_of_agreement_hold_the_frame(views: Views) -> None:
    table = subgroup_tables.agreement_table(views.agreement, views.styles, FROM_CNN, views.about)
    assert table.columns == ("Finding", "Rank correlation", "Flipped", "Detections lost", "Detections gained",
                             "False alarms gained", "False alarms lost")  # fmt: skip
    row = views.agreement.query("by == 'all images' and finding == 'Mass' and measure == 'flip_to_negative'")
    lost = row[row["among"] == "positives"]["value"].iloc[0]
    assert rows_of(table)["Mass"][3].startswith(f"{lost:.3f} (")
    assert rows_of(table)["Hernia"][3] == "4 positives, fewer than 5"
    groups = rows_of(subgroup_tables.agreement_group_table(views.agreement, views.styles, FROM_CNN, views.about))
    assert groups["All images"][1] == rows_of(table)["Mean"][2]
    assert groups["Age: 80 and over"][1:] == ["no image"] * 5


def test_a_gap_of_a_ratio_is_drawn_as_a_factor(views: Views) -> None:
    figure = subgroup_figures.gap_figure(
        views.results.gaps, views.results.changes, views.styles, views.about, "log_calibration"
    )
    frame = views.results.changes.query("metric == 'log_calibration' and finding == 'mean' and second == @FROM_CNN")
    drawn = drawn_intervals(figure.axes[1], views.styles[FROM_CNN].colour)
    np.testing.assert_allclose(drawn, np.exp(frame[["low", "high"]].to_numpy(float)))

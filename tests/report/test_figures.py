"""Figures show what they are given: all of it, on one scale, with intervals, in the same colours everywhere."""

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from fake_study import FINDINGS, explained, labels, radiograph
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.study_results import evaluate_study, read_results
from cxr_kd.explanation.examples import Example
from cxr_kd.report import data_figures, figures
from cxr_kd.report.cost_figure import cost_against_auroc
from cxr_kd.report.maps import figures as map_figures
from cxr_kd.report.maps import overlays
from cxr_kd.report.study_files import read_study_files
from cxr_kd.report.style import ROLES, arm_styles, finding_name, to_png, to_svg
from cxr_kd.study import load_study

pytestmark = pytest.mark.filterwarnings("error::UserWarning")  # a font, a layout that did not fit
ALONE = "eeea_net_c2_alone"


def texts(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def drawn_intervals(figure: Figure, colour: str) -> int:
    lines = figure.findobj(mpl.collections.LineCollection)
    return sum(len(c.get_segments()) for c in lines if np.allclose(c.get_colors()[0][:3], to_rgb(colour)))


def test_roles_can_be_told_apart_without_colour_vision() -> None:
    """Colours seen by deuteranopes and protanopes (Machado et al. 2009, severity 1) stay apart, and marks differ."""
    blindness = {
        "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    }
    colours = np.array([to_rgb(colour) for colour, _ in ROLES.values()])
    for matrix in (np.eye(3), *map(np.array, blindness.values())):
        seen = (colours**2.2 @ matrix.T).clip(0, 1) ** (1 / 2.2)
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.1
    assert len({marker for _, marker in ROLES.values()}) == len(ROLES)


def test_students_of_one_teacher_can_be_told_apart() -> None:
    styles = arm_styles(load_study("demo"))
    looks = {arm: (style.colour, style.marker) for arm, style in styles.items()}
    assert len(set(looks.values())) == len(looks)
    plain, maps = (styles[f"eeea_net_c2_from_tf_efficientnet_lite0{end}"] for end in ("", "-maps"))
    assert (plain.colour, plain.marker) == ROLES[plain.role]
    brightness = [sum(to_rgb(style.colour)) for style in (plain, maps)]
    assert brightness[1] <= brightness[0] / 2 + 0.01


def test_every_finding_and_arm_has_its_interval_and_left_out_ones_are_said(make_study) -> None:
    study = make_study()
    evaluations, comparisons, *_ = read_results(study)
    styles = arm_styles(study)
    forest = figures.forest(evaluations, styles)
    for style in styles.values():
        assert drawn_intervals(forest, style.colour) >= 7  # six findings and the mean; Hernia has no value
    assert "left out: 4 positives, fewer than 10" in texts(forest)
    assert any(text.startswith("Hernia  (n = 4)") for text in texts(forest))
    assert any("95 % interval" in text for text in texts(forest))
    paired = figures.paired_differences(comparisons, styles)
    assert sum(text == "left out: 4 positives, fewer than 10" for text in texts(paired)) == 2
    means = figures.mean_auroc(evaluations, styles)
    shown = evaluations[evaluations["finding"] == MEAN]["auroc"]
    assert {f"{value:.3f}" for value in shown} <= set(texts(means))


def test_a_mark_is_filled_exactly_where_the_corrected_p_is_small(make_study) -> None:
    study = make_study()
    row = {"first": ALONE, "second": "eeea_net_c2_from_densenet161", "positives": 20, "left_out": ""}
    values = {"Mass": (0.02, 0.01, 0.03, 0.01), "Nodule": (0.02, 0.001, 0.05, 0.3), MEAN: (-0.02, -0.04, -0.01, 0.04)}
    frame = pd.DataFrame(
        [
            {**row, "finding": f, "auroc_difference": v, "auroc_low": lo, "auroc_high": hi, "auroc_p_holm": p}
            for f, (v, lo, hi, p) in values.items()
        ]
    )
    (axes,) = figures.paired_differences(frame, arm_styles(study)).axes
    marks = {(round(x, 3), line.get_markerfacecolor() != "white")
             for line in axes.lines for x in line.get_xdata() if line.get_linestyle() == "None"}  # fmt: skip
    assert marks == {(0.02, True), (0.02, False), (-0.02, True)}
    with pytest.raises(ValueError, match="both alone and distilled"):
        figures.paired_differences(frame.iloc[:0], arm_styles(study))


def test_learning_curves_draw_each_seed_and_cost_draws_each_arm(make_study) -> None:
    study = make_study(seeds=(0, 1))
    styles = arm_styles(study)
    history = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.4], "validation_auroc": [0.5, 0.6]})
    loss, score = figures.learning_curves({arm: [history, history] for arm in styles}, styles).axes
    assert len(loss.lines) == len(score.lines) == 2 * len(styles)
    files = read_study_files(study)
    figure = cost_against_auroc(files.cost, files.exported, read_results(study)[0], styles)
    assert any("(ms)" in text for text in texts(figure))
    (axes,) = figure.axes
    assert len(axes.containers) == len(styles)
    exported = [line for line in axes.lines if list(line.get_xdata()) == [5.1]]
    assert len(exported) == len(files.exported)
    assert sum(line.get_markerfacecolor() == "white" for line in exported) == len(files.smaller) / 2


def test_the_same_figure_is_the_same_file_whatever_the_settings(make_study) -> None:
    study = make_study()
    evaluations, *_ = read_results(study)
    first = to_svg(figures.mean_auroc(evaluations, arm_styles(study)))
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "lines.linewidth": 9}):
        second = to_svg(figures.mean_auroc(evaluations, arm_styles(study)))
        assert mpl.rcParams["font.size"] == 30
    assert first == second


def test_prevalence_counts_and_cooccurrence_are_right() -> None:
    data = {
        "findings": ["Mass", "Hernia"],
        "split": {"sides": {"train": {"images": 100}, "test": {"images": 50}}},
        "positives": {"train": {"Mass": 30, "Hernia": 2}, "test": {"Mass": 5, "Hernia": 0}},
        "prevalence": {"train": {"Mass": 0.3, "Hernia": 0.04}, "test": {"Mass": 0.1, "Hernia": None}},
    }
    figure = data_figures.prevalence(data)
    assert {"30", "2", "5", "0"} <= set(texts(figure))
    assert sorted(round(bar.get_width()) for bar in figure.axes[0].patches) == [0, 4, 10, 30]
    known = np.array([[1, 1, 0], [1, 0, np.nan], [0, 1, 1], [1, 1, 1]])
    (cells,) = data_figures.cooccurrence(known, ["Mass", "Nodule", "Hernia"]).axes[0].collections
    share = np.ma.filled(cells.get_array().astype(float), np.nan).reshape(3, 3)
    # Of three images with Mass, two have Nodule, and of the two where Hernia is known, one has it.
    np.testing.assert_allclose(share[0], [np.nan, 200 / 3, 50])
    np.testing.assert_allclose(share[2], [50, 100, np.nan])


def test_cooccurrence_of_findings_that_nobody_has_is_empty_and_not_a_crash() -> None:
    assert to_png(data_figures.cooccurrence(np.zeros((4, 2)), ["Mass", "Nodule"])).startswith(b"\x89PNG")


@pytest.mark.parametrize("sex", ["M", ""])
def test_patients_are_counted_once(sex: str) -> None:
    frame = pd.DataFrame(
        {"patient_id": ["1", "1", "2"], "age": [50.0, 51.0, np.nan], "sex": sex, "view": ["PA", "AP", ""]}
    )
    figure = data_figures.patients(frame)
    assert sum(patch.get_height() for patch in figure.axes[0].patches) == 1
    assert {"PA", "AP", "unknown"} <= set(texts(figure))


def test_a_contact_sheet_outlines_masks_and_boxes_where_they_are() -> None:
    mask = np.zeros((32, 32), bool)
    mask[8:16, 16:24] = True  # half the image's resolution: 16..32, 32..48 there
    picture = data_figures.Picture(radiograph(), "one", boxes={"Mass": (0.25, 0.5, 0.5, 0.25)}, masks={"Nodule": mask})
    axes = data_figures.contact_sheet([picture] * 3, columns=2).axes[0]
    (box,) = axes.patches
    assert box.get_bbox().bounds == pytest.approx((15.5, 31.5, 32, 16))
    (contour,) = [c for c in axes.collections if c.get_paths()]
    edges = np.concatenate([path.vertices for path in contour.get_paths()])
    assert np.abs(edges.min(axis=0) - [31.5, 15.5]).max() <= 1
    assert np.abs(edges.max(axis=0) - [47.5, 31.5]).max() <= 1


def test_maps_share_one_scale_and_no_evidence_is_visible(make_study) -> None:
    study = make_study()
    rows = explained(study)
    figure = map_figures.explanation(rows, arm_styles(study))
    cells = np.concatenate([values.ravel() for row in rows for values in row.maps.values()])
    top = np.percentile(cells[cells > 0], 98)
    maps = [image for axes in figure.axes for image in axes.images[1:]]
    assert len(maps) == len(rows) * len(arm_styles(study))
    assert {image.get_clim() for image in maps} == {(0, top)}
    assert texts(figure).count("no evidence") == len(rows)  # the student alone, whose maps are zero
    assert overlays.evidence_colours()(0.0)[3] == 0
    assert any("one scale for all maps" in text for text in texts(figure))
    assert "present, outlined" in texts(figure)


def test_maps_that_are_all_zero_are_drawn_as_nothing(make_study) -> None:
    study = make_study()
    row = Example(radiograph(), "i0", "Mass", np.nan, {ALONE: np.zeros((2, 2))}, {ALONE: -3.0})
    shown = texts(map_figures.explanation([row], arm_styles(study)))
    assert {"no evidence", "unknown, not outlined", "logit \N{MINUS SIGN}3.00, p = 0.05"} <= set(shown)


def test_findings_are_written_as_words() -> None:
    assert [finding_name(f) for f in FINDINGS[4:6]] == ["Pneumonia", "Pleural thickening"]
    assert finding_name("COPD") == "COPD"
    assert labels().shape == (300, len(FINDINGS))


@pytest.mark.parametrize("side", ["validation", "test"])
def test_a_figure_says_which_side_its_figures_are_from(make_study, side):
    study = make_study()
    evaluations = evaluate_study(study).evaluations.assign(side=side)
    for figure in (figures.forest(evaluations, arm_styles(study)), figures.mean_auroc(evaluations, arm_styles(study))):
        assert f"on the {side} side" in figure.axes[0].get_xlabel()

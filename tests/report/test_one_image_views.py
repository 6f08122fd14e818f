"""Figures and tables of one training image print its logits, its terms and their weighted sum."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from cxr_kd.report.one_image import answers_figure, answers_table, objective_table, objective_text, views_figure
from cxr_kd.report.style import to_png
from cxr_kd.study.loss_table import LOSSES
from cxr_kd.study.runs import Run
from cxr_kd.training.one_image import OneImage

IMAGE = np.arange(64, dtype=np.uint8).reshape(8, 8)
WEIGHTS = {"focal_bce": 1.0, "logit_mse": 0.5}
RUN = Run(network="eeea_net_c2", role="student distilled", teacher="pvt_v2_b2", objective=WEIGHTS, views=6, label="",
          seed=0)  # fmt: skip
ONE = OneImage(
    image_id="image-7",
    image=IMAGE,
    views=np.stack([IMAGE / 255, np.zeros((8, 8))]).astype(np.float32),
    number_of_views=6,
    findings=("Mass", "Pleural_Thickening", "Hernia"),
    labels=np.array([1, 0, np.nan], np.float32),
    student=np.array([-0.5, -2.0, 0.25], np.float32),
    teacher=np.array([1.5, -2.25, 0.0], np.float32),
    terms=pd.DataFrame({"loss": list(WEIGHTS), "weight": WEIGHTS.values(), "of_image": [0.2, 0.6],
                        "of_batch": [0.1, 0.4]}),
    batch_size=16,
)  # fmt: skip


def texts(html: str) -> list[list[str]]:
    """The text of each cell of each row."""
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [[re.sub("<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_the_table_of_answers_has_label_teacher_student_and_difference() -> None:
    assert texts(answers_table(ONE).html()) == [
        ["Finding", "Label", "Teacher", "Student", "Student − teacher"],
        ["Mass", "present", "+1.50 (0.82)", "−0.50 (0.38)", "−2.00"],
        ["Pleural thickening", "absent", "−2.25 (0.10)", "−2.00 (0.12)", "+0.25"],
        ["Hernia", "unknown", "+0.00 (0.50)", "+0.25 (0.56)", "+0.25"],
    ]
    assert texts(answers_table(replace(ONE, teacher=None)).html())[1] == ["Mass", "present", "−0.50 (0.38)"]


def test_the_table_of_the_objective_has_its_terms_and_their_sum() -> None:
    rows = texts(objective_table(ONE).html())
    assert [row[:4] for row in rows] == [
        ["Loss", "Weight", "This image alone", "Its batch of 16"],
        ["focal_bce", "1", "0.2000 (0.2000)", "0.1000 (0.1000)"],
        ["logit_mse", "0.5", "0.6000 (0.3000)", "0.4000 (0.2000)"],
        ["Sum of weight times value", "", "0.5000", "0.3000"],
    ]
    assert rows[2][4] == LOSSES["logit_mse"].formula


@pytest.mark.parametrize(("loss", "reason"), [("map_cosine", "compares the images"), ("hint", "has a layer")])
def test_a_term_without_a_value_has_a_dash_and_a_reason(loss: str, reason: str) -> None:
    more = pd.DataFrame({"loss": [loss], "weight": [0.1], "of_image": [np.nan], "of_batch": [0.3]})
    table = objective_table(replace(ONE, terms=pd.concat([ONE.terms, more])))
    rows = texts(table.html())
    assert rows[3][:4] == [loss, "0.1", "–", "0.3000 (0.0300)"]
    assert rows[4][2:4] == ["–", "0.3300"]
    assert f"{loss}: {reason}" in table.note


def test_the_objective_is_one_line() -> None:
    wanted = "loss = 1 * focal_bce(student, labels) + 0.5 * logit_mse(student, teacher)"
    assert objective_text(RUN) == wanted


def test_the_figure_has_each_networks_logits_in_its_colour_and_a_band_for_what_is_present() -> None:
    (axes,) = answers_figure(ONE, RUN).axes
    drawn = {line.get_label(): line for line in axes.lines}
    np.testing.assert_array_equal(drawn["teacher"].get_xdata(), ONE.teacher)
    np.testing.assert_array_equal(drawn["student"].get_xdata(), ONE.student)
    assert to_hex(drawn["teacher"].get_color()) == "#009e73", "a transformer"
    assert [(patch.get_y(), patch.get_height()) for patch in axes.patches] == [(-0.5, 1.0)]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "Mass (present)",
        "Pleural thickening (absent)",
        "Hernia (unknown)",
    ]
    alone = RUN.model_copy(update={"role": "student alone", "teacher": None})
    (axes,) = answers_figure(replace(ONE, teacher=None), alone).axes
    assert "teacher" not in {line.get_label() for line in axes.lines}


def test_the_views_are_beside_the_stored_image() -> None:
    figure = views_figure(ONE)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles == ["image-7, as stored", "view 1 of 6, unchanged", "view 2 of 6"]
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    np.testing.assert_array_equal(shown, [IMAGE, IMAGE, np.zeros((8, 8))])
    assert to_png(figure).startswith(b"\x89PNG")

"""What the report says about maps: every number is a value of the tables, with its interval and its controls."""

import pandas as pd
import pytest

from cxr_kd.explanation.map_tables import COLUMNS
from cxr_kd.report.maps.check_tables import (
    agreement_table,
    drain_table,
    faithful_table,
    form_table,
    placement_table,
)
from cxr_kd.report.maps.views import answer, difference_table, gains, group_table, headline_table, measured, tables
from cxr_kd.report.maps.where_figure import where_figure
from cxr_kd.report.style import plain_styles
from cxr_kd.study import load_study

STYLES = plain_styles(["teacher", "student"])
LABELS = {arm: arm for arm in STYLES}


def row(value: float, interval: str = "patients") -> dict:
    bounds = {"low": value - 0.01, "high": value + 0.01}
    return {"estimate": value, **bounds, "interval": interval, "pairs": 120, "patients": 40}


@pytest.fixture
def frames() -> dict[str, pd.DataFrame]:
    values = {"teacher": 0.42, "student": 0.33, "random map": 0.07, "mean place": 0.39, "best possible": 0.9}
    maps = [
        {"arm": arm, "kind": "network", "by": by, "group": group, "measure": measure, **row(value)}
        for arm, value in values.items()
        for by, group in (("all", "all"), ("size", "below 2 %"), ("finding", "Mass"))
        for measure in ("pointing", "specific", "inside", "iou", "auprc", "moved")
    ]
    likeness = [
        {"arm": "student", "with": kind, "of": "teacher", "measure": measure, **row(value)}
        for kind, value in (("chance", 0.11), ("teacher", 0.55))
        for measure in ("rank", "top", "distance")
    ]
    difference = {"first": "teacher", "second": "student", "measure": "inside", "difference": -0.09, "low": -0.2,
                  "high": 0.02, "interval": "patients", "p": None, "p_holm": None, "shown": False}  # fmt: skip
    forms = [{"form": form, "reading": "relative", "network": "teacher", "cells": cells, "pointing": 0.3, "inside": 0.2,
              "auprc": 0.1, "empty": 0.0, "chosen": form == "layercam16"}
             for form, cells in (("plain", 5), ("layercam16", 10))]  # fmt: skip
    faithful = [{"arm": arm, "kind": "network", "measure": measure, **row(0.2)}
                for arm in ("teacher", "student", "random map")
                for measure in ("deletion", "insertion", "road", "randomised_rank", "stable")]  # fmt: skip
    drain = [{"arm": arm, "kind": "drain painted out", "measure": "drain_share", **row(0.31)} for arm in STYLES]
    looks = [{"arm": "student", "seed": seed, "threshold": 0.5, "down_px": seed - 15, "right_px": 2} for seed in (0, 2)]
    rows = (forms, looks, maps, [difference], likeness, faithful, drain)
    return {name: pd.DataFrame(each, columns=list(COLUMNS[name])) for name, each in zip(COLUMNS, rows, strict=True)}


def test_the_answer_names_every_network_and_the_best_control(frames):
    text = answer(frames, STYLES)
    assert "teacher 0.420" in text
    assert "student 0.330" in text
    assert "best control, mean place of the finding, has 0.390" in text
    assert "120 pairs" in text
    assert "40 patients" in text


def test_the_headline_table_has_networks_controls_and_the_ceiling(frames):
    html = headline_table(frames, STYLES).html()
    for text in (
        "teacher",
        "student",
        "Control: random map",
        "Control: mean place of the finding",
        "Best that the grid allows",
        "0.900",
    ):
        assert text in html


def test_the_table_of_places_says_where_cells_look_and_what_is_due_to_the_image(frames):
    (row,) = placement_table(frames, STYLES).rows
    assert row[1:3] == ["-14", "+2"]  # the mean over seeds
    assert [cell.text for cell in row[3:]] == ["0.330", "0.330", "+0.330"]


def test_groups_are_rows_with_their_pairs(frames):
    html = group_table(frames, STYLES, "size").html()
    assert "below 2 % of the image" in html
    assert "120" in html
    assert "Mass" in group_table(frames, STYLES, "finding").html()


def test_without_another_seed_there_is_no_ceiling_of_agreement_and_the_note_says_so(frames):
    table = agreement_table(frames, STYLES)
    assert table is not None
    assert "one seed, so there is no ceiling" in table.note
    assert "0.550" in table.html()
    assert "0.110" in table.html()


def test_a_difference_of_one_training_is_not_tested(frames):
    table = difference_table(frames, LABELS)
    assert table is not None
    assert "not tested: one training" in table.html()


def test_faithfulness_and_the_drain_have_a_row_per_network(frames):
    html = faithful_table(frames, STYLES).html()
    assert html.count("<tr>") == 4
    assert "Control: random map" in html
    table = drain_table(frames, STYLES)
    assert table is not None
    assert table.html().count("0.310") == 2
    assert drain_table({**frames, "drain.csv": frames["drain.csv"].iloc[:0]}, STYLES) is None


def test_the_chosen_form_is_marked(frames):
    table = form_table(frames, STYLES)
    assert table is not None
    assert "<strong>LayerCAM at stride 16</strong>" in table.html().replace('<span class="together">', "").replace(
        "</span>", ""
    )
    assert "10 x 10" in table.html()


def test_the_figure_draws_every_network(frames):
    axes = where_figure(frames, STYLES).axes
    assert [label.get_text() for label in axes[0].get_yticklabels()] == list(STYLES)


def test_without_places_there_is_no_answer_but_agreement(frames):
    empty = {**frames, "maps.csv": frames["maps.csv"].iloc[:0], "forms.csv": frames["forms.csv"].iloc[:0],
             "differences.csv": frames["differences.csv"].iloc[:0]}  # fmt: skip
    assert not measured(empty)
    assert answer(empty, STYLES) == ""
    assert [table.caption for table in tables(empty, STYLES, LABELS)] == [
        "Does the student look where its teacher looks?",
        "Are the maps faithful and stable?",
        "Does the network look at the chest drain?",
    ]


@pytest.mark.parametrize(
    ("interval", "shown", "verdict"),
    [
        ("patients", (False, False), "With one training each, nothing is shown."),
        ("patients and trainings", (True, True), "Both differences are shown."),
        ("patients and trainings", (True, False), "Only the first is shown."),
        ("patients and trainings", (False, True), "Only the second is shown."),
        ("patients and trainings", (False, False), "Neither is shown."),
    ],
)
def test_what_more_than_logits_did_is_said_with_its_interval_and_verdict(frames, tmp_path, interval, shown, verdict):
    file = tmp_path / "studies" / "maps.yaml"
    file.parent.mkdir()
    file.write_text("""
title: Maps
question: Where?
data: {dataset: phantom, split: random-70-10-20, phantom: {images: 40, size: 64}}
image_size: 64
teachers: [eeea_net_c2]
students:
  - {network: eeea_net_c2}
  - {network: eeea_net_c2, teacher: eeea_net_c2}
  - {network: eeea_net_c2, teacher: eeea_net_c2, label: maps, objective: {focal_bce: 1.0, map_cosine: 0.1}}
teacher_training: {epochs: 1}
student_training: {epochs: 1}
""")
    study = load_study(file)
    plain, maps = "eeea_net_c2_from_eeea_net_c2", "eeea_net_c2_from_eeea_net_c2-maps"
    rows = [
        {"first": plain, "second": maps, "measure": measure, "difference": value, "low": value - 0.05,
         "high": value + 0.05, "interval": interval, "p": 0.01, "p_holm": 0.02, "shown": is_shown}
        for measure, value, is_shown in zip(("pointing", "specific"), (0.21, 0.07), shown, strict=True)
    ]  # fmt: skip
    labels = {plain: "Distilled", maps: "With maps", "eeea_net_c2_alone": "Alone"}
    (sentence,) = gains({**frames, "differences.csv": pd.DataFrame(rows)}, study, labels)
    assert sentence.startswith("With maps minus Distilled: pointing game +0.210")
    assert "beyond other patients' maps +0.070" in sentence
    assert sentence.endswith(verdict)
    assert gains({**frames, "differences.csv": pd.DataFrame(rows).iloc[:1]}, study, labels) == []

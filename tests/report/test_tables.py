"""Tables print the numbers of their frames, with intervals, and keep figures of different splits apart."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.mrmc import OVER_PATIENTS
from cxr_kd.evaluation.study_results import read_results, write_results
from cxr_kd.files import read_json
from cxr_kd.report import result_tables, tables
from cxr_kd.report.comparison_tables import chance_table, teacher_table
from cxr_kd.report.headline import badge, cost_sentences, headline
from cxr_kd.report.published import (
    localisation_table,
    mean_table,
    own_column,
    paper_cost_table,
    paper_finding_table,
    published,
    published_notes,
    published_tables,
    traps,
)
from cxr_kd.report.study_files import read_study_files
from cxr_kd.report.style import arm_styles
from cxr_kd.report.tables import DASH, Cell, Table, estimate, estimate_text
from cxr_kd.study import load_study

FROM_CNN = "eeea_net_c2_from_densenet161"


def test_an_estimate_is_written_with_its_interval() -> None:
    assert estimate_text(0.8123, 0.7896, 0.8331) == "0.812\N{NO-BREAK SPACE}(0.790–0.833)"
    signed = estimate_text(0.012, -0.004, 0.0281, signed=True).replace("\N{NO-BREAK SPACE}", " ")
    assert signed == "+0.012 (−0.004 to +0.028)"
    assert estimate(-0.0001, -0.1, 0.1, signed=True).text == "+0.000"
    assert estimate(math.nan, math.nan, math.nan) == Cell("–")


@given(st.text())
def test_no_text_gets_into_a_table_as_markup(text: str) -> None:
    html = Table(text, (text,), [[Cell(text, text)]]).html()
    assert html.count("<") == html.count(">")
    for piece in ("<script", "<img", "<b>"):
        assert piece not in Table("", (f"a-{piece}",), [[Cell(piece, piece)]]).html()


def test_results_are_the_numbers_of_the_files(make_study) -> None:
    study = make_study()
    evaluations, comparisons, *_ = read_results(study)
    table = result_tables.results_table(evaluations, comparisons, arm_styles(study))
    means = evaluations[evaluations["finding"] == MEAN].set_index("arm")
    for arm, row in zip(arm_styles(study), table.rows, strict=True):
        assert row[2].text == f"{means.loc[arm, 'auroc']:.3f}"
        assert row[2].detail == f"({means.loc[arm, 'auroc_low']:.3f}–{means.loc[arm, 'auroc_high']:.3f})"
    differences = [row[4] for row in table.rows]
    assert differences[:3] == ["–"] * 3
    paired = comparisons[comparisons["finding"] == MEAN].set_index("second")
    expected = f"{paired.loc[FROM_CNN, 'auroc_difference']:+.3f}".replace("-", "−")
    assert differences[3].text == expected


def test_a_finding_left_out_says_why_in_place_of_numbers(make_study) -> None:
    study = make_study()
    table = result_tables.finding_table(read_results(study)[0], arm_styles(study))
    hernia = next(row for row in table.rows if row[0] == "Hernia")
    assert hernia[2].detail == "left out: 4 positives, fewer than 10"
    assert len(hernia) == 3
    assert hernia[2].span == len(arm_styles(study))
    assert table.rows[-1][0].detail == "over 6 findings"


def test_intervals_of_few_positives_are_marked_at_their_row_and_the_mark_is_explained(make_study) -> None:
    study = make_study()
    evaluations, comparisons = read_results(study)[:2]
    counts = evaluations[evaluations["finding"] != MEAN].set_index("finding")["positives"]
    counts = counts[~counts.index.duplicated()]
    few = {finding for finding, count in counts.items() if count < tables.FEW_POSITIVES}
    assert set() < few < set(counts.index)  # both kinds are tried
    table = result_tables.finding_table(evaluations, arm_styles(study))
    rows = dict(zip([*counts.index, MEAN], table.rows, strict=True))
    assert {finding for finding in counts.index if tables.FEW in rows[finding][1].detail} == few
    changes = result_tables.difference_table(comparisons, arm_styles(study))
    assert {f for f, row in zip([*counts.index, MEAN], changes.rows, strict=True) if row[0].detail == tables.FEW} == few
    assert table.note == changes.note == tables.FEW_NOTE
    many = evaluations.assign(positives=evaluations["positives"] + tables.FEW_POSITIVES)
    assert result_tables.finding_table(many, arm_styles(study)).note == ""


@pytest.mark.parametrize(
    ("kind", "dataset", "own"),
    [
        ("mini", "chestxray14", "This study: a miniature"),
        ("full", "chestxray14", "Random 70/10/20"),
    ],
)
def test_figures_of_different_splits_are_in_different_columns(make_study, kind: str, dataset: str, own: str) -> None:
    study = make_study(kind, dataset)
    data = read_json(study.runs_folder / "data.json")
    table = mean_table(read_results(study)[0], data, arm_styles(study))
    ours = list(table.columns).index(own)
    figures = [[bool(cell) for cell in row[1:-1]] for row in table.rows]
    assert all(sum(filled) == 1 for filled in figures)
    assert all(filled[ours - 1] for filled in figures[: len(arm_styles(study))])
    by_split = {entry["what"]: entry["split"] for entry in published()["mean_auroc"]["chestxray14"]}
    heads = {"not stated": "Split not stated", "official": "Official split", "random 70/10/20": "Random 70/10/20"}
    for row, filled in zip(table.rows[len(arm_styles(study)) :], figures[len(arm_styles(study)) :], strict=True):
        assert table.columns[1 + filled.index(True)] == heads[by_split[row[0].text]]


def test_published_figures_have_sources_and_keep_their_digits(make_study) -> None:
    entries = [entry for listed in published()["mean_auroc"].values() for entry in listed]
    assert all(entry["source"] and 0.5 < entry["auroc"] < 1 for entry in entries)
    study = make_study()
    table = mean_table(read_results(study)[0], read_json(study.runs_folder / "data.json"), arm_styles(study))
    html = table.html()
    for digits in ("0.837", "0.8202", "0.810", "0.745"):
        assert f">{digits}<" in html


@pytest.mark.parametrize(
    ("dataset", "kind", "figures"),
    [
        ("chestxray14", "full", {"0.837", "0.745", "0.876"}),
        ("chexpert", "full", {"0.871"}),
        ("padchest", "mini", {"0.887"}),
        ("chestmnist", "full", set()),
        ("folder", "own", set()),
    ],
)
def test_figures_published_on_one_data_set_stand_beside_no_other(make_study, dataset, kind, figures) -> None:
    study = make_study()
    data = {**read_json(study.runs_folder / "data.json"), "dataset": dataset, "kind": kind}
    inputs, styles = read_study_files(study), arm_styles(study)
    html = "".join(table.html() for table in published_tables(inputs.evaluations, data, styles))
    everywhere = {"0.837", "0.745", "0.876", "0.871", "0.887"}
    assert {figure for figure in everywhere if f">{figure}<" in html} == figures
    assert bool(html) == bool(figures)
    assert any("no results on this data set" in note for note in published_notes(data)) == (not figures)
    assert any("official test images" in trap for trap in traps(data)) == (dataset in ("chestxray14", "chestmnist"))


def test_only_the_whole_data_set_on_a_published_split_gets_that_splits_column(make_study) -> None:
    data = {**read_json(make_study().runs_folder / "data.json"), "dataset": "chestxray14", "kind": "full"}
    assert own_column(data) == "Random 70/10/20"
    assert own_column({**data, "split": {"name": "lists"}}) == "This study: Artificial radiographs"
    assert own_column({**data, "dataset": "chexpert"}) == "This study: Artificial radiographs"
    assert own_column({**data, "dataset": "folder", "kind": "own"}) == "This study: own data"


def test_the_papers_findings_and_cost_stand_beside_ours(make_study) -> None:
    study = make_study("mini", "chestxray14")
    inputs, styles = read_study_files(study), arm_styles(study)
    rows = {row[0]: row for row in paper_finding_table(inputs.evaluations, inputs.data, styles).rows}
    assert rows["Effusion"][1] == "0.876"
    assert rows["Effusion"][2].detail.startswith("(")
    assert rows["Edema"][2] == Cell("–")  # a finding that this study does not have
    cost = {row[0]: row for row in paper_cost_table(inputs.cost, styles).rows}
    assert cost["Parameters (million)"][1:] == ["4.7", "4.73", "4.73"]
    assert cost["Latency on Artificial CPU, 1 thread (ms)"][1:] == ["", "31.0", "31.0"]


def test_the_answer_follows_the_interval(make_study) -> None:
    study = make_study(seeds=(0, 1))
    comparisons, data = read_results(study)[1], read_json(study.runs_folder / "data.json")
    frame = comparisons[comparisons["second"] == FROM_CNN].copy()
    mean, columns = frame["finding"] == MEAN, ["auroc_difference", "auroc_low", "auroc_high", "auroc_p_holm", "shown"]
    for values, verdict in [
        ((0.02, 0.01, 0.03, 0.004, True), "distilled from DenseNet-161 had a higher mean AUROC than alone: +0.020"),
        ((-0.02, -0.03, -0.01, 0.004, True), "had a lower mean AUROC than alone: −0.020"),
        ((0.02, -0.01, 0.05, 0.3, False), "no effect of distillation from DenseNet-161 on the student's mean AUROC"),
        ((0.02, 0.001, 0.05, 0.07, False), "no effect of distillation from DenseNet-161 on the student's mean AUROC"),
    ]:
        frame.loc[mean, columns] = values
        sentence = headline(frame, arm_styles(study), data)
        assert sentence.startswith("On phantoms, ")
        assert verdict in sentence
        plain = sentence.replace("\N{NO-BREAK SPACE}", " ")
        assert ("corrected p 0.004" in plain) == values[-1]
        unshown_without_zero = values[1] > 0 and not values[-1]
        assert ("but p 0.070 after correction for all comparisons" in plain) == unshown_without_zero
    data["split"]["sides"]["test"]["patients"] = 29
    frame.loc[mean, ["auroc_difference", "auroc_low", "auroc_high"]] = (-0.02, -0.03, -0.01)
    assert "29 test patients are too few to say what distillation from DenseNet-161" in headline(
        frame, arm_styles(study), data
    )
    frame.loc[mean, "left_out"] = "no finding has enough positives and negatives"
    assert "no finding has enough positives" in headline(frame, arm_styles(study), data)
    assert "no student was trained both" in headline(frame.iloc[:0], arm_styles(study), data)


def test_one_training_claims_nothing_about_the_method(make_study) -> None:
    study = make_study(seeds=(0,))
    comparisons, data = read_results(study)[1], read_json(study.runs_folder / "data.json")
    frame = comparisons[comparisons["second"] == FROM_CNN].copy()
    mean = frame["finding"] == MEAN
    assert not frame["shown"].any()
    for values, verdict in [
        ((0.02, 0.01, 0.03), "the student distilled from DenseNet-161 had a higher mean AUROC than alone: +0.020"),
        ((0.02, -0.01, 0.05), "the student distilled from DenseNet-161 and the same student alone could not be told"),
    ]:
        frame.loc[mean, ["auroc_difference", "auroc_low", "auroc_high"]] = values
        sentence = headline(frame, arm_styles(study), data)
        assert sentence.startswith("On phantoms, in one training of each network, the student")
        assert verdict in sentence
        assert "says nothing about the method" in sentence
    assert chance_table(frame, arm_styles(study), study.seeds) is None


def test_the_parts_of_chance_add_up_and_each_seed_is_there(make_study) -> None:
    study = make_study(seeds=(0, 1))
    comparisons = read_results(study).comparisons
    table = chance_table(comparisons, arm_styles(study), study.seeds)
    row = comparisons[(comparisons["finding"] == MEAN) & (comparisons["second"] == FROM_CNN)].iloc[0]
    patients, trainings = row["auroc_se_patients"], row["auroc_se_trainings"]
    cells = table.rows[0]
    assert (cells[2], cells[3].text) == (f"{patients:.3f}", f"{trainings:.3f}")
    assert cells[3].detail == f"({trainings**2 / (patients**2 + trainings**2):.0%} of the variance)"
    assert len(cells[5].split(", ")) == 2


def test_a_student_is_not_worse_than_its_teacher_only_within_a_stated_margin(make_study) -> None:
    study = make_study(seeds=(0, 1))
    table = teacher_table(read_results(study).with_teachers, arm_styles(study), study.evaluation)
    assert {row[3] for row in table.rows} == {DASH}
    assert "states no margin" in table.note
    study.file.write_text(
        study.file.read_text().replace("resamples: 100", "resamples: 100, non_inferiority_margin: 0.4")
    )
    stated = load_study(study.file)
    frame = write_results(stated).with_teachers
    assert frame.loc[frame["finding"] == MEAN, "non_inferior"].all()
    table = teacher_table(read_results(stated).with_teachers, arm_styles(stated), stated.evaluation)
    assert {row[3] for row in table.rows} == {"shown"}
    one = frame.assign(interval=OVER_PATIENTS, non_inferior=False)
    assert {row[3] for row in teacher_table(one, arm_styles(stated), stated.evaluation).rows} == {
        "not tested: one training"
    }


def test_badges_and_cost_say_what_the_files_say(make_study) -> None:
    study = make_study()
    data = read_json(study.runs_folder / "data.json")
    assert "1,100 synthetic radiographs" in badge(data).meaning
    assert "1,100 real radiographs at 64 px" in badge({**data, "kind": "mini"}).meaning
    own = badge({**data, "kind": "own"})
    assert (own.kind, own.label) == ("own", "Own data")
    assert "1,100 radiographs at 64 px from a folder of the user (Artificial radiographs)" in own.meaning
    (sentence,) = cost_sentences(read_study_files(study).cost, [("densenet161", FROM_CNN)], arm_styles(study))
    assert "5.6 times the parameters of EEEA-Net-C2" in sentence
    assert "6.8 times its latency on this processor (95 % interval 6.1 to 8.1)" in sentence


def test_run_table_says_times_in_words(make_study) -> None:
    card = {
        "run": "a",
        "start": "ImageNet weights (lite0.pth)",
        "seed": 0,
        "epochs": 2,
        "peak_memory_mb": 1234.5,
        "device": "CPU",
        "finished": "2026-01-02T03:04:05",
    }
    rows = result_tables.run_table([{**card, "seconds": s} for s in (42, 83.4, 7300)]).rows
    assert [row[4] for row in rows] == ["42 s", "1 min 23 s", "2 h 1 min"]
    assert rows[0][:2] == ["a", "ImageNet weights (lite0.pth)"]
    assert rows[0][5:] == ["1,234", "CPU", "2026-01-02 03:04"]


def test_published_maps_are_shown_only_for_the_same_data_and_split():
    whole = {"dataset": "chestxray14", "kind": "full", "split": {"name": "official"}}
    table = localisation_table(whole)
    assert table is not None
    assert "0.62" in table.html()
    for other in ({"kind": "mini"}, {"dataset": "phantom"}, {"split": {"name": "random-70-10-20"}}):
        assert localisation_table({**whole, **other}) is None

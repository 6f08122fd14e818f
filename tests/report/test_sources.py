"""The report of a study whose images have sources: what the source gives away, and the results within each source."""

import re
from html import unescape

import pandas as pd
import pytest
from fake_study import add_sources

from cxr_kd.errors import PredictionsError, ReportError, StudyError
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.study_results import SOURCE_COLUMNS, read_source_results, write_results
from cxr_kd.files import read_json, write_json
from cxr_kd.report import data_tables, run_views
from cxr_kd.report.page import write_report
from cxr_kd.report.tables import Cell, Table
from cxr_kd.study import load_study


def texts(table: Table) -> dict[str, list[str]]:
    """First column -> the other columns' texts."""
    rows = [[f"{c.text} {c.detail}".strip() if isinstance(c, Cell) else c for c in row] for row in table.rows]
    return {first: others for first, *others in rows}


def shown(row: pd.Series) -> str:
    return f"{row['auroc']:.3f} ({row['auroc_low']:.3f}–{row['auroc_high']:.3f})"


def test_a_study_without_sources_says_nothing_of_them(make_study) -> None:
    study = make_study()
    write_results(study)
    assert not any((study.runs_folder / name).exists() for name in SOURCE_COLUMNS)
    assert run_views.sources(study) is None
    assert data_tables.source_table(read_json(study.runs_folder / "data.json")) is None
    assert "ithin each source" not in write_report(study).read_text()


def test_the_tables_show_the_files(make_study) -> None:
    study = add_sources(make_study())
    results = read_source_results(study)
    within, differences = run_views.sources(study).tables
    assert within.columns[1:] == (
        "All images (300 images, 6 findings)", "Within B (190 images, 6 findings)", "Within A (101 images, 4 findings)",
    )  # fmt: skip
    means = results.evaluations[results.evaluations["finding"] == MEAN].set_index(["source", "arm"])
    only = results.source_only.set_index("finding").loc[MEAN]
    rows = texts(within)
    assert rows["DenseNet-161"][1:] == [shown(means.loc[source, "densenet161"]) for source in "BA"]
    assert rows["Source only"] == [shown(only), "0.500 by construction", "0.500 by construction"]
    assert "Left out, because no finding has enough positives and negatives there: E (9 test images)." in within.note
    assert list(texts(differences)) == ["EEEA-Net-C2 from DenseNet-161", "EEEA-Net-C2 from Visformer-S"]
    compared = results.comparisons.set_index(["source", "second", "finding"])["auroc_difference"]
    expected = f"{compared['B', 'eeea_net_c2_from_densenet161', MEAN]:+.3f}".replace("-", "−")
    assert texts(differences)["EEEA-Net-C2 from DenseNet-161"][1].startswith(expected)


def test_the_report_says_at_the_top_what_the_source_gives_away(make_study) -> None:
    study = add_sources(make_study())
    only = read_source_results(study).source_only.set_index("finding")
    assert only.loc["Effusion", "auroc"] > 0.6  # A has no Effusion
    assert only.loc[MEAN, "auroc_low"] > 0.5
    text = unescape(write_report(study).read_text()).replace("\N{NO-BREAK SPACE}", " ")
    header = re.search(r"<header>.*?</header>", text, re.DOTALL)[0]
    assert f"reach a mean AUROC of {shown(only.loc[MEAN])} over all test images. So an AUROC over all" in header
    assert "Mean AUROC over findings on 300 test images" in header
    assert "Images with each finding, by source" in text


def test_a_source_that_gives_nothing_away_is_not_accused(make_study) -> None:
    study = add_sources(make_study())
    data = read_json(study.runs_folder / "data.json")
    for sides in data["image_sources"].values():
        sides["train"] = data["image_sources"]["A"]["train"]  # the same rates everywhere
    write_json(study.runs_folder / "data.json", data)
    write_results(study)
    sentence = run_views.sources(study).sentence.replace("\N{NO-BREAK SPACE}", " ")
    assert "do not show that the source goes with the labels" in sentence
    assert "0.500 (0.500–0.500), and 0.5 is chance" in sentence


def test_the_headline_is_about_the_source_that_the_study_names(make_study) -> None:
    study = add_sources(make_study(), "headline_source: A,")
    means = read_source_results(study).evaluations.query("finding == 'mean' and source == 'A'").set_index("arm")
    text = unescape(write_report(study).read_text()).replace("\N{NO-BREAK SPACE}", " ")
    header = re.search(r"<header>.*?</header>", text, re.DOTALL)[0]
    assert "On phantoms, within source A, " in header
    assert re.search(r"on 101 test images of\s+40 patients, all of source A, with", header)
    assert f"<dd>{means.loc['densenet161', 'auroc']:.3f}<span>" in header
    assert "The figures at the top are those of source A." in header
    assert run_views.sources(study).tables[0].columns[2].startswith("Within A (")


def test_an_unknown_headline_source_is_refused_with_the_sources(make_study) -> None:
    with pytest.raises(StudyError, match=r"headline_source is 'Z', but the sources of the test images are A, B, E\."):
        add_sources(make_study(), "headline_source: Z,")
    study = add_sources(make_study())
    study.file.write_text(study.file.read_text().replace("resamples: 100,", "resamples: 100, headline_source: Z,"))
    with pytest.raises(StudyError, match=r"headline_source is 'Z'"):
        write_report(load_study(study.file))


def test_counts_per_source_are_of_all_sides(make_study) -> None:
    study = add_sources(make_study())
    data = read_json(study.runs_folder / "data.json")
    table = data_tables.source_table(data)
    assert table.columns == ("Finding", "A", "B", "E")
    assert texts(table)["Images"] == ["303 (202 / 0 / 101)", "570 (380 / 0 / 190)", "9 (0 / 0 / 9)"]
    assert texts(table)["Effusion"][0] == "0"
    none = data["image_sources"]["A"]["test"]["without_finding"]
    assert texts(table)["No positive label"][0] == f"{3 * none} ({2 * none} / 0 / {none})"


def test_many_sources_are_named_and_the_largest_shown(make_study, monkeypatch) -> None:
    monkeypatch.setattr("cxr_kd.report.source_tables.MOST_SOURCES", 1)
    table = run_views.sources(add_sources(make_study())).tables[0]
    assert [column.split(" (")[0] for column in table.columns] == ["Network", "All images", "Within B"]
    assert table.note.endswith("Smaller sources, in evaluations-by-source.csv only: A.")


@pytest.mark.parametrize("file", SOURCE_COLUMNS)
def test_a_missing_file_is_named(make_study, file: str) -> None:
    study = add_sources(make_study())
    (study.runs_folder / file).unlink()
    with pytest.raises(ReportError, match=rf"{file}: there is no such file; run notebook 04_evaluate"):
        write_report(study)


def test_results_of_other_sources_are_refused(make_study) -> None:
    study = add_sources(make_study())
    path = study.runs_folder / "evaluations-by-source.csv"
    frame = pd.read_csv(path, keep_default_na=False)
    frame[frame["source"] != "A"].to_csv(path, index=False)
    with pytest.raises(ReportError, match=r"by-source\.csv: holds other networks or sources than"):
        write_report(study)


def test_a_data_card_that_does_not_fit_the_predictions_is_refused(make_study) -> None:
    study = add_sources(make_study())
    path = study.runs_folder / "data.json"
    data = read_json(path)
    write_json(path, {**data, "image_sources": {}})
    with pytest.raises(PredictionsError, match=r"scored on images with other sources, or on another split"):
        write_results(study)
    write_json(path, {**data, "split": {**data["split"], "sha256": "f" * 64}})
    with pytest.raises(PredictionsError, match=r"on another split, than those of .*data\.json; run notebook"):
        write_results(study)
    path.unlink()
    with pytest.raises(PredictionsError, match=r"data\.json: not this study's data card \(.*run notebook"):
        write_results(study)


def test_files_of_an_earlier_evaluation_with_sources_do_not_stay(make_study) -> None:
    study = add_sources(make_study())
    (study.runs_folder / "data.json").unlink()
    for run in study.all_runs:
        path = study.run_folder(run) / "predictions-test.parquet"
        (study.run_folder(run) / "predictions-validation.parquet").replace(path)  # without sources
    write_results(study)
    assert not any((study.runs_folder / name).exists() for name in SOURCE_COLUMNS)

"""What notebooks 1 and 6 show is what the data card and the tables say; what a study does not have is said."""

import re
from pathlib import Path
from types import SimpleNamespace

import pandas as pd

from cxr_kd.explanation.map_tables import read_map_tables
from cxr_kd.files import read_json
from cxr_kd.report import data_views, explain_views, notebook_page
from cxr_kd.report.lesson import STEPS, about, show
from cxr_kd.report.maps import views as map_views
from cxr_kd.report.page import NOTEBOOKS
from cxr_kd.report.style import arm_styles

ROOT = Path(__file__).parents[2]


def test_the_sentences_of_the_data_card_escape_what_a_data_set_says(make_study) -> None:
    card = read_json(make_study().runs_folder / "data.json")
    said = data_views.size(card).data
    assert f"{card['images']:,} images of {card['patients']:,} patients" in said.replace("\\", "")
    card["source"] = {"name": "*A* <b>data set</b>"}
    assert data_views.origin(card).data == r"- **name**: \*A\* \<b\>data set\</b\>"
    assert card["split"]["sha256"] in data_views.split(card).data


def test_the_quarantine_is_listed_only_if_there_is_one() -> None:
    files = pd.DataFrame({"path": [f"{n}.png" for n in range(30)], "reason": "damaged"})
    assert len(data_views.quarantined(SimpleNamespace(cache=SimpleNamespace(quarantine=files)))) == 20
    assert data_views.quarantined(SimpleNamespace(cache=SimpleNamespace(quarantine=files.iloc[:0]))) is None


def test_maps_that_were_measured_are_shown_as_in_the_report(make_study) -> None:
    study = make_study()
    tables = read_map_tables(study)
    sentence, figure, table = explain_views.where(study, tables)
    numbers = re.compile(r"\d\.\d{3}")
    assert numbers.findall(sentence.data.replace("\\", "")) == numbers.findall(
        map_views.answer(tables, arm_styles(study))
    )
    assert len(figure.axes) >= 3
    assert table.caption == map_views.headline_table(tables, arm_styles(study)).caption
    assert [each.caption for each in explain_views.groups(study, tables)] == [
        map_views.group_table(tables, arm_styles(study), by).caption for by in ("size", "finding")
    ]
    assert explain_views.placement(study, tables).rows
    assert explain_views.differences(study, tables).rows


def test_without_known_places_there_is_a_sentence_in_place_of_tables(make_study, capsys) -> None:
    study = make_study()
    tables = {name: frame.iloc[:0] for name, frame in read_map_tables(study).items()}
    assert explain_views.where(study, tables) == []
    assert explain_views.groups(study, tables) == []
    for view in (explain_views.placement, explain_views.differences, explain_views.agreement, explain_views.drain):
        assert view(study, tables) is None
    show(*explain_views.where(study, tables), otherwise=explain_views.NO_PLACES)
    assert "Markdown" in capsys.readouterr().out


def test_a_notebook_says_which_step_it_is_and_a_title_is_text(make_study) -> None:
    study = make_study()
    study = study.model_copy(update={"title": "<b>1 < 2</b>"})
    html = about(study, 6).data
    assert "&lt;b&gt;1 &lt; 2&lt;/b&gt;" in html
    assert html.count("<th") - 1 == len(STEPS) == len(NOTEBOOKS)  # one more: thead
    assert re.findall(r"<th [^>]*background-color[^>]*>([^<]*)", notebook_page.clean(html)) == ["6 Explanation"]
    for notebook in sorted((ROOT / "notebooks").glob("0*.ipynb")):
        assert f'"about(study, {int(notebook.stem[:2])})"' in notebook.read_text()

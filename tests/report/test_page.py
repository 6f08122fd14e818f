"""The report: one file, numbers from files only, readable in a browser wide, narrow and printed."""

import re
import shutil
from html import unescape
from pathlib import Path

import html5lib
import pandas as pd
import pytest
from axe_playwright_python.sync_playwright import Axe

from cxr_kd.errors import ReportError, StorageError
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.study_results import write_results
from cxr_kd.files import read_json, write_json
from cxr_kd.report.page import write_report
from cxr_kd.study import load_study


def test_the_report_is_one_file_that_needs_nothing_else(report: Path) -> None:
    assert report.parts[-3:] == ("reports", "artificial", "index.html")
    text = report.read_text()
    assert "<script" not in text
    assert "@import" not in text
    assert "<link" not in text
    sources = re.findall(r'\ssrc="([^"]{0,40})', text)
    assert len(sources) >= 8
    assert all(source.startswith("data:image/") for source in sources)
    links = [link for link in re.findall(r'href="([^"]*)"', text) if not link.startswith("#")]
    notebooks = [f"notebooks/{n}.html" for n in ("01_data", "02_teacher-densenet161-seed0", "06_explain", "08_report")]
    beside = [link for link in links if not link.startswith(("data/", "study/runs/artificial/", "https://"))]
    assert beside == ["guidelines.html", "methods.md", "references.bib", "ro-crate-metadata.json", *notebooks]
    assert all((report.parent / link).is_file() for link in links if link not in (notebooks[-1], *_places(links)))
    assert all(place.startswith(("https://doi.org/", "https://arxiv.org/abs/")) for place in _places(links))
    anchors = set(re.findall(r'href="#([^"]*)"', text))
    assert anchors == set(re.findall(r'<section id="([^"]*)"', text))


@pytest.mark.parametrize("name", ["index.html", "guidelines.html"])
def test_the_pages_are_valid_html(report: Path, name: str) -> None:
    html5lib.HTMLParser(strict=True).parse((report.parent / name).read_text())  # raises ParseError


def _places(links: list[str]) -> list[str]:
    """The links that lead out: to cited works."""
    return [link for link in links if link.startswith("https://")]


def test_every_figure_and_table_can_be_had_as_files_with_the_values_that_it_shows(make_study) -> None:
    study = make_study()
    folder = study.report_folder / "data"
    folder.mkdir(parents=True)
    (folder / "of-an-older-report.svg").touch()
    text = write_report(study).read_text()
    shown = re.findall(r"<figure class=\"(drawing|table)(.*?)</figure>", text, re.DOTALL)
    linked = [(kind, re.findall(r'href="data/([^"]*)"', each), each) for kind, each in shown]
    for kind, files, each in linked:
        pixels = each.startswith(" picture")
        ends = [".csv"] if kind == "table" else [".png"] if pixels else [".svg", ".png", ".csv"]
        assert [Path(file).suffix for file in files] == ends
    files = [file for _, of_one, _ in linked for file in of_one]
    assert sorted(files) == sorted(path.name for path in folder.iterdir())
    for kind, name in (("drawing", "Figure"), ("table", "Table")):
        numbers = [int(re.search(rf"{name} (\d+)\.", each)[1]) for own, _, each in linked if own == kind]
        assert numbers == list(range(1, len(numbers) + 1))
    for file in files:
        start = (folder / file).read_bytes()[:8]
        assert start.startswith({".svg": b"<?xml", ".png": b"\x89PNG"}.get(Path(file).suffix, b""))
    evaluations = pd.read_csv(folder / "mean-auroc.csv")
    pd.testing.assert_frame_equal(evaluations, pd.read_csv(study.runs_folder / "evaluations.csv"))
    prevalence = pd.read_csv(folder / "prevalence.csv").set_index(["side", "finding"])
    card = read_json(study.runs_folder / "data.json")
    for side, of_side in card["positives"].items():
        assert {finding: prevalence.loc[(side, finding), "positives"] for finding in of_side} == of_side
    training = pd.read_csv(folder / "training.csv")
    runs = training.groupby(["arm", "seed"])["epoch"].count()
    assert {f"{arm}-seed{seed}" for arm, seed in runs.index} == {run.name for run in study.all_runs}
    results = pd.read_csv(folder / "table-01-teacher-student-alone-and-student-distilled.csv")
    means = evaluations[evaluations["finding"] == MEAN]
    for end, column in (("", "auroc"), (": low", "auroc_low"), (": high", "auroc_high")):
        assert results[f"Mean AUROC{end}"].tolist() == means[column].tolist()  # not rounded


def test_every_table_and_figure_says_its_data_and_split(report: Path) -> None:
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", report.read_text(), re.DOTALL)
    assert len(captions) >= 15
    for caption in captions:
        if "published results" not in caption and "single findings" not in caption:  # not from phantoms
            assert '<span class="origin">Phantoms · split random-70-10-20' in caption
    headings = re.findall(r"<h2>(.*?)</h2>", report.read_text())
    assert sum('<span class="badge phantom">Phantoms</span>' in heading for heading in headings) == 7


def test_numbers_come_from_the_files(make_study) -> None:
    study = make_study()
    evaluations = pd.read_csv(study.runs_folder / "evaluations.csv", keep_default_na=False, na_values=[""])
    row = (evaluations["arm"] == "densenet161") & (evaluations["finding"] == MEAN)
    evaluations.loc[row, ["auroc", "auroc_low", "auroc_high"]] = [0.76543, 0.71111, 0.82222]
    evaluations.to_csv(study.runs_folder / "evaluations.csv", index=False)
    card = study.runs_folder / "densenet161-seed0" / "card.json"
    write_json(card, {**read_json(card), "peak_memory_mb": 54321, "device": "a machine of its own"})
    text = write_report(study).read_text()
    assert text.count("0.765") >= 3  # the key figure and two tables
    assert "(0.711–0.822)" in text
    assert "54,321" in text
    assert "a machine of its own" in text
    assert "Hernia: 4 positives, fewer than 10" in text
    assert "make study STUDY=studies/artificial.yaml</code>" in text


def test_real_data_is_asked_for_by_folder_and_several_seeds_are_said(make_study) -> None:
    text = write_report(make_study("mini", "chestxray14", seeds=(0, 1))).read_text()
    assert "make study STUDY=studies/artificial.yaml DATA=DIR" in text
    assert re.search(r"was trained\s+with 2 seeds", text)
    assert "Phantoms" not in text
    assert text.count('class="badge mini"') == 7


def test_the_data_section_says_how_labels_were_read_how_sides_differ_and_what_is_missing(report: Path) -> None:
    section = unescape(re.search(r'<section id="data">.*?</section>', report.read_text(), re.DOTALL)[0])
    assert re.search(r"<dt>Blank labels</dt>\s*<dd>a blank is not a zero</dd>", section)
    for piece in ("Test minus train", "(66 of 290)", "lateral view", "the file is empty (0 bytes)",
                  "4 boxes on 3 images", "The same findings in other data sets"):  # fmt: skip
        assert piece in section.replace("(66 of 290)", "(66 of 290)"), piece


def test_a_report_on_images_that_are_almost_black_says_so(make_study, report: Path) -> None:
    assert "almost black" not in report.read_text()
    study = make_study()
    data = read_json(study.runs_folder / "data.json")
    write_json(study.runs_folder / "data.json", {**data, "brightest": 15.0})
    assert '<p class="callout">The images are almost black: ' in write_report(study).read_text()


def test_a_study_of_own_data_is_compared_with_nobody(make_study) -> None:
    study = make_study()
    data = read_json(study.runs_folder / "data.json")
    write_json(study.runs_folder / "data.json", {**data, "kind": "own", "dataset": "folder"})
    text = write_report(study).read_text()
    assert 'class="badge own">Own data<' in text
    assert "On the radiographs of a folder, " in text
    assert "no results on this data set" in text
    assert "CheXNet" not in text
    assert "The same findings in other data sets" not in text


def test_a_data_card_of_an_older_version_is_refused(make_study) -> None:
    study = make_study()
    data = read_json(study.runs_folder / "data.json")
    write_json(study.runs_folder / "data.json", {key: value for key, value in data.items() if key != "known"})
    with pytest.raises(ReportError, match=r"data\.json: no known; run 01_data again"):
        write_report(study)


def test_text_of_a_study_is_text_and_not_markup(make_study) -> None:
    study = make_study()
    data = read_json(study.runs_folder / "data.json")
    data["source"]["name"] = "<script>alert(1)</script>"
    write_json(study.runs_folder / "data.json", data)
    text = write_report(study).read_text()
    assert "<script>" not in text
    assert "<script>alert(1)</script>" in unescape(text)


def test_a_study_in_which_nothing_can_be_scored_says_so(make_study) -> None:
    study = make_study()
    study.file.write_text(study.file.read_text().replace("minimum_positives: 10", "minimum_positives: 1000"))
    poor = load_study(study.file)
    write_results(poor)
    text = write_report(poor).read_text()
    assert "no finding has enough positives to say what distillation from DenseNet-161 changes" in text
    assert "Effusion: 95 positives, fewer than 1000" in text
    assert "No finding can be scored." in unescape(text)
    assert 'alt="AUROC of each finding' not in text  # no empty figure
    assert 'alt="Mean AUROC' not in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower().replace("explanation", "")


@pytest.mark.parametrize(
    ("file", "notebook"),
    [
        ("data.json", "01_data"),
        ("densenet161-seed0/card.json", "02_teacher"),
        ("eeea_net_c2_alone-seed0/card.json", "03_distill"),
        ("evaluations.csv", "04_evaluate"),
        ("comparisons.csv", "04_evaluate"),
        ("explanations/explanations.json", "06_explain"),
        ("explanations/explained.png", "06_explain"),
        ("explanations/maps.csv", "06_explain"),
        ("device.csv", "07_device"),
    ],
)
def test_a_missing_file_is_named_with_the_notebook_that_writes_it(make_study, file: str, notebook: str) -> None:
    study = make_study()
    (study.runs_folder / file).unlink()
    with pytest.raises(ReportError, match=rf"{re.escape(file)}: .*{notebook}"):
        write_report(study)
    assert not (study.report_folder / "index.html").exists()


def test_files_that_do_not_belong_together_are_refused(make_study) -> None:
    study = make_study()
    card = study.runs_folder / "visformer_s-seed0" / "card.json"
    content = read_json(card)
    write_json(card, {**content, "split_sha256": "f" * 64})
    with pytest.raises(ReportError, match=r"visformer_s-seed0.*another split"):
        write_report(study)
    write_json(card, content)
    device = pd.read_csv(study.runs_folder / "device.csv")
    device.assign(run=device["run"].replace("visformer_s-seed0", "resnet-seed0")).to_csv(
        study.runs_folder / "device.csv"
    )
    with pytest.raises(ReportError, match="no run 'resnet-seed0'"):
        write_report(study)
    device.drop(columns="macs").to_csv(study.runs_folder / "device.csv")
    with pytest.raises(ReportError, match=r"device\.csv: no column macs"):
        write_report(study)


def test_a_browser_shows_it_wide_narrow_and_printed(report: Path, browser) -> None:
    page = browser.new_page()
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url[:40]))
    page.on("console", lambda message: said.append(message.text))
    for width in (1280, 400):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(report.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"the page scrolls sideways by {wide} px at {width} px"
        assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        cut = "[...document.querySelectorAll('.drawing:not(.wide) img, .scroll')].some("
        cut += "i => i.getBoundingClientRect().right > document.documentElement.clientWidth)"
        assert not page.evaluate(cut), f"a figure is cut at {width} px"
    boxes = page.evaluate("[...document.querySelectorAll('.scroll')].map(b => b.scrollWidth > b.clientWidth)")
    assert any(boxes)  # at 400 px wide tables scroll in their own box
    pdf = page.pdf(prefer_css_page_size=True)
    page.close()
    assert said == []
    assert all(url.startswith(("file:", "data:")) for url in asked)
    assert pdf.count(b"/Type /Page\n") >= 4 or pdf.count(b"/Type/Page") >= 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_a_screen_reader_and_a_keyboard_can_use_it(report: Path, browser, width: int, scheme: str) -> None:
    page = browser.new_page()
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    for name in ("index.html", "guidelines.html"):
        page.goto((report.parent / name).as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
        found = Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
    page.close()


def test_a_full_disk_keeps_the_older_report_and_says_so_in_one_sentence(make_study, monkeypatch) -> None:
    study = make_study()
    before = write_report(study).read_bytes()
    free = shutil.disk_usage(study.report_folder)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(StorageError, match=r"the report needs \d+\.\d MB more and 0\.0 MB are free: make room"):
        write_report(study)
    assert (study.report_folder / "index.html").read_bytes() == before


def test_no_auroc_on_phantoms_is_in_a_table_with_published_results(make_study, report: Path) -> None:
    def published(page: Path) -> str:
        return re.search(r'<section id="published">.*?</section>', page.read_text(), re.DOTALL)[0]

    assert "CheXNet" in published(report)
    assert "this study" not in published(report).replace("of this study are from phantoms", "").lower()
    assert "This study: a miniature" in published(write_report(make_study("mini", "chestxray14")))

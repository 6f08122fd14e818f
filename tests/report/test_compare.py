"""`cxr-kd compare`: studies of the same data and split side by side on one page, made of random logits."""

import re
import shutil
from html import unescape
from pathlib import Path

import html5lib
import numpy as np
import pandas as pd
import pytest
from fake_study import YAML, add_sources, data_json, write_device, write_maps, write_run, write_study
from statsmodels.stats.multitest import multipletests
from typer.testing import CliRunner

from cxr_kd.cli.main import app
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.files import read_json, write_json
from cxr_kd.report.compare.page import write_comparison
from cxr_kd.study import Study, load_study
from cxr_kd.study.arms import arms_of

ATTACK = '"><script>window.__xss=1</script><img src="https://example.org/x.png">'
FIRST, SHARED = "artificial", {"densenet161", "eeea_net_c2_alone"}
OWN = {"visformer_s", "eeea_net_c2_from_densenet161", "eeea_net_c2_from_visformer_s"}
BETTER = "eeea_net_c2_from_densenet161-better"
SECOND = (
    YAML.replace("title: ", "title: Second. ").replace('Second. "', '"Second. ')
    .replace("[densenet161, visformer_s]", "[densenet161]")
    .replace("  - {{network: eeea_net_c2, teacher: visformer_s}}\n", "")
    .replace("r: densenet161}}", "r: densenet161, label: better, objective: {{focal_bce: 1, binary_kl: 2}}}}")
)  # fmt: skip


def add_study(home: Path, text: str = SECOND, seeds: tuple[int, ...] = (0, 1, 2), name: str = "second") -> Study:
    """Write a further study of phantoms with its cards and predictions, without maps and latencies."""
    file = home / "studies" / f"{name}.yaml"
    file.write_text(text.format(dataset="phantom", more=", phantom: {images: 1100}", seeds=list(seeds)))
    study = load_study(file)
    write_json(study.runs_folder / "data.json", data_json("phantom", "phantom"))
    for run in study.all_runs:
        write_run(study, run, "phantom", "phantom")
    return study


@pytest.fixture(scope="module")
def made_pair(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("pair")
    write_study(home, "phantom", "phantom", (0, 1, 2))
    add_study(home)
    return home


@pytest.fixture
def pair(made_pair: Path, tmp_path: Path) -> list[Study]:
    """Two studies of three seeds, which the test may change."""
    shutil.copytree(made_pair, tmp_path, dirs_exist_ok=True)
    return [load_study(tmp_path / "studies" / f"{name}.yaml") for name in (FIRST, "second")]


@pytest.fixture(scope="module")
def page(made_pair: Path, tmp_path_factory) -> Path:
    """The page of both studies, to be read only."""
    studies = [load_study(made_pair / "studies" / f"{name}.yaml") for name in (FIRST, "second")]
    return write_comparison(studies, tmp_path_factory.mktemp("out") / "page").page


def run(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["compare", *map(str, arguments)], env={"COLUMNS": "120"})
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.output


def table(page: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(page.parent / name, keep_default_na=False, na_values=[""])


def text_of(page: Path) -> str:
    """The text of a page without markup and pictures, in single spaces."""
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page.read_text(), flags=re.DOTALL)).split())


def test_every_network_is_there_once_with_the_studies_that_have_it(page: Path) -> None:
    networks = table(page, "networks.csv").set_index("network")
    wanted = {f"{FIRST}/{arm}": f"{FIRST} second" if arm in SHARED else FIRST for arm in SHARED | OWN}
    assert networks["studies"].to_dict() == {**wanted, f"second/{BETTER}": "second"}
    assert networks.loc[f"second/{BETTER}", "objective"] == "focal_bce 1 + binary_kl 2"
    assert set(networks["seeds"]) == {"0 1 2"}
    section = re.search(r'<section id="networks">.*?</section>', page.read_text(), re.DOTALL)[0]
    assert section.count("<tr>") == 1 + len(networks)


def test_numbers_are_those_that_the_study_itself_has(page: Path, made_pair: Path) -> None:
    study = load_study(made_pair / "studies" / f"{FIRST}.yaml")
    own = pd.read_csv(study.runs_folder / "evaluations.csv", keep_default_na=False, na_values=[""])
    own = own[own["finding"] == MEAN].set_index("arm")
    networks = table(page, "networks.csv").set_index("network")
    columns = ["auroc", "auroc_low", "auroc_high", "average_precision"]
    for arm in arms_of(study):
        np.testing.assert_allclose(networks.loc[f"{FIRST}/{arm}", columns].astype(float), own.loc[arm, columns])
        assert f"{own.loc[arm, 'auroc']:.3f}" in text_of(page)
    compared = pd.read_csv(study.runs_folder / "comparisons.csv", keep_default_na=False, na_values=[""])
    compared = compared[compared["finding"] == MEAN].set_index("second")
    found = table(page, "comparisons.csv")
    found = found[found["finding"] == MEAN].set_index("second")
    parts = ["auroc_difference", "auroc_low", "auroc_high", "auroc_p", "auroc_seed2"]
    for arm in compared.index:  # each with the student alone, which is the reference of the page too
        np.testing.assert_allclose(found.loc[f"{FIRST}/{arm}", parts].astype(float), compared.loc[arm, parts])
    maps = pd.read_csv(study.runs_folder / "explanations" / "maps.csv").query("by == 'all' and measure == 'pointing'")
    assert networks["pointing"][: len(own)].tolist() == maps.set_index("arm")["estimate"][own.index].tolist()
    device = pd.read_csv(study.runs_folder / "device.csv").drop_duplicates("network")["latency_ms_median"]
    assert set(networks["latency_ms_median"].dropna()) == set(device)


def test_differences_are_over_all_studies_and_corrected_for_all_networks(page: Path) -> None:
    found = table(page, "comparisons.csv")
    means = found[found["finding"] == MEAN].set_index("second")
    assert set(means["first"]) == {f"{FIRST}/eeea_net_c2_alone"}
    assert set(means.index) == {f"{FIRST}/{arm}" for arm in OWN | {"densenet161"}} | {f"second/{BETTER}"}
    np.testing.assert_allclose(means["auroc_p_holm"], multipletests(means["auroc_p"], method="holm")[1])
    assert means.loc[f"second/{BETTER}", "shown"]
    headline = unescape(re.search(r'<p class="headline">(.*?)</p>', page.read_text(), re.DOTALL)[1])
    change = f"{means.loc[f'second/{BETTER}', 'auroc_difference']:+.3f}"
    assert headline.startswith("On phantoms, ")
    assert re.search(rf"EEEA-Net-C2 from DenseNet-161 \(better\) \(study second\), a higher one, \{change}", headline)
    assert f"{means['shown'].sum()} of the 5 networks" in headline
    section = re.search(r'<section id="differences">.*?</section>', page.read_text(), re.DOTALL)[0]
    assert section.count("<td>shown</td>") == means["shown"].sum()
    assert section.count("<td>not shown</td>") == (~means["shown"]).sum()


def test_the_reference_can_be_named(pair: list[Study], tmp_path: Path) -> None:
    files = [study.file for study in pair]
    said = run(*files, "--out", tmp_path / "out", "--reference", BETTER)
    assert str(tmp_path / "out" / "index.html") in said
    found = table(tmp_path / "out" / "index.html", "comparisons.csv")
    assert set(found["first"]) == {f"second/{BETTER}"}
    run(*files, "--out", tmp_path / "out", "--reference", "second/densenet161")  # shared, so the first study's
    assert set(table(tmp_path / "out" / "index.html", "comparisons.csv")["first"]) == {f"{FIRST}/densenet161"}
    said = run(*files, "--reference", "resnet50", status=2)
    assert f"--reference resnet50: no such network; the networks are: {FIRST}/densenet161, " in said


def test_two_different_networks_of_one_name_have_to_be_told_apart(pair: list[Study], tmp_path: Path) -> None:
    text = SECOND.replace("student_training: {{epochs: 3}}", "student_training: {{epochs: 5, batch_size: 8}}")
    other = add_study(tmp_path, text, name="third")
    alone = "eeea_net_c2_alone"
    said = run(pair[0].file, other.file, "--reference", alone, status=2)
    assert f"several networks have this name; give one of {FIRST}/{alone}, third/{alone}" in said
    assert not (tmp_path / "reports" / "compare").exists()
    run(pair[0].file, other.file)
    page = tmp_path / "reports" / "compare" / f"{FIRST}-and-third" / "index.html"
    networks = table(page, "networks.csv").set_index("network")["studies"]
    assert (networks[f"{FIRST}/{alone}"], networks[f"third/{alone}"]) == (FIRST, "third")
    settings = table(page, "settings.csv").set_index("setting")
    assert settings.loc["student_training.epochs"].tolist() == [3, 5]
    assert settings.loc["student_training.batch_size"].tolist() == [32, 8]
    assert set(settings.index) == {"student_training.epochs", "student_training.batch_size"}
    assert "student_training.batch_size 32 8" in text_of(page)


def test_studies_that_differ_only_in_their_networks_say_so(page: Path) -> None:
    assert table(page, "settings.csv").empty
    assert "The study files differ only in which networks they list." in text_of(page)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "chexpert"}, "the data set is phantom in the first and chexpert in the second"),
        ({"kind": "mini"}, "the kind of data is phantom in the first and mini in the second"),
        ({"image_size": 128}, "the image size is 64 in the first and 128 in the second"),
        ({"findings": ["Mass"]}, "Hernia in the first and Mass in the second"),
        ({"split": {"name": "official", "sha256": "f" * 64}}, "is random-70-10-20 in the first and official in"),
        ({"split": {"name": "random-70-10-20", "sha256": "f" * 64}}, "the SHA-256 of the split is 0123456789abcdef"),
        ({"identity": "f" * 64}, "the images, their labels or how they are decoded differ"),
    ],
)  # fmt: skip
def test_studies_of_other_data_or_another_split_are_refused(pair: list[Study], tmp_path, change, said) -> None:
    path = pair[1].runs_folder / "data.json"
    write_json(path, {**read_json(path), **change})
    output = run(*(study.file for study in pair), "--out", tmp_path / "out", status=2)
    assert f"{FIRST} and second cannot be compared: " in output
    assert said in output
    assert len(output.strip().splitlines()) == 2
    assert not (tmp_path / "out").exists()


def test_the_setting_behind_another_split_is_named(pair: list[Study]) -> None:
    text = pair[1].file.read_text()
    pair[1].file.write_text(
        text.replace("images: 1100", "images: 900").replace("_size: 64", "_size: 64\nintensity: per-image")
    )
    path = pair[1].runs_folder / "data.json"
    write_json(path, {**read_json(path), "identity": "f" * 64})
    output = run(*(study.file for study in pair), status=2)
    assert "(settings that differ: phantom.images: 1100 and 900; intensity: fixed and per-image)" in output


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("data.json", "run notebook 01_data of this study first"),
        (f"{BETTER}-seed1/card.json", "run notebook 03_distill of this study first"),
        ("densenet161-seed0/card.json", "run notebook 02_teacher of this study first"),
        (f"{BETTER}-seed1/predictions-test.parquet", "run the step that trains this network"),
    ],
)
def test_results_that_are_missing_are_named_with_what_to_run(pair: list[Study], tmp_path, file, said) -> None:
    (pair[1].runs_folder / file).unlink()
    output = run(*(study.file for study in pair), "--out", tmp_path / "out", status=2)
    assert f"{pair[1].runs_folder / file}: " in output
    assert said in output
    assert not (tmp_path / "out").exists()


def test_a_run_of_other_settings_than_the_study_has_now_is_refused(pair: list[Study]) -> None:
    file = pair[1].file
    file.write_text(file.read_text().replace("binary_kl: 2", "binary_kl: 3"))
    assert "trained with other settings or data than the study's now" in run(pair[0].file, file, status=2)


def test_one_study_and_one_study_twice_are_refused(pair: list[Study]) -> None:
    assert "name at least two" in run(pair[0].file, status=2)
    assert f"two studies are called '{FIRST}'" in run(pair[0].file, pair[0].file, status=2)


def test_trainings_are_paired_by_seed_over_those_that_both_have(pair: list[Study], tmp_path: Path) -> None:
    fewer = add_study(tmp_path, SECOND, (1, 2, 5), name="fewer")
    other = add_study(tmp_path, SECOND, (7,), name="other")
    once = add_study(tmp_path, SECOND, (2,), name="once")
    page = write_comparison([pair[0], fewer, other, once], tmp_path / "out").page
    means = table(page, "comparisons.csv").query("finding == 'mean'").set_index("second")
    assert means.loc[f"fewer/{BETTER}", "seeds"] == 2
    assert means.loc[f"once/{BETTER}", "seeds"] == 1
    assert not any(name.startswith("other/") for name in means.index)
    assert np.isnan(means.loc[f"once/{BETTER}", "auroc_p"])
    assert np.isfinite(means.loc[f"fewer/{BETTER}", ["auroc_seed1", "auroc_seed2"]].astype(float)).all()
    assert np.isnan(means.loc[f"fewer/{BETTER}", "auroc_seed0"])
    section = re.search(r'<section id="differences">.*?</section>', page.read_text(), re.DOTALL)[0]
    rows = [each for each in re.findall(r"<tr><th.*?</tr>", section) if "(better)" in each]
    for study, said in (("fewer", "not shown"), ("other", "no seed in common"), ("once", "not tested: one training")):
        (row,) = [each for each in rows if f"<td>{study}</td>" in each]
        assert f"<td>{said}</td>" in row


def test_of_one_training_nothing_is_tested(make_study, tmp_path: Path) -> None:
    first = make_study()
    page = write_comparison([first, add_study(tmp_path, seeds=(0,))])
    assert page.headline.startswith(
        "On phantoms, no difference from EEEA-Net-C2 alone (studies artificial and second) is"
    )
    assert "That takes several seeds." in page.headline
    section = re.search(r'<section id="differences">.*?</section>', page.page.read_text(), re.DOTALL)[0]
    assert section.count("<td>not tested: one training</td>") == 5
    assert "shown</td>" not in section


def test_few_test_patients_are_too_few(pair: list[Study], tmp_path: Path) -> None:
    for study in pair:
        path = study.runs_folder / "data.json"
        card = read_json(path)
        card["split"]["sides"]["test"]["patients"] = 29
        write_json(path, card)
    page = write_comparison(pair, tmp_path / "out")
    assert "29 test patients are too few to say whether networks differ from" in page.headline
    assert "<td>too few patients</td>" in page.page.read_text()
    assert "<td>shown</td>" not in page.page.read_text()


def test_maps_and_latency_that_were_not_measured_are_a_dash_and_other_kinds_are_told(pair, page, tmp_path) -> None:
    networks = table(page, "networks.csv").set_index("network")
    assert networks.loc[f"second/{BETTER}", ["pointing", "latency_ms_median"]].isna().all()
    assert "not measured (notebooks 06_explain and 07_device" in text_of(page)
    (pair[1].runs_folder / "explanations").mkdir()
    write_device(pair[1])
    write_maps(pair[1])
    device = pair[1].runs_folder / "device.csv"
    pd.read_csv(device).assign(cpu="Another CPU").to_csv(device, index=False)
    forms = pair[1].runs_folder / "explanations" / "forms.csv"
    frame = pd.read_csv(forms)
    frame.assign(chosen=(frame["form"] == "plain") & (frame["reading"] == "positive")).to_csv(forms, index=False)
    text = text_of(write_comparison(pair, tmp_path / "out").page)
    assert "not measured" not in text
    assert f"Another CPU, 1 thread for second/{BETTER}. So it can be compared only between networks that were" in text
    assert "The network's own grid (evidence: what is above 0) for second/" in text


def test_within_a_headline_source_every_number_is_of_its_images(pair: list[Study], tmp_path: Path) -> None:
    sources = [add_sources(study, "headline_source: B,") for study in pair]
    page = write_comparison(sources, tmp_path / "out").page
    own = pd.read_csv(sources[0].runs_folder / "evaluations-by-source.csv", keep_default_na=False, na_values=[""])
    own = own[(own["source"] == "B") & (own["finding"] == MEAN)].set_index("arm")["auroc"]
    networks = table(page, "networks.csv").set_index("network")["auroc"]
    assert networks[f"{FIRST}/densenet161"] == pytest.approx(own["densenet161"])
    assert "On phantoms, within source B, " in text_of(page)


def test_the_page_is_one_file_that_needs_nothing_else(page: Path) -> None:
    text = page.read_text()
    assert re.search(r'<meta http-equiv="Content-Security-Policy" content="default-src', text)
    for piece in ("<script", "<link", "@import", "http://", "https://"):
        assert piece not in re.sub(r"base64,[^\"]*", "", text)
    assert all(source.startswith("data:image/") for source in re.findall(r'\ssrc="([^"]{0,40})', text))
    links = [link for link in re.findall(r'href="([^"]*)"', text) if not link.startswith("#")]
    assert len(links) == 11  # SVG, PNG and CSV of two figures; CSV of three tables, of two in full precision
    assert all((page.parent / link).is_file() for link in links)
    assert set(re.findall(r'href="#([^"]*)"', text)) == set(re.findall(r'<section id="([^"]*)"', text))
    assert '<aside class="kind phantom" aria-label="The kind of data"><p><strong>Phantoms.</strong>' in text


def test_the_page_is_valid_html(page: Path) -> None:
    html5lib.HTMLParser(strict=True).parse(page.read_text())  # raises ParseError


def test_text_of_a_study_is_text_and_not_markup(pair: list[Study], tmp_path: Path, browser) -> None:
    file = pair[1].file
    file.write_text(re.sub("^title: .*", f"title: '{ATTACK}'", file.read_text()))
    for study in pair:
        path = study.runs_folder / "data.json"
        card = read_json(path)
        write_json(path, {**card, "source": {"name": ATTACK}})
    written = write_comparison([pair[0], load_study(file)], tmp_path / "out").page
    asked, opened = [], browser.new_page()
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(written.as_uri())
    assert not opened.evaluate("'__xss' in window")
    opened.close()
    assert all(url.startswith(("data:", written.as_uri())) for url in asked)
    assert unescape(written.read_text()).count(ATTACK) == 2


def test_a_browser_shows_it_wide_and_narrow(page: Path, browser) -> None:
    opened, said = browser.new_page(), []
    opened.on("console", lambda message: said.append(message.text))
    for width in (1280, 400):
        opened.set_viewport_size({"width": width, "height": 900})
        opened.goto(page.as_uri())
        wide = opened.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"the page scrolls sideways by {wide} px at {width} px"
        assert opened.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    opened.close()
    assert said == []

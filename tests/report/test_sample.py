"""docs/sample.py: one small file made from a report, with its date and commit; no image that must stay private."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cxr_kd.errors import ReportError
from cxr_kd.files import read_json, write_json
from cxr_kd.report.page import write_report
from cxr_kd.study import Study, load_study

SCRIPT = Path(__file__).parents[2] / "docs" / "sample.py"
specification = importlib.util.spec_from_file_location("sample", SCRIPT)
sample = importlib.util.module_from_spec(specification)
specification.loader.exec_module(sample)
COMMIT = "c0ffee" * 6 + "beef"


@pytest.fixture
def study(report: Path, tmp_path: Path) -> Study:
    """A study of phantoms with its report, which the test may change."""
    shutil.copytree(report.parents[2], tmp_path, dirs_exist_ok=True)
    return load_study(tmp_path / "studies" / "artificial.yaml")


def change_card(study: Study, **changes: object) -> None:
    """Change one run card; its time stays older than the report's."""
    path = study.run_folder(study.all_runs[0]) / "card.json"
    times = path.stat().st_atime, path.stat().st_mtime
    write_json(path, {**read_json(path), **changes})
    os.utime(path, times)


def test_a_sample_is_one_smaller_file_with_the_whole_report(study, tmp_path):
    target = sample.write_sample(study, tmp_path / "samples")
    assert target == tmp_path / "samples" / "artificial.html"
    page, html = (study.report_folder / "index.html").read_text(), target.read_text()
    assert len(html) < len(page)
    assert 'href="notebooks/' in page
    links = re.findall(r'href="([^"]*)"', html)
    assert all(link.startswith(("#", "https://doi.org/", "https://arxiv.org/")) for link in links)
    assert "executed notebooks are not part of this sample" in html
    for tag in ("section", "table", "img"):
        assert html.count(f"<{tag}") == page.count(f"<{tag}") > 0
    pictures = re.findall(r"data:image/[^\"]*", html)
    assert pictures == re.findall(r"data:image/[^\"]*", page)
    assert len(pictures) > 1


def test_its_first_line_tells_date_commit_command_and_time_from_the_run_cards(study, tmp_path):
    change_card(study, finished="2026-03-04T23:59:58+00:00", seconds=1001.0)
    minutes = sum(read_json(study.run_folder(run) / "card.json")["seconds"] for run in study.all_runs) / 60
    html = sample.write_sample(study, tmp_path).read_text()
    assert (
        f'<header>\n  <p class="callout">Sample made on 2026-03-04 from commit {COMMIT[:12]} by `make study '
        f"STUDY=studies/artificial.yaml`; its {len(study.all_runs)} trainings took {minutes:.0f} minutes on CPU, "
        "1 thread (Artificial CPU).</p>"
    ) in html


def test_it_names_every_commit_and_uncommitted_changes(study, tmp_path):
    change_card(study, git_commit="ab" * 20 + "+changes")
    html = sample.write_sample(study, tmp_path).read_text()
    assert f"from commit {'ab' * 6} with uncommitted changes and {COMMIT[:12]} by" in html


def test_real_radiographs_only_where_the_terms_allow_it_and_with_their_citation(make_study, tmp_path):
    study = make_study("mini", "chestxray14")
    page = write_report(study)
    html = sample.write_sample(study, tmp_path / "samples").read_text()
    assert "These tests" in html  # the citation in the fake data card
    assert "make study STUDY=studies/artificial.yaml DATA=DIR`" in html
    page.write_text(page.read_text().replace("These tests", "nobody"))
    with pytest.raises(ReportError, match=r"does not cite its data \(These tests\); run `make study"):
        sample.write_sample(study, tmp_path / "samples")


@pytest.mark.parametrize("dataset", ["chexpert", "padchest"])
def test_a_data_set_that_must_not_be_passed_on_is_refused(make_study, tmp_path, dataset):
    study = make_study("full", dataset)
    with pytest.raises(
        ReportError, match=f"those of '{dataset}' must not be published; .* phantom, chestxray14, chestm"
    ):
        sample.write_sample(study, tmp_path / "samples")
    assert not (tmp_path / "samples").exists()


def test_own_radiographs_are_refused(study, tmp_path):
    own = study.model_copy(update={"data": study.data.model_copy(update={"dataset": "folder"})})
    with pytest.raises(ReportError, match="those of 'folder' must not be published"):
        sample.write_sample(own, tmp_path / "samples")


def no_report(study: Study) -> None:
    (study.report_folder / "index.html").unlink()


def no_device(study: Study) -> None:
    (study.runs_folder / "device.csv").unlink()


def newer_results(study: Study) -> None:
    later = (study.report_folder / "index.html").stat().st_mtime + 5
    os.utime(study.runs_folder / "evaluations.csv", (later, later))


def half_a_page(study: Study) -> None:
    page = study.report_folder / "index.html"
    page.write_text(page.read_text()[:20_000])


def a_link(study: Study) -> None:
    page = study.report_folder / "index.html"
    page.write_text(page.read_text().replace("</main>", '<a href="more.html">more</a></main>'))


def no_commit(study: Study) -> None:
    change_card(study, git_commit=None)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_report, r"index.html: there is no such file; run `make study STUDY=studies/artificial.yaml` first"),
        (no_device, r"device.csv: there is no such file; run notebook 07_device of this study first"),
        (newer_results, r"index.html: older than .*evaluations.csv; run `make study .* again"),
        (half_a_page, r"not a whole report of this version; remove it and run `make study"),
        (a_link, r"links to more.html, which the sample does not have"),
        (no_commit, r"-seed0: its card names no commit, .*; remove this folder and train it in one"),
    ],
)
def test_an_incomplete_report_is_refused_by_name(study, tmp_path, damage, message):
    damage(study)
    with pytest.raises(ReportError, match=message):
        sample.write_sample(study, tmp_path / "samples")
    assert not (tmp_path / "samples").exists()


def test_a_sample_above_the_limit_is_refused_and_an_older_one_stays(study, tmp_path):
    target = sample.write_sample(study, tmp_path)
    before = target.read_bytes()
    with pytest.raises(ReportError, match=r"would have \d\.\d MB, more than the 0\.1 MB allowed; .* give --limit-mb"):
        sample.write_sample(study, tmp_path, limit_mb=0.1)
    assert target.read_bytes() == before


def test_the_command_prints_only_the_message_of_an_error(study):
    no_report(study)
    ended = subprocess.run([sys.executable, SCRIPT, study.file], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "index.html: there is no such file" in ended.stderr

"""A report that was sent is checked from its own folder: what is untouched passes, and every change is found."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_study import add_sources
from rocrate.rocrate import ROCrate
from typer.testing import CliRunner

from cxr_kd.cli.main import app
from cxr_kd.errors import ReportError
from cxr_kd.evaluation.details import write_details
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.explanation import map_tables
from cxr_kd.files import read_json, sha256_of, write_json
from cxr_kd.report import verify
from cxr_kd.report.crate import NAME
from cxr_kd.report.page import write_report
from cxr_kd.report.study_copy import copied_files
from cxr_kd.study import load_study

RUNS = "study/runs/artificial"
EVALUATIONS = f"{RUNS}/evaluations.csv"
PREDICTIONS = f"{RUNS}/densenet161-seed0/predictions-test.parquet"


@pytest.fixture
def sent(report: Path, tmp_path: Path) -> Path:
    """A report's folder and nothing else, as it is sent; the test may change it."""
    return Path(shutil.copytree(report.parent, tmp_path / "sent"))


def problems(folder: Path) -> list[list[str]]:
    return [list(check.problems) for check in verify.verify_report(folder)]


def hide(folder: Path, *names: str) -> None:
    """Describe changed files as if they had been written so."""
    crate = read_json(folder / NAME)
    for entity in crate["@graph"]:
        if entity["@id"] in names:
            entity["sha256"] = sha256_of(folder / entity["@id"])
    write_json(folder / NAME, crate)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_every_number_of_an_untouched_report_follows_from_its_predictions(sent: Path) -> None:
    checks = verify.verify_report(sent)
    assert [check.problems for check in checks] == [[], [], []]
    assert [check.open for check in checks] == ["", "", ""]
    assert checks[1].found == "16 tables of results follow from the predictions"
    assert re.fullmatch(r"4 pages and \d\d tables say what the results say", checks[2].found)


def test_the_notebooks_need_not_be_sent(sent: Path) -> None:
    shutil.rmtree(sent / "notebooks")
    assert problems(sent) == [[], [], []]


def test_a_number_changed_in_the_page_is_found_even_if_its_hash_fits(sent: Path) -> None:
    shown = re.search(r'<p class="headline">[^<]*?[+−](0\.\d\d\d)', (sent / "index.html").read_text())[1]
    change(sent / "index.html", shown, "0.999")
    hide(sent, "index.html")
    files, results, [page] = problems(sent)
    assert (files, results) == ([], [])
    assert re.fullmatch(
        rf"index\.html: after '.+' stands '[+−]0\.999'; the results give '[+−]{re.escape(shown)}'", page
    )


def test_a_setting_changed_in_the_page_is_found_after_the_key_data_too(sent: Path) -> None:
    change(sent / "index.html", "image_size: 64", "image_size: 96")
    hide(sent, "index.html")
    files, results, pages = problems(sent)
    assert (files, results) == ([], [])
    assert pages == ["index.html: after 'image_size:' stands '96'; the results give '64'"]


def test_a_result_changed_in_its_table_is_found_by_its_predictions(sent: Path) -> None:
    frame = pd.read_csv(sent / EVALUATIONS, dtype=str, keep_default_na=False)
    row = frame.index[frame["finding"] == "Mass"][0]
    honest, frame.loc[row, "auroc"] = frame.loc[row, "auroc"], "0.99"
    frame.to_csv(sent / EVALUATIONS, index=False)
    files, results, pages = problems(sent)
    assert files == [f"{EVALUATIONS}: changed since the report was written (another SHA-256)"]
    assert results == [f"{EVALUATIONS}: row {row + 1}, auroc: '0.99'; the predictions give '{honest}'"]
    wrong, right = f"{float(honest):.3f}", "0.990"
    assert re.fullmatch(
        rf"index\.html: after '.+ Mass 35 of 300 †' stands '{wrong}'; the results give '{right}'", pages[0]
    )


def test_changed_predictions_are_found_by_the_results(sent: Path) -> None:
    old = Predictions.read(sent / PREDICTIONS)
    frame = old.frame.assign(**{"logit:Mass": np.float32(0)})
    type(old)(frame, old.metadata, old.source).write(sent / PREDICTIONS)
    hide(sent, PREDICTIONS)
    files, results, pages = problems(sent)
    assert (files, pages) == ([], [])
    assert any(
        (each.startswith(f"{EVALUATIONS}: row ") and each.endswith("gives '0.5'")) or "'0.5'" in each
        for each in results
    )
    assert sum(each.startswith(EVALUATIONS) for each in results) == verify.MOST + 1
    assert re.fullmatch(rf"{EVALUATIONS}: and \d+ more", [e for e in results if e.startswith(EVALUATIONS)][-1])


def test_missing_and_further_files_are_named(sent: Path) -> None:
    (sent / "methods.md").unlink()
    (sent / "data" / "more.csv").write_text("a,b\n1,2\n")
    files, _, pages = problems(sent)
    assert files == [f"methods.md: described in {NAME}, but not there", f"data/more.csv: not described in {NAME}"]
    assert len(pages) == 1
    assert pages[0].startswith("methods.md: stands nothing; the results give '# Development")


def test_a_copy_that_cannot_be_read_is_a_problem_and_no_traceback(sent: Path) -> None:
    change(sent / "study" / "studies" / "artificial.yaml", "image_size: 64", "image_size: 65")
    files, copy = problems(sent)
    assert files == ["study/studies/artificial.yaml: changed since the report was written (another SHA-256)"]
    assert len(copy) == 1
    assert "trained with other settings or data than the study's now" in copy[0]
    (sent / "study" / "studies" / "artificial.yaml").unlink()
    assert problems(sent)[1] == ["study/ cannot be read: studies/ in it holds 0 study files; one is needed"]


def test_pages_of_other_code_are_not_compared_and_this_is_said(sent: Path, monkeypatch) -> None:
    monkeypatch.setattr(verify, "code_sha256", lambda: "another")
    checks = verify.verify_report(sent)
    assert checks[1].found
    assert not checks[1].open
    assert "another version of cxr_kd" in checks[2].open


def test_results_by_source_and_maps_are_computed_again(make_study: Callable, monkeypatch) -> None:
    study = add_sources(make_study())
    write_details(study)
    values = pd.DataFrame({"x": [1.0]})
    values.to_parquet(study.runs_folder / "explanations" / map_tables.PAIRS)
    stored = map_tables.read_map_tables(study)["maps.csv"]
    monkeypatch.setattr(map_tables, "map_estimates", lambda pairs, settings: stored.assign(pairs=len(pairs)))
    folder = write_report(study).parent
    checks = verify.verify_report(folder)
    assert checks[1].found == "20 tables of results follow from the predictions"  # 16, 3 by source, maps.csv
    assert checks[1].problems[0].startswith(f"{RUNS}/explanations/maps.csv: row 1, pairs: ")
    assert all("/explanations/maps.csv" in each for each in checks[1].problems)


@pytest.mark.parametrize(
    ("dataset", "kind", "setting", "shared"),
    [
        ("phantom", "phantom", "", True),
        ("chestxray14", "mini", "", True),
        ("chexpert", "mini", "", False),
        ("chexpert", "mini", "share_predictions: true", True),
        ("phantom", "phantom", "share_predictions: false", False),
    ],
)
def test_predictions_leave_with_the_report_only_where_anyone_may_have_them(
    make_study: Callable, dataset: str, kind: str, setting: str, shared: bool
) -> None:
    study = make_study(kind, dataset)
    study.file.write_text(f"{study.file.read_text()}{setting}\n")
    copied = copied_files(load_study(study.file))
    assert any(name.endswith(".parquet") for name in copied) == shared
    assert "runs/artificial/evaluations.csv" in copied


def test_a_report_without_predictions_says_so_and_its_pages_are_still_checked(make_study: Callable) -> None:
    study = make_study("mini", "chexpert")
    folder = write_report(study).parent
    assert not list(folder.rglob("*.parquet"))
    assert "without the predictions, and" in " ".join((folder / "index.html").read_text().split())
    files, results, pages = verify.verify_report(folder)
    assert "share_predictions" in results.open
    assert pages.found
    assert not [*files.problems, *results.problems, *pages.problems]


def test_a_second_report_removes_what_the_first_copied_and_is_the_same(make_study: Callable) -> None:
    study = make_study()
    folder = write_report(study).parent
    first = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    (folder / "study" / "runs" / "artificial" / "of-an-older-copy.csv").touch()
    write_report(study)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == first


def test_the_description_is_a_crate_that_names_data_code_settings_and_all_files(report: Path) -> None:
    crate = ROCrate(report.parent)
    data, code = crate.get("#data"), crate.get("#cxr_kd")
    assert crate.name == "Artificial: random logits under the report's tests"
    assert crate.mainEntity["@id"] == "index.html"
    assert crate.root_dataset["conformsTo"]["@id"].startswith("https://w3id.org/ro/wfrun/process/")
    run = crate.get("#run")
    assert (run.type, run["instrument"]) == ("CreateAction", code)
    assert [entity["@id"] for entity in run["object"]] == ["#data", "study/studies/artificial.yaml"]
    card = read_json(report.parent / RUNS / "data.json")
    assert data["identifier"] == card["identity"]
    assert card["split"]["sha256"] in data["description"]
    assert {each["name"] for each in code["softwareRequirements"]} >= {"torch", "timm"}
    results = {entity["@id"] for entity in run["result"]} | {"study/studies/artificial.yaml", NAME}
    written = {path.relative_to(report.parent).as_posix() for path in report.parent.rglob("*") if path.is_file()}
    assert results == {name for name in written if not name.startswith("notebooks/")}
    assert crate.get("index.html")["contentSize"] == str(report.stat().st_size)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no such file"),
        ("{", "not the description of a report"),
        ('{"@graph": []}', "it does not name #cxr_kd"),
    ],
)
def test_a_folder_that_is_no_report_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / NAME).write_text(content)
    with pytest.raises(ReportError, match=re.escape(said)) as raised:
        verify.verify_report(tmp_path)
    assert str(tmp_path / NAME) in str(raised.value)


def test_the_command_writes_a_report_and_checks_one(make_study: Callable) -> None:
    study = make_study()
    run = CliRunner().invoke
    written = run(app, ["report", str(study.file)])
    assert (written.exit_code, written.output.strip()) == (0, str(study.report_folder / "index.html"))
    passed = run(app, ["report", "--verify", str(study.report_folder)])
    assert passed.exit_code == 0
    assert [line.split()[0] for line in passed.output.splitlines()] == ["ok", "ok", "ok"]
    (study.report_folder / "methods.md").unlink()
    failed = run(app, ["report", "--verify", str(study.report_folder)])
    assert failed.exit_code == 1
    assert f"WRONG        methods.md: described in {NAME}, but not there\n" in failed.output


def test_the_command_says_which_notebooks_are_missing(make_study: Callable) -> None:
    study = make_study()
    (study.runs_folder / "device.csv").unlink()
    refused = CliRunner().invoke(app, ["report", str(study.file)])
    assert refused.exit_code == 2
    assert "run the notebooks 07_device of this study" in " ".join(refused.output.split())

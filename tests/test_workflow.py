"""The smoke study from end to end, as a user runs it: Snakemake, papermill, the report; again, changed, and killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from cxr_kd.files import sha256_of

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def command(project: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile"),
            "--profile", str(ROOT / "workflow" / "profiles" / "local"), "--directory", str(project),
            "--config", f"study={project / 'studies' / 'smoke.yaml'}", *more]  # fmt: skip


def snakemake(project: Path, *more: str) -> subprocess.CompletedProcess:
    return subprocess.run(command(project, *more), capture_output=True, text=True)


def new_project(folder: Path) -> Path:
    (folder / "studies").mkdir()
    shutil.copy(ROOT / "studies" / "smoke.yaml", folder / "studies")
    return folder


def jobs(output: str) -> set[str]:
    return set(re.findall(r"^Job \d+: (\S+)$", output, re.MULTILINE)) - {"study"}


def predictions(project: Path) -> dict[str, pd.DataFrame]:
    files = sorted((project / "runs" / "smoke").glob("*/predictions-*.parquet"))
    return {str(file.relative_to(project)): pd.read_parquet(file) for file in files}


def results(project: Path) -> dict[str, str]:
    """Return SHA-256 of the weights and of each table of results that has no times in it."""
    folder, timed = project / "runs" / "smoke", ("device.csv", "exported.csv", "smaller.csv", "history.csv")
    files = [*folder.rglob("*.csv"), *folder.glob("*/model.safetensors")]
    return {str(file.relative_to(folder)): sha256_of(file) for file in files if file.name not in timed}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = new_project(tmp_path_factory.mktemp("project"))
    done = snakemake(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"epoch 1/2  loss \d.*validation AUROC .*images/s  \d+:\d\d left", done.stdout + done.stderr)
    return folder


def test_every_notebook_was_executed_without_an_error(project):
    executed = sorted((project / "reports" / "smoke" / "notebooks").glob("*.ipynb"))
    assert [path.stem[:2] for path in executed] == ["01", "02", "03", "03", "04", "06", "07", "08"]
    for path in executed:
        cells = json.loads(path.read_text())["cells"]
        assert all(output["output_type"] != "error" for cell in cells for output in cell.get("outputs", []))
        assert path.with_suffix(".html").stat().st_size > 10_000


def test_every_run_left_what_the_design_promises(project):
    data = json.loads((project / "runs" / "smoke" / "data.json").read_text())
    for name in ("densenet121-seed0", "eeea_net_c2_alone-seed0", "eeea_net_c2_from_densenet121-seed0"):
        folder = project / "runs" / "smoke" / name
        files = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {"answers"}
        small = {"model-small.onnx", "model-small.md"} if "eeea" in name else set()
        assert files == {"card.json", "history.csv", "model.safetensors", "predictions-test.parquet",
                         "predictions-validation.parquet", "operating-points.json", "recalibration.json",
                         "model.onnx", "model.md", "familiar.json"} | small  # fmt: skip
        card = json.loads((folder / "card.json").read_text())
        assert card["kind"] == "phantom"
        assert card["split_sha256"] == data["split"]["sha256"]


def test_every_exported_file_answers_as_its_network(project):
    table = pd.read_csv(project / "runs" / "smoke" / "exported.csv")
    float32 = table[table["precision"] == "float32"]
    assert list(float32["network"]) == ["densenet121", "densenet121", *["eeea_net_c2"] * 4]
    assert float32["runtime"].str.split().str[0].nunique() == len(float32) / 3 == 2
    assert (float32["logit_difference"] < 1e-4).all()
    assert (float32["flipped"] <= 1).all()
    assert (table["decisions"] > 100).all()
    assert float32["auroc_exported"].to_numpy() == pytest.approx(float32["auroc"].to_numpy(), abs=1e-3)
    smaller = table[table["precision"] != "float32"]
    assert set(smaller["network"]) == {"eeea_net_c2"}
    assert (smaller["file_mb"] < 0.55 * float32.loc[float32["network"] == "eeea_net_c2", "file_mb"].min()).all()


def test_the_smaller_file_of_each_student_is_one_that_was_tried(project):
    table = pd.read_csv(project / "runs" / "smoke" / "smaller.csv", keep_default_na=False)
    assert set(table["precision"]) == {"float16", "int8_weights", "int8"}
    chosen = table[table["chosen"]]
    assert list(chosen["run"]) == ["eeea_net_c2_alone-seed0", "eeea_net_c2_from_densenet121-seed0"]
    assert (chosen["refused"] == "").all()


def test_the_report_is_one_file_that_says_what_it_is_about(project):
    page = (project / "reports" / "smoke" / "index.html").read_text()
    assert "Phantoms" in page
    assert not re.search(r"""src=["']?(https?:)?//""", page)
    assert all(
        link.startswith(("https://doi.org/", "https://arxiv.org/")) for link in re.findall('href="(https?:[^"]+)', page)
    )
    for link in re.findall(r'href="(notebooks/[^"]+)"', page):
        assert (project / "reports" / "smoke" / link).is_file()


def test_whoever_is_sent_the_report_can_check_it(project):
    command = [sys.executable, "-m", "cxr_kd.cli", "report", "--verify", str(project / "reports" / "smoke")]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert [line.split()[0] for line in checked.stdout.splitlines()] == ["ok", "ok", "ok"]
    assert "17 tables of results follow from the predictions" in checked.stdout


def test_the_report_opens_in_a_browser_without_an_error(project, browser):
    complaints = []
    page = browser.new_page()
    page.set_viewport_size({"width": 400, "height": 800})
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((project / "reports" / "smoke" / "index.html").as_uri())
    assert "Smoke" in page.inner_text("h1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert not complaints


def test_run_again_no_notebook_runs(project):
    again = snakemake(project)
    assert again.returncode == 0
    assert jobs(again.stdout + again.stderr) == set()


def test_another_loss_weight_reruns_that_student_and_what_follows(project):
    study = project / "studies" / "smoke.yaml"
    before = study.read_text()
    study.write_text(before.replace("teacher: densenet121}",
                                    "teacher: densenet121, objective: {focal_bce: 1.0, logit_mse: 0.7}}"))  # fmt: skip
    planned = snakemake(project, "--dry-run")
    study.write_text(before)
    assert jobs(planned.stdout + planned.stderr) == {
        "03_distill-eeea_net_c2_from_densenet121-seed0", "04_evaluate", "06_explain", "07_device", "08_report",
    }  # fmt: skip


def test_a_notebook_runs_alone_and_refuses_a_parameter_that_it_does_not_know(project, tmp_path):
    def papermill(*parameters: str) -> subprocess.CompletedProcess:
        notebook, study = ROOT / "notebooks" / "02_teacher.ipynb", project / "studies" / "smoke.yaml"
        return subprocess.run([sys.executable, "-m", "papermill", str(notebook), str(tmp_path / "out.ipynb"),
                               "-p", "study", str(study), *parameters], capture_output=True, text=True)  # fmt: skip

    assert papermill().returncode == 0
    refused = papermill("-p", "sead", "1")
    assert refused.returncode != 0
    assert "no parameter 'sead'; did you mean 'seed'?" in refused.stderr


def test_a_study_killed_twice_while_it_trains_ends_with_the_same_results(project, tmp_path):
    other = new_project(tmp_path)
    for network in ("densenet121-seed0", "eeea_net_c2_from_densenet121-seed0"):
        started = subprocess.Popen(command(other), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True)  # fmt: skip
        folder = other / "runs" / "smoke" / network
        while started.poll() is None and not (folder / "resume.safetensors").exists():
            assert not (folder / "card.json").exists(), f"{network} was trained before it could be killed"
            time.sleep(0.05)
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    finished = snakemake(other)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "resuming after epoch" in finished.stdout + finished.stderr
    undisturbed, gone_on = predictions(project), predictions(other)
    assert undisturbed.keys() == gone_on.keys()
    for name, frame in undisturbed.items():
        pd.testing.assert_frame_equal(frame, gone_on[name], check_exact=True)
    again = results(other)
    assert again == results(project)
    assert sum("explanations/" in name for name in again) == 7
    assert sum(name.endswith("model.safetensors") for name in again) == 3


def test_ctrl_c_ends_a_study_with_one_sentence(tmp_path):
    new_project(tmp_path)
    command = [sys.executable, str(ROOT / "workflow" / "start.py"), "study", "studies/smoke.yaml", "--cores", "1"]
    started = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)  # fmt: skip
    before = []
    while not before or not before[-1].startswith("1 of "):  # The first step is done, and the next one starts.
        before.append(started.stdout.readline())
        assert before[-1], "the study ended before it could be stopped: " + "".join(before)
    os.killpg(started.pid, signal.SIGINT)
    after, _ = started.communicate()
    assert started.returncode == 128 + signal.SIGINT
    assert after.endswith("Stopped. The same command continues from here: finished runs and epochs are kept.\n")
    assert "rule " not in after
    assert "failed" not in after

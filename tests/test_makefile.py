"""make study and make lab in a folder, and with paths, that a shell or make would read as commands."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ODD_FOLDER = "a b $x {y} `touch executed` 'q"
ODD_PATHS = (
    "/data/with a space",
    "/data/`touch executed`",
    "/data/$(touch executed)",
    "/data/$(shell touch executed)",
    "/data/$HOME/${HOME}",
    """/data/it's "quoted"; touch executed #""",
    "/data/100%, {braces}",
)
# Stands in for .venv/bin/python: write down what make gave it.
# (As pip's scripts do: a shebang cannot name a Python whose path has a space.)
RECORDER = f"""#!/bin/sh
'''exec' "{sys.executable}" "$0" "$@"
' '''
import json, os, sys
with open("given.json", "w") as file:
    json.dump({{"arguments": sys.argv[1:], "data": os.environ.get("CXR_KD_DATA"),
               "home": os.environ.get("HOME")}}, file)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a folder with an odd name, whose Python only writes down how it was called."""
    folder = tmp_path / ODD_FOLDER
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    python.write_text(RECORDER)
    (python.parent / "uv").touch()
    python.chmod(0o755)
    (folder / ".venv" / ".installed").touch()
    return folder


def made(project: Path, *arguments: str, **environment: str) -> dict:
    """What make's command was given; fails where anything else was executed."""
    clean = {name: value for name, value in os.environ.items() if name not in ("CXR_KD_DATA", "DATA", "STUDY")}
    done = subprocess.run(["make", *arguments], cwd=project, env=clean | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not list(project.parent.rglob("executed"))
    return json.loads((project / "given.json").read_text())


@pytest.mark.parametrize("path", ODD_PATHS)
def test_the_path_of_the_data_arrives_as_it_was_given(project, path):
    assert made(project, "study", f"DATA={path}")["data"] == path
    assert made(project, "study", DATA=path)["data"] == path
    assert made(project, "study", CXR_KD_DATA=path)["data"] == path


@pytest.mark.parametrize("path", ODD_PATHS)
def test_the_path_of_the_study_arrives_as_it_was_given(project, path):
    given = made(project, "study", f"STUDY={path}.yaml", "CORES=2")["arguments"]
    assert given == ["workflow/start.py", "study", f"{path}.yaml", "--cores", "2"]


def test_without_data_none_is_named_and_the_demo_is_run(project):
    given = made(project, "study")
    assert given["arguments"] == ["workflow/start.py", "study", "studies/demo.yaml", "--cores", "all"]
    assert given["data"] is None


def test_a_user_without_a_home_folder_gets_one_in_the_project(project, tmp_path):
    assert made(project, "study", HOME="/nonexistent")["home"] == str(project / ".snakemake" / "home")
    assert made(project, "study", HOME=str(tmp_path))["home"] == str(tmp_path)


def test_lab_is_given_its_options(project):
    assert made(project, "lab", "LAB_OPTIONS=--ip 0.0.0.0")["arguments"][1:] == ["lab", "--ip", "0.0.0.0"]


def start(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "workflow" / "start.py"), *arguments]
    return subprocess.run(command, cwd=folder, env=os.environ | environment, capture_output=True, text=True)


def test_a_study_that_is_not_there_is_one_sentence(tmp_path):
    refused = start("study", "smokee", folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("no study 'smokee'")
    assert refused.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["010.yaml", "a: b.yaml", 'it\'s "smoke" `touch executed`.yaml'])
def test_snakemake_plans_a_study_whose_path_is_odd(tmp_path, name):
    folder = tmp_path / ODD_FOLDER
    (folder / "studies").mkdir(parents=True)
    shutil.copy(ROOT / "studies" / "smoke.yaml", folder / "studies" / name)
    planned = start("study", f"studies/{name}", "--dry-run", folder=folder)
    assert planned.returncode == 0, planned.stderr
    assert planned.stderr.count("\nStep ") == 8
    assert not list(tmp_path.rglob("executed"))


def test_a_relative_folder_of_data_is_meant_from_where_make_was_called(tmp_path):
    (tmp_path / "studies").mkdir()
    shutil.copy(ROOT / "studies" / "chestxray14-mini.yaml", tmp_path / "studies")
    refused = start("study", "studies/chestxray14-mini.yaml", folder=tmp_path, CXR_KD_DATA="my data")
    assert refused.returncode != 0
    assert str(tmp_path / "my data") in refused.stderr
    assert "Traceback" not in refused.stderr


def demo(project: Path, *arguments: str, **environment: str) -> str:
    """Return what a `make demo` that is refused writes."""
    (project / "web").mkdir(exist_ok=True)
    for name in ("demo.sh", "install.sh"):
        shutil.copy(ROOT / "web" / name, project / "web")
    clean = {name: value for name, value in os.environ.items() if name != "MODEL"}
    done = subprocess.run(
        ["make", "demo", *arguments], cwd=project, env=clean | environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert not list(project.parent.rglob("executed"))
    return done.stderr


def test_a_demo_without_a_model_says_where_to_get_one(project):
    refused = demo(project)
    assert "Run `make study` first" in refused
    assert "make demo MODEL=student.onnx" in refused


@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_demo_with_a_model_that_is_not_there_names_it(project, path):
    assert f"{path}: no such file" in demo(project, f"MODEL={path}")
    assert f"{path}: no such file" in demo(project, MODEL=path)


def test_a_demo_without_node_says_so(project, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "dirname", "make", "mkdir"):
        (programs / name).symlink_to(shutil.which(name))
    (project / "student.onnx").touch()
    assert "there is no `node` here" in demo(project, "MODEL=student.onnx", PATH=str(programs))

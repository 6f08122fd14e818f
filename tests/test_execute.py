"""One notebook through workflow/execute.py: its page, and what is said if a cell, kernel, disk or user ends it."""

import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
HEADING = "# 1 · A heading"
Start = Callable[..., subprocess.Popen]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder for executed notebooks; temporary files go beside it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path / "reports" / "notebooks"


@pytest.fixture
def start(tmp_path, folder) -> Start:
    """Start execute.py on a notebook with one cell of code."""

    def start_with(code: str, name: str = "step", **settings) -> subprocess.Popen:
        study = tmp_path / "studies" / "smoke.yaml"
        study.parent.mkdir(exist_ok=True)
        smoke = (ROOT / "studies" / "smoke.yaml").read_text()
        study.write_text(re.sub("^title:.*", 'title: "A & B"', smoke, flags=re.MULTILINE))
        parameters = v4.new_code_cell('study = ""', metadata={"tags": ["parameters"]})
        notebook = v4.new_notebook(cells=[v4.new_markdown_cell(HEADING), parameters, v4.new_code_cell(code)])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
        command = [sys.executable, ROOT / "workflow" / "execute.py", tmp_path / f"{name}.ipynb",
                   folder / f"{name}.ipynb", folder / f"{name}.html", f'{{"study": "{study}"}}']  # fmt: skip
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)

    return start_with


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Wait for a process; return its exit status and what it wrote to stderr."""
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def files(folder: Path) -> list[str]:
    """The names of all files in a folder and in the folder for temporary files, hidden ones too."""
    return sorted(path.name for place in (folder, folder.parents[1] / "temporary") for path in place.iterdir())


def until(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_a_notebook_becomes_a_document_and_a_page_and_leaves_nothing_else(start, folder):
    status, errors = ended(start("print(study)"))
    assert (status, errors) == (0, "")
    assert files(folder) == ["step.html", "step.ipynb"]
    assert "<title>A &amp; B · 1 · A heading</title>" in (folder / "step.html").read_text()
    assert "smoke.yaml" in nbformat.read(folder / "step.ipynb", 4).cells[-1].outputs[0].text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_user_who_stops_it_reads_one_line(start, folder, number):
    process = start("import time; print('here', flush=True); time.sleep(600)")
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    assert ended(process) == (130, "step: stopped; the same command continues from here\n")
    assert files(folder) == []


def test_what_a_killed_process_left_is_removed_at_the_next_start(start, folder):
    process = start("import time; print('here', flush=True); time.sleep(600)", "killed")
    assert process.stdout.readline() == "here\n"
    process.kill()
    process.communicate()
    left = files(folder)
    assert {".killed.lock", "killed.unfinished.ipynb"} <= set(left)
    assert any(name.startswith("cxr-kd-") for name in left)
    assert ended(start("1"))[0] == 0
    assert files(folder) == ["step.html", "step.ipynb"]


def test_a_step_that_runs_keeps_its_files_when_another_starts(start, folder):
    slow = start("import time; print('here', flush=True); time.sleep(600)", "slow")
    assert slow.stdout.readline() == "here\n"
    assert ended(start("1"))[0] == 0
    assert {".slow.lock", "slow.unfinished.ipynb"} <= set(files(folder))
    slow.terminate()
    assert ended(slow)[0] == 130


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "its process was killed (SIGKILL)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its process was ended by SIGSEGV"),
        ("import os; os._exit(3)", "its process ended with exit status 3"),
    ],
)
def test_a_dead_kernel_is_explained_by_what_is_known(start, folder, code, said):
    status, errors = ended(start(code))
    assert status == 1
    assert f"step.ipynb: {said}" in errors
    assert "because memory ran out" not in errors
    assert "Traceback" not in errors
    assert files(folder) == ["step.unfinished.ipynb"]


def test_an_error_that_a_user_can_fix_is_a_message_and_any_other_has_its_traceback(start, folder):
    code = "from cxr_kd.errors import DataError\nraise DataError('images.csv: row 3 has no label')"
    status, errors = ended(start(code))
    assert status == 1
    assert errors.startswith("step.ipynb stopped in cell 3: images.csv: row 3 has no label\nThe notebook so far: ")
    assert "Traceback" not in errors
    status, errors = ended(start("1 / 0"))
    assert status == 1
    assert "Traceback" in errors
    assert "step.ipynb stopped in cell 3: ZeroDivisionError: division by zero" in errors


def test_a_full_disk_is_one_sentence(start, folder):
    """As on a full disk, no file can grow beyond a limit (EFBIG, not ENOSPC)."""

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    status, errors = ended(start("print('x' * 10_000)", preexec_fn=limit_file_size))
    assert status == 1
    assert "Traceback" not in errors
    assert f"step: cannot write to {folder} (File too large): make room" in errors
    assert "step.ipynb" not in files(folder)

"""Two processes that share each batch train as one process does, with either of Accelerate's launchers."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from safetensors.torch import load_file
from tiny_study import TAUGHT, tiny_study
from torch import nn

from cxr_kd.data.prepare import prepare
from cxr_kd.errors import StudyError
from cxr_kd.files import read_json
from cxr_kd.training.distributed import Processes
from cxr_kd.training.finished_run import is_done
from cxr_kd.training.launch import train_over
from cxr_kd.training.sync_batchnorm import global_statistics

HERE = Path(__file__).parent
ENVIRONMENT = {
    **os.environ,
    "CUDA_VISIBLE_DEVICES": "",
    "TQDM_DISABLE": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parent / "data"), os.environ.get("PYTHONPATH")))),
}


def launched(*program: object) -> subprocess.CompletedProcess:
    """Run a program in two processes, as a user starts it (also on a machine without a graphics card)."""
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
    settings = ["--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    return subprocess.run(
        [*launcher, *settings, *map(str, program)], env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )


@pytest.mark.parametrize("case", ["stored", "live"])
def test_two_processes_train_as_one_and_see_each_image_once_per_epoch(tmp_path, case):
    one, two = tmp_path / "one", tmp_path / "two"
    alone = subprocess.run(
        [sys.executable, HERE / "distributed_worker.py", one, case], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert alone.returncode == 0, alone.stderr[-2000:]
    shared = launched(HERE / "distributed_worker.py", two, case)
    assert shared.returncode == 0, shared.stderr[-2000:]

    parts = [Counter(json.loads((two / f"seen-{rank}.json").read_text())) for rank in (0, 1)]
    assert not set(parts[0].values()) - {1, 2}
    assert parts[0] + parts[1] == Counter(json.loads((one / "seen-0.json").read_text()))
    assert set((parts[0] + parts[1]).values()) == {2}  # two epochs

    rows, expected_rows = (json.loads((folder / "history.json").read_text()) for folder in (two, one))
    for row, expected in zip(rows, expected_rows, strict=True):
        for key in set(expected) - {"seconds", "images_per_second"}:
            assert row[key] == pytest.approx(expected[key], rel=1e-7), key  # float64, except stored answers
    norms, wanted = (json.loads((folder / "norms.json").read_text()) for folder in (two, one))
    assert norms == pytest.approx(wanted, rel=1e-6)
    trained, wanted = load_file(two / "final.safetensors"), load_file(one / "final.safetensors")
    assert trained.keys() == wanted.keys()
    for name, tensor in trained.items():
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-5, atol=1e-7, msg=name)


def test_if_one_process_breaks_both_end_and_say_why(tmp_path):
    broken = launched(HERE / "distributed_worker.py", tmp_path, "breaks")
    assert broken.returncode != 0
    assert "this process breaks" in broken.stderr
    assert not (tmp_path / "final.safetensors").exists()


def test_a_shell_distils_over_two_processes(tmp_path):
    study = tiny_study(tmp_path, TAUGHT)
    done = launched("-m", "cxr_kd.cli.main", "distill", study.file)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("2 processes share each batch") == 1
    student = study.all_runs[-1]
    card = read_json(study.run_folder(student) / "card.json")
    assert card["processes"] == 2
    assert card["device"].startswith("2 x CPU")
    assert is_done(study.run_folder(student), study.identity(student, prepare(study, progress=False).identity))


def test_a_notebook_trains_over_two_processes(tmp_path):
    study = tiny_study(tmp_path, TAUGHT)
    cells = [
        f"from cxr_kd.study import load_study\nstudy = load_study({str(study.file)!r})",
        "from cxr_kd.data.prepare import prepare\ndata = prepare(study, progress=False)",
        "from cxr_kd.training.launch import train_over\ntrain_over(2, study, study.all_runs[0], data)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=300).execute()
    assert read_json(study.run_folder(study.all_runs[0]) / "card.json")["processes"] == 2


def test_zero_processes_are_refused(tmp_path):
    study = tiny_study(tmp_path, TAUGHT)
    with pytest.raises(StudyError, match="processes is 0: use at least 1"):
        train_over(0, study, study.all_runs[0], None)


def test_one_process_shares_nothing():
    alone, norm = Processes(), nn.BatchNorm2d(3)
    tensors = [torch.rand(2, 3), torch.rand(2)]
    assert alone.gather(tensors) == tensors
    assert alone.on_first(lambda: 7) == 7
    assert alone.with_summed_gradients(norm) is norm
    with global_statistics(norm, 1):
        assert "forward" not in vars(norm)

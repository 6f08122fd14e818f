"""The command line as a whole: versions, help, how errors and interruptions end, runs that a study does not name."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from cxr_kd import __version__
from cxr_kd.cli.main import app
from cxr_kd.errors import OtherProcessError, TrainingError

SMOKE = Path(__file__).parents[2] / "studies" / "smoke.yaml"
COMMANDS = (["init"], ["models"], ["train"], ["distill"], ["data"], ["data", "check"])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    file = tmp_path / "studies" / "mine.yaml"
    file.parent.mkdir()
    file.write_text(SMOKE.read_text())
    return file


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace preparation and training; return the names of the runs that would be trained."""
    from cxr_kd.cli import train
    from cxr_kd.training import run as runs

    trained: list[str] = []

    def train_nothing(study, run, data):
        trained.append(run.name)
        raise TrainingError("that was all")

    monkeypatch.setattr(train, "_prepared", lambda study, processes: None)
    monkeypatch.setattr(runs, "train", train_nothing)
    return trained


def test_version() -> None:
    assert run("--version").stdout == f"cxr-kd {__version__}\n"


@pytest.mark.parametrize("command", [[], *COMMANDS], ids=" ".join)
def test_every_command_explains_itself(command: list[str]) -> None:
    done = run(*command, "--help")
    assert done.exit_code == 0
    assert "Usage: " in done.stdout


def test_shell_completion_is_offered() -> None:
    assert "--install-completion" in run("--help").stdout


def test_the_command_starts_without_loading_torch() -> None:
    program = "import sys, cxr_kd.cli.main; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize("arguments", [["train", "densnet121"], ["distill", "--teacher", "densnet121"]])
def test_a_misspelt_network_leaves_no_folder(study: Path, arguments: list[str]) -> None:
    done = run(arguments[0], study, *arguments[1:])
    assert done.exit_code == 2
    assert "did you mean 'densenet121'" in done.stderr
    assert not (study.parent.parent / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["train", "resnet18"], "resnet18-seed0"),
        (["train", "--seed", "7"], "densenet121-seed7"),
        (["distill", "--teacher", "visformer_s"], "eeea_net_c2_from_visformer_s-seed0"),
    ],
)
def test_a_run_outside_the_study_gives_a_warning(
    study: Path, train: list[str], arguments: list[str], name: str
) -> None:
    done = run(arguments[0], study, *arguments[1:])
    assert train == [name]
    assert f"{name} is not a run of study 'mine', so no report will show it" in done.stdout


@pytest.mark.parametrize("command", ["train", "distill"])
def test_a_run_of_the_study_gives_no_warning(study: Path, train: list[str], command: str) -> None:
    done = run(command, study)
    assert len(train) == 1
    assert "no report" not in done.output
    assert (done.exit_code, done.stderr) == (2, "that was all\n")


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (KeyboardInterrupt(), 130, "Stopped; the same command continues from here.\n"),
        (OtherProcessError("the first of 2 processes stopped"), 2, ""),
        (TrainingError("the loss is not finite"), 2, "the loss is not finite\n"),
    ],
)
def test_how_a_training_ends(
    study: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, told: str
) -> None:
    from cxr_kd.cli import train

    def prepare(study, processes):
        raise error

    monkeypatch.setattr(train, "_prepared", prepare)
    done = run("train", study)
    assert (done.exit_code, done.stderr) == (status, told)
    assert isinstance(done.exception, SystemExit)


def test_a_defect_of_the_program_keeps_its_traceback(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_kd.cli import train

    monkeypatch.setattr(train, "_prepared", lambda study, processes: {}["no such key"])
    assert isinstance(run("train", study).exception, KeyError)


def test_a_seed_outside_its_range_is_refused(study: Path) -> None:
    for seed in ("-1", str(2**32)):
        done = run("train", study, "--seed", seed)
        assert done.exit_code == 2
        assert "--seed" in done.stderr

"""`cxr-kd data check`, as a person and as a program meets it: words, JSON, pictures, exit status."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from cxr_kd.cli import app

STUDY = """\
title: Own
question: Is it all there?
data: {dataset: folder, findings: [Mass, Edema], split: random-70-10-20}
teachers: [densenet121]
students: [{network: eeea_net_c2}]
teacher_training: {epochs: 1}
student_training: {epochs: 1}
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", "check", *map(str, arguments)], env={"COLUMNS": "80", "CXR_KD_DATA": ""})


@pytest.fixture
def own(tmp_path: Path) -> list[str | Path]:
    """The arguments for a folder of one's own with 20 radiographs of 20 patients."""
    (tmp_path / "own.yaml").write_text(STUDY)
    rows = [f"{i}.png,{i},{i % 2},{int(i % 3 == 0)}" for i in range(20)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,patient_id,Mass,Edema", *rows]))
    for i in range(20):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / f"{i}.png")
    return ["--study", tmp_path / "own.yaml", "--root", tmp_path]


def test_a_data_set_in_order_ends_with_0(own: list[str | Path]) -> None:
    result = run(*own)
    assert result.exit_code == 0, result.output
    line = next(line for line in result.stdout.splitlines() if "positives: Mass" in line)
    assert line.split() == ["ok", "positives:", "Mass", "10"]
    assert "problem" not in result.stdout


def test_a_problem_is_named_and_ends_with_1(own: list[str | Path]) -> None:
    (own[-1] / "7.png").write_bytes(b"not a radiograph")  # type: ignore[operator]
    result = run(*own)
    assert result.exit_code == 1
    assert "unreadable image files: 7.png: " in result.stdout
    assert "1 problem" in result.stdout
    assert run(*own, "--labels-only").exit_code == 0


def test_json_is_all_that_a_program_reads_on_stdout(own: list[str | Path]) -> None:
    checks = {each["what"]: each for each in json.loads(run(*own, "--json").stdout)}
    assert checks["unreadable image files"] == {
        "what": "unreadable image files", "expected": 0, "found": 0, "verdict": "ok", "detail": "",
    }  # fmt: skip
    assert checks["positives: Edema"]["found"] == 7


def test_pictures_are_written(own: list[str | Path], tmp_path: Path) -> None:
    assert run(*own, "--pictures", tmp_path / "sheet.png").exit_code == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert np.asarray(sheet.convert("L")).std() > 20


def test_pictures_that_can_not_be_drawn_are_a_problem(own: list[str | Path], tmp_path: Path) -> None:
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"")
    result = run(*own, "--labels-only", "--pictures", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "none of the 20 image files can be read" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "chestxray14"], "no label table of ChestX-ray14. Put there"),
        (["--dataset", "folder"], "name the columns that are findings"),
        (["--dataset", "nih"], "'chestxray14'"),
        ([], "name the data set: --dataset NAME"),
        (["--study", "no-such-study"], "no study 'no-such-study'"),
        (["--study", "smoke", "--dataset", "chexpert"], "is about the data set 'phantom', not 'chexpert'"),
    ],
)
def test_what_can_not_be_read_ends_with_2_and_says_what_to_do(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run("--root", tmp_path, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output

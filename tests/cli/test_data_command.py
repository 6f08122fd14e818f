"""`cxr-kd data check`: its table, JSON, pictures and exit status."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner
from writable import copy_writable

from cxr_kd.cli.main import app

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
    """Return the arguments for a user's own folder with 20 radiographs of 20 patients."""
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


def test_a_missing_file_is_a_problem_in_own_data_and_none_in_part_of_a_published_data_set(
    own: list[str | Path], tmp_path: Path, test_data: Path
) -> None:
    (tmp_path / "7.png").unlink()
    assert run(*own).exit_code == 1
    part = tmp_path / "part"
    copy_writable(test_data / "chestxray14-mini", part)
    next((part / "images").iterdir()).unlink()
    result = run("--dataset", "chestxray14", "--root", part)
    assert result.exit_code == 0, result.output
    assert "differs" in result.stdout
    assert "rows without an image file" in " ".join(run("--help").stdout.split())


def test_a_problem_is_named_and_ends_with_1(own: list[str | Path]) -> None:
    (own[-1] / "7.png").write_bytes(b"not a radiograph")  # type: ignore[operator]
    result = run(*own)
    assert result.exit_code == 1
    assert "unreadable image files: 7.png: " in result.stdout
    assert "1 problem" in result.stdout
    assert run(*own, "--labels-only").exit_code == 0


def test_json_is_all_that_is_printed_on_stdout(own: list[str | Path]) -> None:
    checks = {each["what"]: each for each in json.loads(run(*own, "--json").stdout)}
    assert checks["unreadable image files"] == {
        "what": "unreadable image files", "expected": 0, "found": 0, "verdict": "ok", "detail": "",
    }  # fmt: skip
    assert checks["positives: Edema"]["found"] == 7


def test_pictures_are_written(own: list[str | Path], tmp_path: Path) -> None:
    assert run(*own, "--pictures", tmp_path / "sheet.png").exit_code == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert np.asarray(sheet.convert("L")).std() > 20


@pytest.mark.parametrize(
    ("place", "why"),
    [(".", "it is a folder"), ("labels.csv/sheet.png", "labels.csv"), ("own.yaml/more/sheet.png", "own.yaml")],
)
def test_pictures_that_cannot_be_written_end_with_2_before_anything_is_decoded(
    own: list[str | Path], tmp_path: Path, place: str, why: str
) -> None:
    result = run(*own, "--pictures", tmp_path / place)
    assert result.exit_code == 2
    assert f"--pictures {tmp_path / place}: cannot be written (" in result.stderr
    assert why in result.stderr.replace(str(tmp_path), "")
    assert result.stdout == ""
    assert "Traceback" not in result.output


def test_pictures_that_fail_at_the_end_end_with_2_as_well(own: list[str | Path], tmp_path: Path) -> None:
    result = run(*own, "--pictures", tmp_path / f"{'a' * 250}.png")  # the temporary name beside it is too long
    assert result.exit_code == 2
    assert "cannot be written ([Errno 36] File name too long" in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_files_are_read_as_the_study_says(own: list[str | Path], tmp_path: Path) -> None:
    for i in range(20):  # 12 of 16 bits used, wider than high
        values = np.random.default_rng(i).integers(0, 4096, (8, 16)).astype(np.uint16)
        Image.fromarray(values).save(tmp_path / f"{i}.png")
    assert run(*own).exit_code == 1
    before = whites(own, tmp_path)
    (tmp_path / "own.yaml").write_text(STUDY + "intensity: per-image\n")
    assert run(*own).exit_code == 0
    stretched = whites(own, tmp_path)
    (tmp_path / "own.yaml").write_text(STUDY + "intensity: per-image\nkeep_aspect: true\n")
    padded = whites(own, tmp_path)
    assert before + 0.05 < padded < stretched - 0.05


def whites(own: list[str | Path], folder: Path) -> float:
    """Return the mean grey value of the contact sheet, from 0 to 1."""
    run(*own, "--pictures", folder / "out" / "sheet.png")
    with Image.open(folder / "out" / "sheet.png") as sheet:
        return float(np.asarray(sheet.convert("L")).mean()) / 255


def test_pictures_that_cannot_be_drawn_are_a_problem(own: list[str | Path], tmp_path: Path) -> None:
    for path in tmp_path.glob("*.png"):
        path.write_bytes(b"")
    result = run(*own, "--labels-only", "--pictures", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "none of the 20 image files can be decoded" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "chestxray14"], "no label table of ChestX-ray14. Put there"),
        (["--dataset", "folder"], "name the columns that are findings"),
        (["--dataset", "nih"], "'chestxray14'"),
        ([], "name the data set (--dataset NAME)"),
        (["--study", "no-such-study"], "no study 'no-such-study'"),
        (["--study", "smoke", "--dataset", "chexpert"], "is about the data set 'phantom', not 'chexpert'"),
    ],
)
def test_what_cannot_be_read_ends_with_2_and_says_what_to_do(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run("--root", tmp_path, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_the_study_says_how_many_positives_a_finding_needs_to_be_scored(own: list[str | Path], tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(STUDY + "evaluation: {minimum_positives: 7}\n")
    result = run(*own)
    assert result.exit_code == 0
    said = " ".join(result.stdout.split())
    assert "a finding is scored with at least 7 positive and 7 negative test images" in said
    assert "No finding can be scored" in said

"""`cxr-kd init`: from a folder and a table to a study file that loads and that `cxr-kd data check` accepts."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from own_miniatures import write_folder, write_image
from typer.testing import CliRunner

from cxr_kd.cli.main import app
from cxr_kd.study import load_study


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200", "CXR_KD_DATA": ""})


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "My X-rays", patients=40, images=60, size=16)


def test_a_folder_and_a_table_become_a_study_that_loads_and_passes_the_check(own: Path, tmp_path: Path) -> None:
    file = tmp_path / "studies" / "mine.yaml"
    done = run("init", own, own / "labels.csv", "--study", file)
    assert done.exit_code == 0, done.output
    assert "patients: patient_id" in done.stdout
    assert f"cxr-kd data check --study {file} --root '{own}'" in done.stdout
    assert load_study(file).data.folder.blank == "ignore"
    checked = run("data", "check", "--study", file, "--root", own)
    assert checked.exit_code == 0, checked.output


def test_the_settings_are_those_of_the_shipped_study_of_own_data(own: Path, tmp_path: Path) -> None:
    file = tmp_path / "studies" / "mine.yaml"
    assert run("init", own, "labels.csv", "--study", file).exit_code == 0
    written, shipped = (load_study(study).model_dump(exclude={"title"}) for study in (file, "own-data"))
    assert written["data"]["folder"].pop("name") == "My X-rays"
    assert shipped["data"]["folder"].pop("name") == "own data"
    assert written == shipped


def test_unusual_columns_are_found_by_name_and_values(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    rows = ["Image Index;Patient ID;View Position;Patient Gender;Follow-up;no;Mass: left;Rare;Report;Always"]
    for number in range(12):
        write_image(folder / "a" / f"{number}.png", (number * 7 + np.eye(8) * 90).astype(np.uint8))
        rows.append(f"a/{number}.png;{number};PA;M;{number};{number % 2};{'yes' if number % 3 else 'no'};0;text;1")
    (folder / "sub").mkdir()
    (folder / "sub" / "table é.csv").write_text("\ufeff" + "\n".join(rows) + "\n", encoding="utf-8")
    file = tmp_path / "s" / "mine.yaml"
    done = run("init", folder, "sub/table é.csv", "--study", file)
    assert done.exit_code == 0, done.output
    data = load_study(file).data
    assert data.findings == ("no", "Mass: left")
    options = data.folder
    assert (options.path, options.patient, options.view, options.sex) == (
        "Image Index", "Patient ID", "View Position", "Patient Gender",
    )  # fmt: skip
    assert (options.table, options.age) == ("sub/table é.csv", None)
    for told in ("age: no column found", "'Rare', which is 1 in no row", "'Always', which is 1 in every row",
                 "'Follow-up', which has other values than 1 and 0, such as '2'"):  # fmt: skip
        assert told in done.stdout
    assert run("data", "check", "--study", file, "--root", folder).exit_code == 0


def test_an_existing_file_is_not_overwritten(own: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    done = run("init", own, "labels.csv", "--study", file)
    assert (done.exit_code, file.read_text()) == (2, "mine")
    assert "exists already: name another file with --study" in done.stderr


@pytest.mark.parametrize(
    ("table", "text", "told"),
    [
        ("t.csv", "image,label\n0.png,1\n", "cannot tell which column holds patients. Name it: --patient COLUMN"),
        ("t.csv", "image,patient,label\nelsewhere.png,1,1\n", "no column names image files in"),
        ("t.csv", "image,patient,label\n0.png,1,2\n0.png,1,1\n", "'label' has other values than 1 and 0, such as '2'"),
        ("t.csv", "image,patient,label\n", "no column names image files"),
        ("t.csv", "image,patient,label\n0.png,1\n", "t.csv, line 2: 2 fields"),
        ("t.csv", "", "no column"),
        ("t.csv", "\xff\xfe", "cannot be read as a table"),
        ("none.csv", "image\n", "none.csv: no such file in"),
        ("../t.csv", "image\n", "../t.csv: no such file in"),
    ],
)
def test_what_cannot_be_decided_is_named_and_nothing_is_written(
    tmp_path: Path, table: str, text: str, told: str
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "0.png").write_bytes(b"")
    (tmp_path / "t.csv").write_text("image")
    (folder / "t.csv").write_bytes(text.encode("latin-1"))
    done = run("init", folder, table, "--study", tmp_path / "mine.yaml")
    assert done.exit_code == 2
    assert told in done.stderr
    assert not (tmp_path / "mine.yaml").exists()


def test_columns_can_be_named_by_the_user(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "t.csv").write_text("who,scan,label\na,0.png,1\nb,1.png,0\n")
    file = tmp_path / "mine.yaml"
    done = run("init", tmp_path, "t.csv", "--study", file, "--path", "scan", "--patient", "who")
    assert done.exit_code == 0, done.output
    assert "1 of the first 200 rows name a file that is not there" in done.stdout
    assert load_study(file).data.folder.patient == "who"
    unknown = run("init", tmp_path, "t.csv", "--study", tmp_path / "b.yaml", "--path", "scam")
    assert "no column 'scam'; the columns are who, scan, label" in unknown.stderr

"""`cxr-kd export` and `cxr-kd predict`: one file, and the answers it gives without torch."""

import csv
import io
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from own_miniatures import write_dicom
from packaging.requirements import Requirement
from PIL import Image
from runs_to_export import FINDINGS, fitted_familiar, write_fits, write_run
from typer.testing import CliRunner

from cxr_kd.cli.main import app
from cxr_kd.data.images.decode import decode
from cxr_kd.device import familiar
from cxr_kd.device.exported import ExportedModel
from cxr_kd.phantoms.draw import draw
from cxr_kd.study.data_settings import PhantomSettings

ROOT = Path(__file__).parents[2]


def call(*arguments: object, status: int = 0):
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "120"})
    assert result.exit_code == status, result.output
    return result


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("run"))
    write_fits(folder)
    return folder


@pytest.fixture(scope="module")
def model(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "student.onnx"
    output = call("export", run, "--out", out).output
    for told in ("eeea_net_c2, 64 px, 4 findings", "2 x 2 cells", "opset 18", "learned from phantom",
                 "No probability of Edema, Pleural_Thickening", "not for diagnosis"):  # fmt: skip
        assert told in output
    return out


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """A phantom as PNG and DICOM, another as JPEG that is taller than wide, and a text."""
    folder = tmp_path_factory.mktemp("own")
    first, second = (draw(PhantomSettings(images=20, size=128), index).image for index in range(2))
    Image.fromarray(first).save(folder / "a.png")
    Image.fromarray(second[:, 8:-8]).save(folder / "b.jpg", quality=95)
    (folder / "notes.txt").write_text("no image")
    write_dicom(folder / "c.dcm", first)
    return folder


def test_json_and_csv_hold_the_models_answers(model, images) -> None:
    content = json.loads(call("predict", images, "--model", model, "--json").stdout)
    loaded = ExportedModel.load(model)
    rows = content["rows"]
    assert [row["finding"] for row in rows] == [*FINDINGS] * 3
    for position, name in enumerate(("a.png", "b.jpg", "c.dcm")):
        answers = loaded.run(decode(images / name, 64, keep_aspect=True)[None])
        mass, edema, effusion, _ = rows[4 * position : 4 * position + 4]
        assert mass["image"] == str(images / name)
        np.testing.assert_allclose([row["logit"] for row in (mass, edema, effusion)], answers.logits[0, :3], atol=1e-6)
        assert mass["probability"] == pytest.approx(float(answers.probabilities[0, 0]))
        assert (edema["probability"], edema["threshold"], edema["present"]) == (None, None, None)
        assert (mass["present"], effusion["present"]) == (True, False)  # thresholds of -100 and 100
    assert rows[0]["logit"] == rows[8]["logit"] != rows[4]["logit"]  # the same pixels as PNG and DICOM
    assert content["unreadable"] == []
    assert any("1 other files" in note for note in content["notes"])
    table = list(csv.DictReader(io.StringIO(call("predict", images, "--model", model, "--csv").stdout)))
    assert [float(row["logit"]) for row in table] == [row["logit"] for row in rows]


def test_one_image_is_a_table_of_findings_and_several_are_a_list(model, images) -> None:
    one = call("predict", images / "a.png", "--model", model).output
    for told in ("present", "not called", "no operating point", "-100.00", "rule youden", "its prevalence", "2 x 2"):
        assert told in one
    several = call("predict", images, "--model", model, "--finding", "Mass").output
    assert several.count("Mass (") == 3
    assert "Effusion" not in several


def test_another_rule_has_its_own_thresholds(model, images) -> None:
    rows = json.loads(call("predict", images, "--model", model, "--rule", "sensitivity", "--json").stdout)["rows"]
    assert {row["present"] for row in rows} == {None}  # this model has none for that rule
    assert "Invalid value for '--rule'" in call("predict", images, "--model", model, "--rule", "best", status=2).output


def test_figures_of_the_maps(model, images, tmp_path) -> None:
    out = tmp_path / "maps"
    call("predict", images, "--model", model, "--maps", out)
    assert {path.name for path in out.iterdir()} == {"a-maps.png", "b-maps.png", "c-maps.png"}
    assert all(Image.open(path).size[0] > 500 for path in out.iterdir())
    told = call("predict", images, "--model", model, "--maps", out, status=2).output
    assert "exists: choose another --maps, or replace it with --overwrite" in " ".join(told.split())
    call("predict", images, "--model", model, "--maps", out, "--overwrite")


def test_an_unreadable_image_does_not_hide_the_others(model, images, tmp_path) -> None:
    for file in images.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "broken.png").write_bytes((images / "a.png").read_bytes()[:2000])
    result = call("predict", tmp_path, "--model", model, "--json", status=1)
    content = json.loads(result.stdout)
    assert len(content["rows"]) == 12
    assert [each["image"] for each in content["unreadable"]] == [str(tmp_path / "broken.png")]
    assert "not a complete PNG file" in result.stderr
    assert "1 of 4 images could not be read" in result.stderr
    assert "broken.png" in call("predict", tmp_path / "broken.png", "--model", model, status=2).stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{images}", "--model", "{images}/a.png"], "is no model of `cxr-kd export`"),
        (["{images}", "--model", "{images}/none.onnx"], "none.onnx: no such file"),
        (["{images}/none.png", "--model", "{model}"], "none.png: no such file or folder"),
        (["{empty}", "--model", "{model}"], "none of its 0 files is a PNG, JPEG or DICOM file"),
        (["{images}", "--model", "{model}", "--finding", "Cold"], "the network has no finding 'Cold'; it has: Mass"),
        (["{images}", "--model", "{model}", "--json", "--csv"], "--json or --csv, not both"),
    ],
)
def test_bad_input_ends_with_a_sentence(model, images, tmp_path, arguments, told) -> None:
    named = [each.format(images=images, model=model, empty=tmp_path) for each in arguments]
    result = call("predict", *named, status=2)
    assert told in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_export_refuses_what_is_there(run, model) -> None:
    told = " ".join(call("export", run, "--out", model, status=2).output.split())
    assert "exists: choose another file, or replace it with --overwrite" in told


def without_the_study(*arguments: object) -> subprocess.CompletedProcess:
    """Run a command in a process that cannot import torch, or anything else that only the extra `study` installs."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    imported = {"grad-cam": "pytorch_grad_cam", "scikit-image": "skimage", "scikit-learn": "sklearn"}
    declared = {name: Requirement(line).name for name in extras["study"] for line in [name]}
    blocked = {imported.get(name, name) for name in declared.values()} - {"onnxruntime"}
    assert {"torch", "timm", "onnx", "sklearn"} <= blocked
    program = (
        f"import sys; sys.modules.update(dict.fromkeys({sorted(blocked)!r})); from cxr_kd.cli.main import app; app()"
    )
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)


def test_prediction_needs_no_library_of_the_study(model, images, tmp_path) -> None:
    done = without_the_study("predict", images, "--model", model, "--json", "--maps", tmp_path / "maps")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["rows"]) == 12
    assert len(list((tmp_path / "maps").iterdir())) == 3


def test_a_command_of_the_study_says_what_to_install(run, tmp_path) -> None:
    done = without_the_study("export", run, "--out", tmp_path / "student.onnx")
    assert done.returncode == 2
    assert done.stderr.strip().endswith("this command needs it: pip install 'cxr-kd[study]'")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def guarded(tmp_path_factory) -> Path:
    """A model that knows what its training images looked like."""
    folder = write_run(tmp_path_factory.mktemp("guarded"))
    fitted_familiar().write(folder / familiar.FILE)
    call("export", folder, "--out", folder / "student.onnx")
    return folder / "student.onnx"


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory) -> Path:
    """A phantom, the same inverted, and as DICOM: frontal of a child, and with the tag of a lateral view."""
    folder = tmp_path_factory.mktemp("doubtful")
    image = draw(PhantomSettings(images=20, size=128), 0).image
    Image.fromarray(image).save(folder / "good.png")
    Image.fromarray(255 - image).save(folder / "inverted.png")
    write_dicom(folder / "child.dcm", image, PatientAge="007Y", ViewPosition="PA")
    write_dicom(folder / "lateral.dcm", image, ViewPosition="LL")
    return folder


def test_what_does_not_look_like_a_radiograph_is_refused(guarded, doubtful) -> None:
    result = call("predict", doubtful, "--model", guarded, "--json", status=1)
    content = json.loads(result.stdout)
    assert {Path(row["image"]).name for row in content["rows"]} == {"good.png", "child.dcm"}
    assert all(0 < row["distance"] <= 1 for row in content["rows"])
    refused = {Path(each["image"]).name: each["reason"] for each in content["refused"]}
    assert set(refused) == {"inverted.png", "lateral.dcm"}
    assert "does not look like the radiographs" in refused["inverted.png"]
    assert "times the limit" in refused["inverted.png"]
    assert "lateral view (ViewPosition LL)" in refused["lateral.dcm"]
    assert all("--anyway" in reason for reason in refused.values())
    assert "2 of 4 images were refused" in result.stderr
    assert "child (7 years); 1 of the 100 images" in result.stderr
    assert any("of 20 test radiographs, wrongly" in note for note in content["notes"])


def test_status_2_if_nothing_is_answered_and_0_with_anyway(guarded, doubtful) -> None:
    result = call("predict", doubtful / "inverted.png", "--model", guarded, status=2)
    assert "1 of 1 images were refused" in result.stderr
    rows = list(csv.DictReader(io.StringIO(call("predict", doubtful, "--model", guarded, "--anyway", "--csv").stdout)))
    assert len(rows) == 4 * len(FINDINGS)
    doubts = {Path(row["image"]).name: row["doubt"] for row in rows}
    assert doubts["good.png"] == ""
    assert "does not look like" in doubts["inverted.png"]
    assert "lateral view" in doubts["lateral.dcm"]
    assert {float(row["distance"]) > 1 for row in rows if "inverted" in row["image"]} == {True}
    shown = call("predict", doubtful / "inverted.png", "--model", guarded, "--anyway")
    assert "doubtful: see below" in " ".join(shown.stdout.split())
    assert "does not look like" in shown.stderr


def test_a_model_without_the_detector_says_so(model, doubtful) -> None:
    content = json.loads(call("predict", doubtful / "inverted.png", "--model", model, "--json").stdout)
    assert {row["distance"] for row in content["rows"]} == {None}
    assert any("exported without that" in note for note in content["notes"])

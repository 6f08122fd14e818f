"""`cxr-kd explain`: a user's own radiographs, with the network of a run."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from own_miniatures import write_dicom
from PIL import Image
from scipy.special import expit
from typer.testing import CliRunner

from cxr_kd.cli.main import app
from cxr_kd.data.images.decode import decode
from cxr_kd.evaluation.probability.recalibration import FILE, LogitMap, Recalibration
from cxr_kd.explanation.methods.cam import one_pass
from cxr_kd.explanation.own_images import RunOnDisk, numbers
from cxr_kd.models import weights
from cxr_kd.models.build import build
from cxr_kd.phantoms.draw import draw
from cxr_kd.study.data_settings import PhantomSettings

SIZE = 32
FINDINGS = ("Mass", "Edema", "Effusion", "Pleural_Thickening")
METADATA = {"study": "tiny", "run": "net-seed0", "split_sha256": "0" * 64, "intensity": "fixed", "keep_aspect": True}


def explain(*arguments: object, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["explain", *map(str, arguments)], env={"COLUMNS": "120"})
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "net-seed0"
    folder.mkdir()
    weights.save(build("eeea_net_c2", FINDINGS, image_size=SIZE), folder / "model.safetensors", METADATA)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    """One phantom as PNG and DICOM in one folder, another as JPEG of the same name, taller than wide; and a text."""
    folder = tmp_path_factory.mktemp("own")
    first, second = (draw(PhantomSettings(images=20, size=64), index).image for index in range(2))
    Image.fromarray(first).save(folder / "thorax.png")
    (folder / "more").mkdir()
    Image.fromarray(second[:, 8:-8]).save(folder / "more" / "thorax.jpg", quality=95)
    (folder / "more" / "notes.txt").write_text("no image")
    write_dicom(folder / "scan", first)
    return folder


def test_a_folder_gives_one_figure_per_image_and_the_networks_own_numbers(run, images, tmp_path) -> None:
    output = explain(images, "--run", run, "--out", tmp_path / "out")
    figures = {"thorax-maps.png", "thorax-2-maps.png", "scan-maps.png"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {*figures, "explain.csv"}
    assert all(Image.open(tmp_path / "out" / name).size[0] > 500 for name in figures)
    table = pd.read_csv(tmp_path / "out" / "explain.csv")
    assert set(table["figure"]) == figures
    model = weights.load(run / "model.safetensors")
    for file, rows in table.groupby("image"):
        pixels = decode(Path(file), SIZE, keep_aspect=True)
        with torch.inference_mode():
            logits, evidence = one_pass(model)(torch.from_numpy(pixels)[None, None])
        assert tuple(rows["finding"]) == FINDINGS
        np.testing.assert_allclose(rows["logit"], logits[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(rows["raw_sigmoid"], torch.sigmoid(logits[0]), rtol=1e-4)
        assert set(rows.loc[rows["shown"], "finding"]) == {FINDINGS[i] for i in logits[0].topk(3).indices}
        share = evidence[0].relu().sum((1, 2)) / evidence[0].abs().sum((1, 2))
        np.testing.assert_allclose(rows["positive_share"], share, atol=1e-4)
    assert table["recalibrated"].isna().all()
    for told in ("net-seed0 (eeea_net_c2, 32 px)", "1 x 1 cells", "1 other files", "not for diagnosis", "No recalib"):
        assert told in output


def test_named_findings_recalibrated_as_json_from_the_weights_file(run, images, tmp_path) -> None:
    folder = tmp_path / "net-seed0"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes())
    maps = (
        LogitMap(method="platt", finding="Edema", intercept=-1, slope=2),
        LogitMap(method="platt", finding="Mass", left_out="no positive"),
    )
    fitted = Recalibration(study="tiny", run="net-seed0", split_sha256="0" * 64, maps=maps)
    fitted.write(folder / FILE)
    out = ("--out", tmp_path / "out", "--finding", "Edema", "--finding", "Mass")
    result = CliRunner().invoke(
        app,
        ["explain", *map(str, [images / "thorax.png", "--run", folder / "model.safetensors", *out, "--json"])],
    )
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    mass, edema = content["rows"]
    assert (mass["finding"], edema["finding"]) == ("Mass", "Edema")
    assert edema["recalibrated"] == pytest.approx(expit(-1 + 2 * edema["logit"]), rel=1e-5)
    assert mass["recalibrated"] is None
    assert any("its prevalence" in note for note in content["notes"])
    fitted.model_copy(update={"run": "other"}).write(folder / FILE)
    assert "fitted on the run other" in explain(images, "--run", folder, *out, "--overwrite", status=2)


def test_place_and_share_of_known_evidence() -> None:
    evidence = np.zeros((3, 2, 4), np.float32)
    evidence[0, 1, 2], evidence[0, 0, 0] = 3, -1
    evidence[1] = -1
    run = RunOnDisk(Path("x"), {}, None)
    table = numbers(("a", "b", "c"), np.zeros(3, np.float32), evidence, run)
    assert table["positive_share"].tolist()[:2] == [0.75, 0]
    assert (table["peak_x"][0], table["peak_y"][0]) == (0.625, 0.75)
    assert table.loc[1:, ["peak_x", "peak_y"]].isna().all(axis=None)
    assert np.isnan(table["positive_share"][2])


def test_nothing_is_overwritten_unless_asked_and_never_an_image(run, images, tmp_path) -> None:
    arguments = (images / "thorax.png", "--run", run, "--finding", "Mass", "--out", tmp_path)
    explain(*arguments)
    assert "thorax-maps.png exists" in explain(*arguments, status=2)
    explain(*arguments, "--overwrite")
    own = tmp_path / "thorax-maps-maps.png"
    own.write_bytes((images / "thorax.png").read_bytes())
    told = explain(own, tmp_path / "thorax-maps.png", "--run", run, "--out", tmp_path, "--overwrite", status=2)
    assert "would be overwritten" in told
    assert own.read_bytes() == (images / "thorax.png").read_bytes()


@pytest.mark.parametrize(
    ("paths", "options", "told"),
    [
        (["absent.png"], [], "absent.png: no such file or folder"),
        (["text"], [], "not a PNG, JPEG or DICOM file"),
        (["empty"], [], "empty: none of its 0 files"),
        (["thorax.png"], ["--finding", "Hernia"], "no finding 'Hernia'; it has: Mass, Edema"),
        (["thorax.png"], ["--grid", "fine"], "fine"),
        (["thorax.png"], ["--method", "guess"], "guess"),
        (["thorax.png"], ["--out", "text"], "is a file: give a folder"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(run, images, tmp_path, monkeypatch, paths, options, told) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "thorax.png").write_bytes((images / "thorax.png").read_bytes())
    (tmp_path / "text").write_text("no image")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    output = explain(*(tmp_path / path for path in paths), "--run", run, *options, status=2)
    assert told in output
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_is_not_there_names_those_that_are(run, images) -> None:
    assert "runs there: net-seed0" in explain(images, "--run", run.parent / "net-seed9", status=2)
    assert "runs there: net-seed0" in explain(images, "--run", run.parent, status=2)


def test_a_damaged_image_among_others_is_named_and_nothing_is_written(run, images, tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes((images / "thorax.png").read_bytes()[:200])
    output = explain(images / "thorax.png", tmp_path, "--run", run, "--out", tmp_path / "out", status=2)
    assert "broken.png: " in output
    assert not (tmp_path / "out").exists()


def test_names_that_are_long_not_utf_8_or_like_formulas_are_usable(run, images, tmp_path) -> None:
    content = (images / "thorax.png").read_bytes()
    for name in (b"a" * 250, b"\xff\xfe.png", b"$x_{$.png"):
        (tmp_path / os.fsdecode(name)).write_bytes(content)
    explain(tmp_path, "--run", run, "--finding", "Mass", "--out", tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "explain.csv")
    assert len(table) == 3
    assert all((tmp_path / "out" / name).is_file() for name in table["figure"])

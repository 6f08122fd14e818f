"""`cxr-kd evaluate`: tables and figures from predictions files alone."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cxr_kd.cli.main import app
from cxr_kd.evaluation.details import FILES

CURVES = {"roc", "precision-recall", "calibration-raw", "calibration-platt", "decision-curves", "distributions"}


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two networks on the same 300 images of 100 patients; the second one is better."""
    folder, random = tmp_path_factory.mktemp("arrays"), np.random.default_rng(0)
    labels, noise = (random.random((300, 2)) < 0.3).astype(np.float32), random.normal(size=(300, 2))
    for name, signal in (("weak", 0.5), ("strong", 2.0)):
        logits = (signal * labels + noise).astype(np.float32)
        np.savez(folder / f"{name}.npz", logits=logits, labels=labels, patient=np.arange(300) // 3)
    return [folder / "weak.npz", folder / "strong.npz"]


def test_every_table_and_figure_is_written_and_the_means_are_printed(files, tmp_path) -> None:
    options = ("--validation-share", 0.5, "--findings", "Mass,Edema", "--resamples", 50)
    output = run(*files, "--out", tmp_path / "out", *options)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"evaluations.csv", "comparisons.csv", *FILES, *(f"{name}.svg" for name in CURVES)} <= written
    evaluations = pd.read_csv(tmp_path / "out" / "evaluations.csv").set_index(["arm", "finding"])
    assert f"{evaluations.loc[('strong', 'mean'), 'auroc']:.3f}" in output
    assert evaluations.loc[("strong", "Mass"), "images"] == 300, "the AUROC is over all images"
    points = pd.read_csv(tmp_path / "out" / "operating-points.csv")
    assert set(points["side_patients"]) == {50}
    (second,) = set(pd.read_csv(tmp_path / "out" / "comparisons.csv")["second"])
    assert second == "strong"


def test_without_a_validation_side_it_says_what_is_missing(files, tmp_path) -> None:
    output = run(files[0], "--out", tmp_path / "out", "--resamples", 50)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"evaluations.csv"}
    assert "--validation-share 0.5" in output


def test_networks_on_other_images_are_refused_and_nothing_is_written(files, tmp_path) -> None:
    np.savez(tmp_path / "other.npz", logits=np.zeros((9, 2)), labels=np.zeros((9, 2)), patient=np.arange(9))
    result = CliRunner().invoke(app, ["evaluate", str(files[0]), str(tmp_path / "other.npz"), "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "other.npz (run other) and" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {"other.npz"}

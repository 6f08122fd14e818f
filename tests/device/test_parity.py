"""The table of exported files: each file against its own network, on the whole test side."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from tiny_study import ALONE, tiny_study

from cxr_kd.data.prepare import prepare
from cxr_kd.device.exported import ExportedModel
from cxr_kd.device.parity import FILE, TABLE, compared, write_exports
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.probability.tables import write_fitted
from cxr_kd.training.finished_run import load_run
from cxr_kd.training.run import train


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A study, a finished run of it with what was fitted on validation, its network, and the data."""
    study = tiny_study(tmp_path_factory.mktemp("home"), ALONE)
    data = prepare(study, workers=1, progress=False)
    run = next(run for run in study.all_runs if run.role == "student alone")
    folder = train(study, run, data)
    write_fitted(Predictions.read(folder / "predictions-validation.parquet"), folder)
    return study, run, load_run(study, run, data), data


@pytest.fixture(scope="module")
def table(parts):
    study, run, network, data = parts
    return write_exports(study, [run], {run.name: network}, data)


def test_a_file_answers_as_its_network(parts, table) -> None:
    study, run, _, _ = parts
    (row,) = table.to_dict("records")
    test = Predictions.read(study.run_folder(run) / "predictions-test.parquet")
    assert row["run"] == run.name
    assert row["images"] == len(test.logits)
    assert 0 <= row["logit_difference"] < 1e-4
    assert row["auroc_exported"] == pytest.approx(row["auroc"], abs=1e-3)
    scores = [roc_auc_score(labels, logits) for labels, logits in zip(test.labels.T, test.logits.T, strict=True)
              if 0 < labels.sum() < len(labels)]  # fmt: skip
    assert (row["findings"], row["auroc"]) == (len(scores), pytest.approx(np.mean(scores)))
    assert row["flipped"] <= 1 < row["decisions"]
    assert row["faster_low"] <= row["faster"] <= row["faster_high"]
    assert row["file_mb"] == pytest.approx((study.run_folder(run) / FILE).stat().st_size / 2**20)
    written = pd.read_csv(study.runs_folder / TABLE)
    assert written["logit_difference"][0] == pytest.approx(row["logit_difference"])


def test_a_file_that_answers_otherwise_is_seen(parts, table, monkeypatch) -> None:
    study, run, network, data = parts
    test = Predictions.read(study.run_folder(run) / "predictions-test.parquet")
    model = ExportedModel.load(study.run_folder(run) / FILE, threads=1)
    answer = ExportedModel.run

    def other(self, images):
        answers = answer(self, images)
        return replace(answers, logits=-answers.logits, evidence=-answers.evidence)

    monkeypatch.setattr(ExportedModel, "run", other)
    row = compared(model, network, test, data, 3)
    assert row["logit_difference"] == pytest.approx(2 * np.abs(test.logits).max(), rel=1e-4)
    assert row["auroc_exported"] == pytest.approx(1 - row["auroc"], abs=1e-3)
    thresholds = np.array([model.metadata.threshold(name, "youden") for name in model.metadata.names], float)
    has = np.isfinite(thresholds)
    calls, others = (logits[:, has] >= thresholds[has] for logits in (test.logits, -test.logits))
    assert row["flipped"] == (calls != others).sum() > 0
    assert row["decisions"] == calls.size
    assert np.isnan(row["map_correlation"]) or row["map_correlation"] == pytest.approx(-1)

"""The table of exported files: each file against its own network, on the whole test side."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from tiny_study import ALONE, tiny_study

from cxr_kd.data.prepare import prepare
from cxr_kd.device import smaller
from cxr_kd.device.exported import ExportedModel
from cxr_kd.device.parity import FILE, SMALLER_TABLE, TABLE, OfNetwork, compared, evidence_of, write_exports
from cxr_kd.evaluation.bootstrap import bootstrap
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.probability.tables import write_fitted
from cxr_kd.training.finished_run import load_run
from cxr_kd.training.run import train

# One way to compute in 8 bits, and limits that suit a network that has learned nothing.
DEVICE = """
evaluation: {minimum_positives: 1, resamples: 200}
device:
  latency_repeats: 5
  int8: {scales: [channel], ranges: [minmax], kept: [[]], calibration_images: 4}
  auroc_loss: 0.2
  finding_loss: 1.0
"""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A study, a finished run of it with what was fitted on validation, its network, and the data."""
    study = tiny_study(tmp_path_factory.mktemp("home"), ALONE, more=DEVICE)
    data = prepare(study, workers=1, progress=False)
    run = next(run for run in study.all_runs if run.role == "student alone")
    folder = train(study, run, data)
    write_fitted(Predictions.read(folder / "predictions-validation.parquet"), folder)
    return study, run, load_run(study, run, data), data


@pytest.fixture(scope="module")
def tables(parts):
    study, run, network, data = parts
    return write_exports(study, [run], {run.name: network}, data)


@pytest.mark.parametrize("runtime", ["ONNX Runtime", "OpenVINO"])
def test_a_file_answers_as_its_network_in_both_runtimes(parts, tables, runtime) -> None:
    study, run, _, _ = parts
    table = tables[0]
    (row,) = table[(table["precision"] == "float32") & table["runtime"].str.startswith(runtime)].to_dict("records")
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
    assert row["auroc_change_low"] <= row["auroc_change"] <= row["auroc_change_high"]
    assert row["auroc_change"] == pytest.approx(0, abs=1e-3)
    written = pd.read_csv(study.runs_folder / TABLE)
    assert list(written["logit_difference"]) == pytest.approx(list(table["logit_difference"]))


def test_the_smaller_file_is_the_candidate_that_was_chosen(parts, tables) -> None:
    study, run, _, _ = parts
    exported, candidates = tables
    chosen = candidates[candidates["chosen"]].iloc[0]
    file = ExportedModel.load(study.run_folder(run) / smaller.FILE)
    assert (file.metadata.precision, file.metadata.way) == (chosen["precision"], chosen["way"])
    assert file.path.stat().st_size / 2**20 == pytest.approx(chosen["file_mb"], rel=1e-3)
    assert file.metadata.precision in set(exported["precision"])
    assert set(candidates["precision"]) == {"float16", "int8_weights", "int8"}
    assert list(candidates["run"].unique()) == [run.name]
    assert len(pd.read_csv(study.runs_folder / SMALLER_TABLE)) == len(candidates)


def test_if_all_candidates_are_refused_there_is_no_smaller_file(parts, tables) -> None:
    study, run, _, data = parts
    exported = ExportedModel.load(study.run_folder(run) / FILE)
    old = exported.path.with_name(smaller.FILE)
    content = old.read_bytes()
    device = study.device.model_copy(update={"int8": None, "map_cosine": 1.1})
    chosen, candidates = smaller.smaller(exported, data, device)
    assert chosen is None
    assert not old.exists()
    assert list(candidates["precision"]) == ["float16", "int8_weights"]
    assert not candidates["chosen"].any()
    assert candidates["refused"].str.contains("needed").all()
    old.write_bytes(content)


def test_a_file_that_answers_otherwise_is_seen(parts, tables, monkeypatch) -> None:
    study, run, network, data = parts
    test = Predictions.read(study.run_folder(run) / "predictions-test.parquet")
    model = ExportedModel.load(study.run_folder(run) / FILE, threads=1)
    answer = ExportedModel.run

    def other(self, images):
        answers = answer(self, images)
        return replace(answers, logits=-answers.logits, evidence=-answers.evidence)

    monkeypatch.setattr(ExportedModel, "run", other)
    known = OfNetwork(test, bootstrap(test, study.evaluation), evidence_of(network, data))
    row = compared(model, known, data, study)
    assert row["logit_difference"] == pytest.approx(2 * np.abs(test.logits).max(), rel=1e-4)
    assert row["auroc_exported"] == pytest.approx(1 - row["auroc"], abs=1e-3)
    thresholds = np.array([model.metadata.threshold(name, "youden") for name in model.metadata.names], float)
    has = np.isfinite(thresholds)
    calls, others = (logits[:, has] >= thresholds[has] for logits in (test.logits, -test.logits))
    assert row["flipped"] == (calls != others).sum() > 0
    assert row["decisions"] == calls.size
    assert np.isnan(row["map_correlation"]) or row["map_correlation"] == pytest.approx(-1)

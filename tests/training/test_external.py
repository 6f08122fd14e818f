"""External testing: networks of one hospital's phantoms predict another hospital's, once, and never what they know."""

import numpy as np
import pytest
from miniatures import write_chexpert, write_padchest
from tiny_study import ALONE, TAUGHT, finish, tiny_study

from cxr_kd.data.external import prepare_external, shared_table
from cxr_kd.data.prepare import prepare
from cxr_kd.data.readers import chexpert
from cxr_kd.errors import DataError, StudyError, TrainingError
from cxr_kd.evaluation.across import CHANGES, EVALUATIONS, EXTERNAL, INTERNAL, PREDICTIONS, read_across, write_across
from cxr_kd.evaluation.bootstrap import MEAN
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.evaluation.uncertainty import compare, evaluate
from cxr_kd.models.weights import load
from cxr_kd.phantoms.labels import FINDINGS
from cxr_kd.study.arms import arms_of
from cxr_kd.training import external
from cxr_kd.training.external import RECORD, score_external
from cxr_kd.training.run_card import read_card

EVALUATION = "evaluation: {resamples: 40, minimum_positives: 2}\n"
SECOND = """
evaluate_on:
  hospital_b:
    data:
      dataset: phantom
      phantom: {images: 50, size: 32, seed: 9, minimum_rate: 0.3, ap_share: 0.9, exposure: 0.1, film_contrast: 0.8}
  chexpert:
    data: {dataset: chexpert}
    root: elsewhere
"""
SHARED = ("Atelectasis", "Cardiomegaly", "Effusion", "Pneumonia", "Pneumothorax", "Consolidation", "Edema")


@pytest.fixture(scope="module")
def trained(home):
    """A tiny study whose runs were finished before it named any further data set."""
    write_chexpert(home / "elsewhere", patients=40, size=32)
    study = tiny_study(home, ALONE, TAUGHT, more=EVALUATION)
    finish(study)
    return study


@pytest.fixture(scope="module")
def study(home, trained):
    return tiny_study(home, ALONE, TAUGHT, more=EVALUATION + SECOND)


@pytest.fixture(scope="module")
def scored(study):
    score_external(study, workers=1, progress=False)
    return study


@pytest.fixture(scope="module")
def across(scored):
    return write_across(scored)


def test_a_further_data_set_trains_nothing_again(trained, scored):
    data = prepare(trained, workers=1, progress=False)
    for run in scored.all_runs:
        assert read_card(scored.run_folder(run)).settings_sha256 == scored.identity(run, data.identity)


def test_all_its_images_are_on_the_test_side_and_are_predicted_in_order(scored):
    for run in scored.all_runs:
        there = Predictions.read(scored.external_folder(run, "hospital_b") / PREDICTIONS)
        assert there.frame["image_id"].tolist() == [f"phantom-{i:06d}" for i in range(50)]
        assert (there.metadata.run, there.metadata.split, there.metadata.side) == (run.name, "all-test", "test")
        assert there.findings == FINDINGS
        assert (there.about("view") == "AP").mean() > 0.7  # 0.4 in the study's own phantoms


def test_the_logits_are_those_of_the_network_for_these_images(scored):
    run = scored.all_runs[-1]
    network = load(scored.run_folder(run) / "model.safetensors")
    data = prepare_external(scored, "chexpert", network.findings, workers=1, progress=False)
    there = Predictions.read(scored.external_folder(run, "chexpert") / PREDICTIONS)
    (batch,) = data.batches("test", 1000, augment=None, shuffle=False).epoch(0)
    wanted = network(batch.images).detach().numpy()[:, [network.findings.index(finding) for finding in SHARED]]
    assert there.findings == SHARED
    np.testing.assert_allclose(there.logits, wanted, atol=1e-4)


def test_labels_are_read_in_terms_of_the_networks_findings(home, scored):
    table = chexpert.read(home / "elsewhere").select(
        Predictions.read(scored.external_folder(scored.all_runs[0], "chexpert") / PREDICTIONS).frame["image_id"]
    )
    there = Predictions.read(scored.external_folder(scored.all_runs[0], "chexpert") / PREDICTIONS)
    effusion = there.labels[:, there.findings.index("Effusion")]
    np.testing.assert_array_equal(effusion, table.frame["Pleural Effusion"].to_numpy(np.float32))


def test_what_is_scored_is_not_scored_again_until_weights_or_data_change(scored, capsys, monkeypatch):
    monkeypatch.setattr(external, "load_run", lambda *_: pytest.fail("a network was loaded"))
    score_external(scored, workers=1, progress=False)
    assert capsys.readouterr().out.count("already") == 2 * len(scored.all_runs)
    monkeypatch.undo()
    run = scored.all_runs[0]
    folder = scored.external_folder(run, "hospital_b")
    before = (folder / PREDICTIONS).read_bytes()
    for damage in (
        lambda: (folder / PREDICTIONS).write_bytes(before[:-5]),
        lambda: (folder / RECORD).unlink(),
        lambda: (folder / RECORD).write_text((folder / RECORD).read_text().replace('weights_sha256": "', "&0")),
    ):
        damage()
        score_external(scored, workers=1, progress=False)
        assert capsys.readouterr().out.count("already") == 2 * len(scored.all_runs) - 1
        assert (folder / PREDICTIONS).read_bytes() == before


def test_numbers_of_one_row_are_over_the_same_findings(scored, across):
    frame = across[EVALUATIONS]
    assert list(dict.fromkeys(zip(frame["testing"], frame["data_set"], strict=True))) == [
        (INTERNAL, "phantom"), (EXTERNAL, "hospital_b"), (EXTERNAL, "chexpert"),
    ]  # fmt: skip
    in_mean = set(SHARED)
    for (_, _), part in frame.groupby(["testing", "data_set"]):
        assert set(part["finding"]) == {*SHARED, MEAN}
        in_mean &= set(part.loc[part["left_out"] == "", "finding"])
    assert in_mean
    assert set(frame["findings_in_mean"]) == {len(in_mean)}
    for arm, runs in arms_of(scored).items():
        internal = Predictions.read(scored.run_folder(runs[0]) / "predictions-test.parquet")
        outside = Predictions.read(scored.external_folder(runs[0], "hospital_b") / PREDICTIONS)
        for testing, predictions in ((INTERNAL, internal), (EXTERNAL, outside)):
            wanted = evaluate(predictions.of_findings(sorted(in_mean)), scored.evaluation).iloc[-1]
            row = frame[(frame["testing"] == testing) & (frame["arm"] == arm) & (frame["finding"] == MEAN)].iloc[0]
            for column in ("auroc", "auroc_low", "auroc_high"):
                assert row[column] == pytest.approx(wanted[column], abs=1e-9)
            assert (row["test_images"], row["test_patients"]) == (
                len(predictions.frame), predictions.frame["patient_id"].nunique(),
            )  # fmt: skip


def test_the_change_is_paired_on_each_data_set(scored, across):
    changes = across[CHANGES]
    means = changes[changes["finding"] == MEAN]
    assert means["data_set"].tolist() == ["phantom", "hospital_b", "chexpert"]
    first, second = means.iloc[0][["first", "second"]]
    runs = arms_of(scored)
    pair = [
        Predictions.read(scored.external_folder(runs[arm][0], "hospital_b") / PREDICTIONS) for arm in (first, second)
    ]
    wanted = compare(*pair, scored.evaluation).set_index("finding")["auroc_difference"]
    part = changes[changes["data_set"] == "hospital_b"].set_index("finding")
    for finding in set(SHARED):
        assert part.loc[finding, "auroc_difference"] == pytest.approx(wanted[finding], abs=1e-9, nan_ok=True)


def test_the_tables_are_read_from_their_files_and_go_with_the_setting(trained, scored, across):
    read = read_across(scored)
    for name, frame in across.items():
        assert read[name]["data_set"].tolist() == frame["data_set"].tolist()
        assert (scored.runs_folder / name).is_file()
    assert write_across(trained) is None
    assert read_across(trained) is None
    assert not (scored.runs_folder / EVALUATIONS).exists()


def test_a_run_that_is_not_finished_is_named(tmp_path):
    study = tiny_study(tmp_path, more=SECOND)
    with pytest.raises(TrainingError, match=r"has no card.json: this run is not finished"):
        score_external(study)


def test_data_sets_without_a_shared_finding_are_refused_with_both_lists(tmp_path):
    table = chexpert.read(write_chexpert(tmp_path, patients=12, size=32).parent)
    with pytest.raises(DataError, match=r"^here: chexpert shares no finding with the networks. It has: .*have: Hernia"):
        shared_table(table, "phantom", ["Hernia"], "here")
    with pytest.raises(DataError, match=r"Findings of a folder are compared by name"):
        shared_table(table, "folder", ["Opacity"], "here")
    assert shared_table(table, "folder", ["Edema", "Opacity", "Atelectasis"], "here").findings == (
        "Edema",
        "Atelectasis",
    )


def test_padchest_is_read_in_terms_of_the_phantoms(tmp_path):
    root = write_padchest(tmp_path / "padchest", patients=12).relative_to(tmp_path)
    text = f"\nevaluate_on:\n  valencia:\n    root: {root}\n    data: {{dataset: padchest}}\n"
    study = tiny_study(tmp_path, more=text)
    found = prepare_external(study, "valencia", FINDINGS, workers=1, progress=False)
    assert {"Pneumonia", "Edema"} <= set(found.table.findings) <= set(FINDINGS)
    assert found.cache.images.shape[1] == study.image_size
    assert not found.split.train
    assert len(found.split.test) == len(found.table)


def test_real_radiographs_are_a_further_data_set_of_phantoms(tmp_path, test_data):
    mini = test_data / "chestxray14-mini"
    text = f"\nevaluate_on:\n  nih: {{root: {mini}, data: {{dataset: chestxray14, split: random-70-10-20}}}}\n"
    found = prepare_external(tiny_study(tmp_path, more=text), "nih", FINDINGS, workers=1, progress=False)
    assert (found.table.kind, found.table.findings) == ("mini", FINDINGS)
    assert 0.1 < len(found.split.test) / len(found.table) < 0.3  # only these are scored


def test_a_missing_folder_is_named_with_what_to_put_there(tmp_path):
    study = tiny_study(tmp_path, more=SECOND)
    with pytest.raises(StudyError, match=r"evaluate_on.chexpert: root: .*elsewhere is not a folder.*CheXpert-v1.0"):
        study.external_root("chexpert")


def test_changed_labels_are_scored_again(home, scored, capsys):  # the last test: it changes what the others use
    table = home / "elsewhere" / "CheXpert-v1.0-small" / "valid.csv"
    rows = table.read_text().splitlines()
    rows[1] = rows[1].replace("1.0", "0.0")
    table.write_text("\n".join(rows) + "\n")
    score_external(scored, workers=1, progress=False)
    assert capsys.readouterr().out.count("scored on chexpert (") == len(scored.all_runs)

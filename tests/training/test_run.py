"""A run is trained once for its settings and data, and its files say what it is."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
from tiny_study import ALONE, TAUGHT, tiny_study

from cxr_kd.data.prepare import Prepared
from cxr_kd.data.splits import Split
from cxr_kd.data.trained_on import TrainedOn
from cxr_kd.errors import DataError, TeacherError
from cxr_kd.evaluation.predictions import Predictions
from cxr_kd.files import read_json, write_json
from cxr_kd.models import weights
from cxr_kd.models.build import build
from cxr_kd.training.distributed import ALONE as ONE
from cxr_kd.training.finished_run import hash_files, load_run, read_trained_on
from cxr_kd.training.job import Job
from cxr_kd.training.predict import one_pair, predict, predictions_of, validation_auroc
from cxr_kd.training.run import train


def accept_changes(folder):
    """Write a changed run's hashes into its card, as if it had been trained like this."""
    card = read_json(folder / "card.json")
    write_json(folder / "card.json", {**card, "files": hash_files(folder)})


def test_training_a_student_trains_its_teacher_and_both_cards_say_what_they_are(home, data):
    study = tiny_study(home)
    teacher, _, student = study.all_runs
    folder = train(study, student, data)
    assert read_json(study.run_folder(teacher) / "card.json")["role"] == "teacher"
    card = read_json(folder / "card.json")
    assert card["role"] == "student distilled"
    assert card["teacher"] == "eeea_net_c2"
    assert card["objective"] == {"focal_bce": 1.0, "logit_mse": 0.5}
    assert card["split_sha256"] == data.split.sha256
    assert card["peak_memory_mb"] > 50
    assert card["start"] == "random weights"
    assert not (folder / "resume.safetensors").exists()
    assert weights.read_metadata(folder / "model.safetensors")["split_sha256"] == data.split.sha256


def test_the_predictions_are_those_of_the_saved_weights(home, data):
    study = tiny_study(home)
    run = study.all_runs[1]
    folder = train(study, run, data)
    saved = Predictions.read(folder / "predictions-test.parquet")
    assert tuple(saved.frame["image_id"]) == data.split.test
    assert abs(saved.logits - predict(load_run(study, run, data), data, "test")).max() < 1e-5


def test_the_predictions_say_who_the_patients_are_and_hold_the_sources_if_there_are_any(home, data):
    study = tiny_study(home)
    run = study.all_runs[1]
    model = build(run.network, data.table.findings, image_size=32)
    assert predictions_of(model, Job(study, run, data, ONE), "test").image_sources is None
    sources = [f"scanner {number % 3}" for number in range(len(data.table))]
    table = replace(data.table, frame=data.table.frame.assign(source=sources))
    saved = predictions_of(model, Job(study, run, replace(data, table=table), ONE), "test")
    of_image = dict(zip(table.frame["image_id"], sources, strict=True))
    assert saved.image_sources.tolist() == [of_image[image_id] for image_id in data.split.test]
    shown = table.select(data.split.test).frame
    for column in ("sex", "age", "view"):
        np.testing.assert_array_equal(saved.about(column), shown[column].to_numpy())


def test_a_run_is_trained_again_only_when_what_it_depends_on_has_changed(home, data, capsys):
    study = tiny_study(home)
    student = study.all_runs[2]
    train(study, student, data)
    before = {path: path.stat().st_mtime_ns for path in study.runs_folder.glob("*/card.json")}
    train(study, student, data)
    assert {path: path.stat().st_mtime_ns for path in study.runs_folder.glob("*/card.json")} == before
    assert "trained already" in capsys.readouterr().out

    changed = tiny_study(home, ALONE, TAUGHT.replace("}", ", objective: {logit_mse: 1.0}}"))
    train(changed, changed.all_runs[2], data)
    new = {path for path in before if path.stat().st_mtime_ns != before[path]}
    assert new == {study.run_folder(student) / "card.json"}


def test_the_student_alone_sees_the_same_images_in_the_same_order_as_the_distilled_one(home, data):
    study = tiny_study(home)
    _, alone, taught = study.all_runs
    for first, second in zip(*(Job(study, run, data, ONE).batches().epoch(0) for run in (alone, taught)), strict=True):
        assert first.image_ids == second.image_ids
        assert (first.images == second.images).all()


def test_a_network_of_another_split_is_not_used(home, data):
    study = tiny_study(home)
    run = study.all_runs[1]
    train(study, run, data)
    train_ids, validation, test = data.split.train, data.split.validation, data.split.test
    swapped = Prepared(data.table, data.cache, Split("swapped", train=test, validation=validation, test=train_ids))
    seen = len(train_ids)
    with pytest.raises(DataError, match=rf"trained on {seen} of the {seen} images on the test side"):
        load_run(study, run, swapped)


def test_a_student_is_not_scored_on_what_its_teacher_was_trained_on(home, data):
    study = tiny_study(home)
    teacher, alone, taught = study.all_runs
    for run in (alone, taught):
        train(study, run, data)
    path = study.run_folder(teacher) / "model.safetensors"
    other = TrainedOn.of(data.table, [*data.split.train, data.split.test[0]])
    before = path.read_bytes()
    weights.save(weights.load(path), path, {"trained_on": other.to_metadata()})
    accept_changes(path.parent)
    for run in (alone, taught):  # both were trained before the teacher's file was changed
        load_run(study, run, data)
    (study.run_folder(taught) / "card.json").unlink()
    with pytest.raises(DataError, match=r"eeea_net_c2-seed0.*trained on 1 of the \d+ images on the test side"):
        train(study, taught, data)
    path.write_bytes(before)
    accept_changes(path.parent)


def test_every_file_of_a_run_says_which_split_it_is_of(home, data):
    study = tiny_study(home)
    run = study.all_runs[2]
    folder = train(study, run, data)
    counts = data.split.counts(data.table)
    assert sum(side["images"] for side in counts.values()) == len(data.table)
    predictions = dict(Predictions.read(folder / "predictions-test.parquet").metadata)
    split = (data.split.name, data.split.sha256, counts)
    for named in (read_json(folder / "card.json"), weights.read_metadata(folder / "model.safetensors"), predictions):
        assert (named["split"], named["split_sha256"], named["split_sides"]) == split
    assert read_trained_on(folder / "model.safetensors") == TrainedOn.of(data.table, data.split.train)


def test_answers_of_a_teacher_with_other_weights_are_computed_again(home, data):
    study = tiny_study(home)
    teacher, _, student = study.all_runs
    train(study, student, data)
    keys = [read_json(study.run_folder(teacher) / "answers" / "record.json")["key"]]
    model = load_run(study, teacher, data)
    metadata = weights.read_metadata(study.run_folder(teacher) / "model.safetensors")
    with torch.no_grad():
        model.head.output.bias += 1
    weights.save(model, study.run_folder(teacher) / "model.safetensors", {"trained_on": metadata["trained_on"]})
    accept_changes(study.run_folder(teacher))
    (study.run_folder(student) / "card.json").unlink()
    train(study, student, data)
    keys.append(read_json(study.run_folder(teacher) / "answers" / "record.json")["key"])
    assert keys[0] != keys[1]


def test_a_student_is_not_distilled_from_a_teacher_that_scores_differently_than_when_it_was_trained(home, data):
    study = tiny_study(home)
    teacher, _, student = study.all_runs
    path = train(study, teacher, data) / "model.safetensors"
    before, history = path.read_bytes(), study.run_folder(teacher) / "history.csv"
    rows = pd.read_csv(history)
    try:
        # An AUROC that is well below what these weights reach, or well above.
        found = validation_auroc(load_run(study, teacher, data), data)
        rows.assign(validation_auroc=found - 0.2 if found > 0.5 else found + 0.2).to_csv(history, index=False)
        accept_changes(path.parent)
        (study.run_folder(student) / "card.json").unlink(missing_ok=True)
        for answers in study.run_folder(teacher).glob("answers*"):
            shutil.rmtree(answers)
        with pytest.raises(
            TeacherError, match=rf"validation AUROC of this teacher is {found:.4f}, but was 0\.\d+ when"
        ):
            train(study, student, data)
    finally:
        path.write_bytes(before)
        rows.to_csv(history, index=False)
        accept_changes(path.parent)
    assert read_json(train(study, student, data) / "card.json")["teacher"] == "eeea_net_c2"


def test_answers_are_computed_once_for_the_losses_of_all_students(home, data, capsys):
    taught = "{network: eeea_net_c2, teacher: eeea_net_c2, label: "
    study = tiny_study(
        home,
        taught + "logits, objective: {focal_bce_balanced: 1.0, binary_kl: 1.0}}",
        taught + "maps, objective: {asymmetric: 1.0, map_cosine: 0.5}}",
        taught + "live, objective: {bce: 1.0, hint: 0.5, attention_transfer: 1.0}}",
        more="losses: {temperature: 3.0}\n",
    )
    teacher, logits, maps, live = study.all_runs
    written = []
    for run in (logits, maps):
        train(study, run, data)
        written.append((study.run_folder(teacher) / "answers" / "record.json").stat().st_mtime_ns)
    assert written[0] == written[1]
    record = read_json(study.run_folder(teacher) / "answers" / "record.json")
    assert record["parts"] == ["logits", "evidence", "attention"]
    assert "live" not in capsys.readouterr().out
    folder = train(study, live, data)
    assert "hint compares features, which are not stored; using the live teacher" in capsys.readouterr().out
    assert {"bce", "hint", "attention_transfer"} <= set(pd.read_csv(folder / "history.csv").columns)
    assert (study.run_folder(teacher) / "answers" / "record.json").stat().st_mtime_ns == written[0]


@pytest.mark.parametrize("changed", ["losses: {temperature: 3.0}", "losses: {focusing: 1.0}"])
def test_a_changed_loss_setting_makes_another_run(home, changed):
    plain = tiny_study(home)
    identities = [plain.identity(run, "data") for run in plain.all_runs]
    other = tiny_study(home, more=changed + "\n")
    assert not set(identities) & {other.identity(run, "data") for run in other.all_runs}


def test_one_pair_bounds_the_change_of_auroc_when_two_images_swap_ranks(data):
    labels = data.table.select(data.split.validation).labels()
    findings = [column for column in labels.T if 0 < (column == 1).sum() < len(column)]
    scores = np.linspace(0, 1, len(labels))
    swapped = scores.copy()
    swapped[[2, 3]] = scores[[3, 2]]  # neighbours
    changes = [abs(roc_auc_score(column, scores) - roc_auc_score(column, swapped)) for column in findings]
    assert max(changes) / len(findings) <= one_pair(data) + 1e-12
    fewest = min((column == 1).sum() * (column == 0).sum() for column in findings)
    assert one_pair(data) == pytest.approx(1 / fewest / len(findings))


def test_a_loss_that_needs_sources_is_refused_for_images_without_sources(home, data):
    study = tiny_study(home, "{network: eeea_net_c2, label: beyond, objective: {bce_beyond_source: 1.0}}")
    with pytest.raises(DataError, match=r"beyond-seed0: the loss bce_beyond_source needs the source of each"):
        train(study, study.all_runs[1], data)

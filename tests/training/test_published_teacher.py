"""A teacher that is published weights: not trained, it teaches as any other, and nothing is scored on what it saw."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch
from tiny_study import tiny_study
from torchxrayvision_files import random_densenet, save_module

from cxr_kd.distill.stored_answers import answers_summary
from cxr_kd.errors import DataError, ModelError, StudyError
from cxr_kd.files import read_json, sha256_of
from cxr_kd.report.result_tables import run_table
from cxr_kd.report.run_views import learning_curves
from cxr_kd.training.finished_run import is_done, load_run, read_trained_on
from cxr_kd.training.job import Job
from cxr_kd.training.run import train

FILE = "chex-densenet121-best.pt"


@pytest.fixture(scope="module")
def network(home):
    """A random network; its file is in the form in which torchxrayvision's are published."""
    model = random_densenet()
    save_module(model, home / FILE, legacy=True)
    return model


def study_of(home, weights=f"file: {FILE}, layout: torchxrayvision, trained_on: [chexpert]"):
    teacher = f"{{network: densenet121, weights: {{{weights}}}}}"
    return tiny_study(home, "{network: eeea_net_c2, teacher: densenet121}", teachers=(teacher,))


def runs_of(study):
    return study.teacher_run("densenet121", 0), study.student_run("eeea_net_c2", "densenet121", 0)


def test_published_weights_teach_a_student(home, data, network, capsys):
    study = study_of(home)
    teacher, student = runs_of(study)
    train(study, student, data)
    folder = study.run_folder(teacher)
    card, history = read_json(folder / "card.json"), pd.read_csv(folder / "history.csv")
    assert "chex-densenet121-best.pt was trained at 224 px; at 32 px its answers are worse" in capsys.readouterr().out
    origin = f"published weights, not trained here ({FILE}, SHA-256 {sha256_of(home / FILE)[:12]})"
    assert (card["start"], card["epochs"], card["seconds"]) == (origin, 0, 0.0)
    assert origin in str(run_table([card]).rows[0])
    assert history["validation_auroc"].tolist() == pytest.approx([card["validation_auroc"]])
    images = torch.from_numpy(data.cache.images[:4][:, None].copy())
    loaded = load_run(study, teacher, data)
    with torch.no_grad():
        expected = network((2 * (images / 255) - 1) * 1024)
    assert loaded.start == origin
    labels = ["Atelectasis", "Pleural_Thickening", "Hernia"]
    columns = [data.table.findings.index(label) for label in labels]
    torch.testing.assert_close(loaded(images)[:, columns], expected[:, [0, 9, 13]], atol=1e-4, rtol=1e-4)
    assert answers_summary(folder)["views"] == 1
    for run in (teacher, student):
        assert read_trained_on(study.run_folder(run) / "model.safetensors").datasets == {"chexpert"}
        load_run(study, run, data)
    assert not read_trained_on(folder / "model.safetensors").images
    assert learning_curves(study, [teacher, student])


def test_a_finished_folder_is_filled_again_only_if_the_file_changed(home, data, network):
    study = study_of(home)
    teacher, _ = runs_of(study)
    folder = train(study, teacher, data)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    train(study, teacher, data)
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    identity = study.identity(teacher, data.identity)
    assert is_done(folder, identity)
    with torch.no_grad():
        network.classifier.bias += 1
    save_module(network, home / FILE)
    assert study.identity(teacher, data.identity) != identity
    assert not is_done(folder, study.identity(teacher, data.identity))


@pytest.mark.parametrize("dataset", ["chexpert", "chestxray14", "chestmnist"])
def test_nothing_is_scored_on_a_data_set_that_the_weights_have_seen(home, data, network, dataset):
    study = study_of(home, f"file: {FILE}, layout: torchxrayvision, trained_on: [chex, rsna]")
    runs = _, student = runs_of(study)
    for run in runs:
        shutil.rmtree(study.run_folder(run), ignore_errors=True)
    seen = replace(data, table=replace(data.table, dataset=dataset))
    expected = {"chexpert": "chexpert: it", "chestxray14": "rsna-pneumonia, which holds the same radiographs as chestx"}
    with pytest.raises(DataError, match=f"trained on {expected.get(dataset, 'rsna-pneumonia')}.*cannot be scored on"):
        train(study, student, seen)
    assert not (study.run_folder(student) / "card.json").exists()
    train(study, student, data)
    with pytest.raises(DataError, match=f"from published weights .* it cannot be scored on {dataset}"):
        load_run(study, student, seen)


def test_findings_that_cannot_be_mapped_are_refused(home, data, network):
    def refused(error, message, more):
        study = study_of(home, f"file: {FILE}, layout: torchxrayvision, trained_on: [chexpert], {more}")
        with pytest.raises(error, match=message):
            train(study, runs_of(study)[0], data)

    refused(StudyError, "renames 'Erguss', which is no finding of the study: Atel", "findings: {Erguss: Effusion}")
    refused(
        ModelError, r"no trained output for 'Effusion' \('Water'\). Its outputs: Atel", "findings: {Effusion: Water}"
    )


@pytest.mark.parametrize(("dataset", "finding"), [("chexpert", "Pleural Effusion"), ("padchest", "pleural effusion")])
def test_findings_of_another_public_data_set_are_mapped_by_their_meaning(home, data, network, dataset, finding):
    from cxr_kd.training import published_teacher
    from cxr_kd.training.distributed import Processes

    frame = data.table.frame.drop(columns=[each for each in data.table.findings if each != "Effusion"])
    frame = frame.rename(columns={"Effusion": finding})
    boxes = data.table.boxes.iloc[:0]
    table = replace(data.table, dataset=dataset, frame=frame, findings=(finding,), boxes=boxes, masks=None)
    study = study_of(home, f"file: {FILE}, layout: torchxrayvision, trained_on: [openi]")
    job = Job(study, runs_of(study)[0], replace(data, table=table), Processes.here())
    loaded, _ = published_teacher.load(job)
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        expected = network((2 * images - 1) * 1024)[:, [7]]
        torch.testing.assert_close(loaded(images), expected, atol=1e-4, rtol=1e-4)

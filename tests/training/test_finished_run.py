"""A finished run is noticed as such, and so is any file of it that has changed; an interrupted one resumes."""

import json
import math
import resource
import shutil
from operator import attrgetter

import pytest
from tiny_study import ALONE, tiny_study

from cxr_kd.errors import CxrKdError, ModelError, TrainingError
from cxr_kd.files import read_json, write_json
from cxr_kd.training import run as training_run
from cxr_kd.training.finished_run import RUN_FILES, is_done, load_run
from cxr_kd.training.run import train
from cxr_kd.training.run_card import RunCard, read_card


@pytest.fixture(scope="module")
def study(home):
    return tiny_study(home, ALONE)


@pytest.fixture(scope="module")
def run(study):
    return next(run for run in study.all_runs if run.role == "student alone")


@pytest.fixture(scope="module")
def finished(study, run, data):
    return train(study, run, data)


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run's folder, to be damaged."""
    folder = tmp_path / finished.name
    shutil.copytree(finished, folder)
    return folder


def test_a_finished_run_names_its_files_and_leaves_nothing_else(finished):
    assert set(read_card(finished).files) == set(RUN_FILES)
    assert {path.name for path in finished.iterdir()} - {".lock"} == {"card.json", *RUN_FILES}


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_flipped_byte_in_a_finished_run_is_noticed(copy, name):
    identity = read_card(copy).settings_sha256
    assert is_done(copy, identity)
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(TrainingError, match=rf"{name} has changed since the run was finished .*: remove the folder"):
        is_done(copy, identity)


def test_a_network_with_changed_weights_is_not_loaded_or_trained_over(study, run, data, finished):
    path = finished / "model.safetensors"
    content = path.read_bytes()
    try:
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        for use in (load_run, train):
            with pytest.raises(TrainingError, match=r"model.safetensors has changed .*the run is trained again"):
                use(study, run, data)
    finally:
        path.write_bytes(content)
    load_run(study, run, data)


@pytest.mark.parametrize("name", RUN_FILES)
def test_a_run_without_one_of_its_files_is_not_finished(copy, name):
    (copy / name).unlink()
    assert not is_done(copy, read_card(copy).settings_sha256)


def card_without(key):
    return lambda card: {name: value for name, value in card.items() if name != key}


ODD_CARDS = {
    "empty": lambda _: "",
    "garbage": lambda _: "\x00\xff{",
    "deep": lambda _: "[" * 100_000,
    "a list": lambda _: "[]",
    "a number": lambda _: "3",
    "null": lambda _: "null",
    "truncated": lambda card: json.dumps(card)[:-10],
    **{f"no {key}": (lambda card, key=key: json.dumps(card_without(key)(card))) for key in ("files", "seconds")},
    "files of numbers": lambda card: json.dumps({**card, "files": {"history.csv": 3}}),
    "an AUROC of text": lambda card: json.dumps({**card, "validation_auroc": "0.5"}),
    "an identity of null": lambda card: json.dumps({**card, "settings_sha256": None}),
}


@pytest.mark.parametrize("kind", ODD_CARDS)
def test_an_odd_card_is_not_finished_and_says_why(copy, capsys, kind):
    card = read_json(copy / "card.json")
    (copy / "card.json").write_text(ODD_CARDS[kind](card), encoding="latin-1")
    assert not is_done(copy, card["settings_sha256"])
    printed = capsys.readouterr().out
    assert str(copy / "card.json") in printed
    assert "the run counts as not finished" in printed


def test_every_key_of_a_card_is_needed(finished, tmp_path):
    card = read_json(finished / "card.json")
    assert set(card) == set(RunCard.model_fields)
    for key in card:
        (tmp_path / "card.json").write_text(json.dumps(card_without(key)(card)))
        with pytest.raises(TrainingError, match=rf"card.json is damaged \({key}: .*\): train this run again"):
            read_card(tmp_path)


def test_a_card_whose_auroc_is_not_defined_is_read(copy):
    card = read_json(copy / "card.json")
    write_json(copy / "card.json", {**card, "validation_auroc": math.nan})
    assert math.isnan(read_card(copy).validation_auroc)
    assert is_done(copy, card["settings_sha256"])


def test_a_run_that_is_not_finished_is_not_loaded(study, data):
    with pytest.raises(TrainingError, match=r"has no card.json: this run is not finished; train it first"):
        load_run(study, study.teacher_run("resnet18", 3), data)


def test_a_misspelt_network_leaves_no_folder(study, data):
    with pytest.raises(ModelError, match="no network is called 'resnet_18'"):
        train(study, study.teacher_run("resnet_18", 0), data)
    with pytest.raises(ModelError, match="no network is called 'eeea_net_c3'"):
        train(study, study.student_run("eeea_net_c3", "alone", 0), data)
    with pytest.raises(ModelError, match="no network is called 'densnet121'"):
        train(study, study.student_run("eeea_net_c2", "densnet121", 0), data)
    assert not [path for path in study.runs_folder.iterdir() if path.name.startswith(("resnet_18", "eeea_net_c3"))]
    assert not list(study.runs_folder.glob("*densnet121*"))


@pytest.mark.parametrize("step", ["write_csv", "weights.save", "predictions_of", "write_json"])
def test_a_run_that_the_disk_has_no_room_for_resumes_without_training_again(data, tmp_path, monkeypatch, step):
    study = tiny_study(tmp_path, ALONE)
    run = next(run for run in study.all_runs if run.role == "student alone")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    original = attrgetter(step)(training_run)

    def fill_up_first(*arguments):
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # writes beyond 10 bytes of a file fail
        return original(*arguments)

    with monkeypatch.context() as patches:
        patches.setattr(f"cxr_kd.training.run.{step}", fill_up_first)
        try:
            with pytest.raises(CxrKdError, match=r"cannot write .*File too large.*: make room"):
                train(study, run, data)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    folder = study.run_folder(run)
    assert not (folder / "card.json").exists()
    assert (folder / "resume.safetensors").exists()
    monkeypatch.setattr("cxr_kd.training.fit._epoch", lambda *_: pytest.fail("an epoch was trained again"))
    train(study, run, data)
    assert {path.name for path in folder.iterdir()} - {".lock"} == {"card.json", *RUN_FILES}


def test_what_an_interruption_left_is_removed_at_the_next_start(study, run, data, finished):
    for name in ("resume.safetensors", "resume-best.safetensors", "resume.safetensors.damaged", "not-finite.json"):
        (finished / name).write_bytes(b"left over")
    train(study, run, data)
    assert {path.name for path in finished.iterdir()} - {".lock"} == {"card.json", *RUN_FILES}

"""Checkpoints: an interrupted training resumes with the same bits; damaged files and full disks lose nothing else."""

import json
import math
import resource
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from small_training import TRAINING, batches_of, network, train, weights_of

from cxr_kd.distill.objective import Objective
from cxr_kd.errors import StorageError, TrainingError
from cxr_kd.training import checkpoint_file
from cxr_kd.training.checkpoint import Checkpoint, Progress
from cxr_kd.training.train_step import TrainStep

SHORT = TRAINING.model_copy(update={"epochs": 2})
FILES = ("resume.safetensors", "resume-best.safetensors")


def stop_in(epoch, error=KeyboardInterrupt):
    """Return a validation that raises `error` in this epoch (1, 2, ...)."""
    epochs = iter(range(1, 100))

    def validate(_):
        if next(epochs) == epoch:
            raise error
        return 0.5

    return validate


@contextmanager
def file_size_limit(most: int):
    """Make every write beyond this many bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="module")
def undisturbed(cache, table, tmp_path_factory):
    """The weights after `SHORT`, trained without an interruption."""
    model = network()
    train(model, batches_of(cache, table), tmp_path_factory.mktemp("undisturbed") / FILES[0], training=SHORT)
    return weights_of(model)


@pytest.fixture(scope="module")
def stopped(cache, table, tmp_path_factory) -> Path:
    """A folder with the checkpoint of a training that was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        train(network(), batches_of(cache, table), folder / FILES[0], training=SHORT, validate=stop_in(2))
    return folder


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_ctrl_c_leaves_a_checkpoint_that_is_resumed_with_the_same_bits(cache, table, stopped, undisturbed, tmp_path):
    assert sorted(path.name for path in stopped.iterdir()) == sorted(FILES)
    shutil.copytree(stopped, tmp_path / "run")
    model, epochs = network(), []
    history = train(model, batches_of(cache, table), tmp_path / "run" / FILES[0], training=SHORT,
                    validate=lambda _: epochs.append(0) or 0.5)  # fmt: skip
    assert len(epochs) == 1
    assert [row["epoch"] for row in history] == [1, 2]
    assert same(weights_of(model), undisturbed)


def test_a_checkpoint_of_other_settings_is_not_resumed(cache, table, stopped, tmp_path):
    shutil.copytree(stopped, tmp_path / "run")
    epochs = []
    train(network(), batches_of(cache, table), tmp_path / "run" / FILES[0], training=SHORT, identity="others",
          validate=lambda _: epochs.append(0) or 0.5)  # fmt: skip
    assert len(epochs) == SHORT.epochs


def rewrite(path, change_tensors=lambda tensors: tensors, change_content=lambda content: content):
    """Write a checkpoint anew with other tensors or another text, and the SHA-256 that fits them."""
    tensors, content = checkpoint_file.read(path)
    checkpoint_file.write(path, change_tensors(tensors), change_content(content), "a test")


def with_nan(tensors):
    name = next(name for name in tensors if name.endswith("head.output.weight"))
    return {**tensors, name: torch.full_like(tensors[name], math.nan)}


def in_json(**changes):
    return lambda content: json.dumps({**json.loads(content), **changes})


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1000]),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 100),
    "a huge header": lambda path: path.write_bytes(b"\xff" * 7 + b"\x7f" + path.read_bytes()[8:]),
    "no metadata": lambda path: save_file(load_file(path), path),
    "another network": lambda path: rewrite(path, lambda _: {"model.weight": torch.zeros(3)}),
    "a missing tensor": lambda path: rewrite(path, lambda tensors: dict(list(tensors.items())[1:])),
    "other shapes": lambda path: rewrite(path, lambda tensors: {n: t.unsqueeze(0) for n, t in tensors.items()}),
    "other types": lambda path: rewrite(path, lambda tensors: {n: t.half() for n, t in tensors.items()}),
    "NaN": lambda path: rewrite(path, with_nan),
}
DAMAGED_PROGRESS = {
    "a text that is not JSON": lambda _: "[" * 100_000,
    "a list": lambda _: "[]",
    "a history of text": in_json(history="none"),
    "rows without scores": in_json(history=[{"epoch": 1}]),
    "a score of text": in_json(best_score="0.5"),
    "a row of text": in_json(history=[{"validation_auroc": "0.5", "seconds": 1.0}]),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files_are_set_aside_and_training_starts_anew(stopped, tmp_path, capsys, kind, name):
    check_set_aside(stopped, tmp_path, capsys, lambda folder: DAMAGE[kind](folder / name), name)


@pytest.mark.parametrize("kind", DAMAGED_PROGRESS)
def test_a_checkpoint_with_damaged_progress_is_set_aside(stopped, tmp_path, capsys, kind):
    change = DAMAGED_PROGRESS[kind]
    check_set_aside(stopped, tmp_path, capsys, lambda folder: rewrite(folder / FILES[0], change_content=change))


def test_a_checkpoint_without_its_best_weights_is_set_aside(stopped, tmp_path, capsys):
    check_set_aside(stopped, tmp_path, capsys, lambda folder: (folder / FILES[1]).unlink(), FILES[1])


def checkpoint_in(folder: Path) -> Checkpoint:
    return Checkpoint(folder / FILES[0], "these settings", TrainStep(network(), Objective({"focal_bce": 1.0}), SHORT))


def check_set_aside(stopped, tmp_path, capsys, damage, name=FILES[0]):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    damage(folder)
    content = {path.name: path.read_bytes() for path in folder.iterdir()}
    checkpoint = checkpoint_in(folder)
    with pytest.raises(TrainingError, match=name):
        checkpoint.restore()
    before = weights_of(checkpoint.learner.model)
    checkpoint.set_aside_if_damaged()
    printed = capsys.readouterr().out
    assert str(folder / name) in printed
    assert printed.endswith("training starts from the first epoch\n")
    assert {path.name.removesuffix(".damaged"): path.read_bytes() for path in folder.iterdir()} == content
    assert all(path.name.endswith(".damaged") for path in folder.iterdir())
    assert checkpoint.restore() == Progress()
    assert same(weights_of(checkpoint.learner.model), before)


def test_training_after_damage_ends_with_the_same_bits(cache, table, stopped, undisturbed, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    DAMAGE["truncated"](folder / FILES[0])
    model = network()
    train(model, batches_of(cache, table), folder / FILES[0], training=SHORT)
    assert same(weights_of(model), undisturbed)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_byte_or_cut_goes_unnoticed(tmp_path, data):
    path = tmp_path / "tensors.safetensors"
    tensors = {"weight": torch.arange(12.0).view(3, 4), "count": torch.tensor(7), "mask": torch.tensor([True, False])}
    checkpoint_file.write(path, tensors, '{"history": []}', "a test")
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans(), label="cut"):
        changed = content[:place]
    else:
        changed = content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
    path.write_bytes(changed)
    with suppress(TrainingError):  # what is read although bytes have changed must be what was written
        read, text = checkpoint_file.read(path)
        assert same(read, tensors)
        assert text == '{"history": []}'


def test_a_disk_that_fills_up_leaves_the_checkpoint_before(cache, table, stopped, undisturbed, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with (
        file_size_limit(100_000),
        pytest.raises(StorageError, match=r"cannot write .* to .*File too large.*: make room, then run the same"),
    ):
        train(network(), batches_of(cache, table), folder / FILES[0], training=SHORT)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    model = network()
    train(model, batches_of(cache, table), folder / FILES[0], training=SHORT)
    assert same(weights_of(model), undisturbed)


def test_room_is_checked_before_a_checkpoint_is_written(cache, table, stopped, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    free = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    with pytest.raises(StorageError, match=r"the best weights so far needs \d+\.\d MB more and 0\.0 MB are free"):
        train(network(), batches_of(cache, table), folder / FILES[0], training=SHORT)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

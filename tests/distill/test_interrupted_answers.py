"""Answers survive `kill -9` and a full disk, and are computed again if their files are damaged."""

import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_answers import NEEDS, VIEWS, batches_in, count_forward_passes, network

from cxr_kd.distill.compute_answers import compute_answers
from cxr_kd.distill.stored_answers import StoredAnswers, answers_summary, find_answers
from cxr_kd.errors import StorageError, TeacherError
from cxr_kd.files import read_json


@pytest.fixture(scope="module")
def answered(batches, tmp_path_factory) -> Path:
    """A teacher's folder with answers under `key`."""
    folder = tmp_path_factory.mktemp("answered")
    compute_answers(network(3), batches, folder, "key", needs={"evidence"})
    return folder


def test_killed_after_the_last_answer_nothing_is_computed_again(batches, tmp_path):
    compute_answers(network(1), batches, tmp_path, "old")
    old = tmp_path / "answers"
    old.rename(tmp_path / "aside")
    model = network(2)
    sizes = count_forward_passes(model)
    compute_answers(model, batches, tmp_path, "new")
    computed = sum(sizes)
    old.rename(tmp_path / "answers.new")  # the state if the process dies before the last two steps of `compute_answers`
    (tmp_path / "aside").rename(old)
    compute_answers(model, batches, tmp_path, "new")
    assert sum(sizes) == computed
    assert find_answers(tmp_path, "new")
    assert not find_answers(tmp_path, "old")


def test_answers_are_not_started_without_room_on_the_disk(batches, tmp_path):
    with pytest.raises(
        StorageError, match=r"teacher_views\) needs 1920000\.0 GB more and \d+\.\d+ .B are free: make room"
    ):
        compute_answers(network(), batches_in(tmp_path, views=10**13), tmp_path, "key")


def test_answers_survive_a_disk_that_fills_up_on_the_way(batches, tmp_path):
    model, needs = network(3), {"evidence"}
    sizes = count_forward_passes(model)
    compute_answers(network(1), batches, tmp_path, "old")

    def fill_up(*_):
        if len(sizes) == 5:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))

    soft, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    hook = model.backbone.register_forward_hook(fill_up)
    try:
        with pytest.raises(StorageError, match=r"cannot write to .*File too large.*run the same command again"):
            compute_answers(model, batches, tmp_path, "key", needs=needs)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, most))
        hook.remove()
    assert find_answers(tmp_path, "old")
    compute_answers(model, batches, tmp_path, "key", needs=needs)
    assert len(sizes) == VIEWS * len(batches) + 1  # only the batch that could not be written is computed twice
    assert find_answers(tmp_path, "key", needs)


def damage(path: Path, kind: str) -> None:
    """Damage a file: `gone`, `empty`, `truncated`, `garbage`, or with its first byte flipped."""
    content = path.read_bytes()
    path.unlink()
    changed = {"empty": b"", "truncated": content[: len(content) // 2], "garbage": bytes(range(256)) * 8}
    changed["flipped"] = bytes([content[0] ^ 1]) + content[1:]
    if kind != "gone":
        path.write_bytes(changed[kind])


@pytest.mark.parametrize("kind", ["gone", "empty", "truncated", "garbage", "flipped"])
@pytest.mark.parametrize("name", ["record.json", "logits.npy", "evidence.npy"])
def test_damaged_answers_are_computed_again(tmp_path, answered, kind, name):
    folder = tmp_path / "teacher"
    shutil.copytree(answered, folder)
    damage(folder / "answers" / name, kind)
    assert find_answers(folder, "key", {"evidence"}) is None
    if name == "record.json":
        with pytest.raises(TeacherError, match=r"no answers are stored"):
            answers_summary(folder)
    else:
        with pytest.raises(TeacherError, match=rf"{name} is missing or damaged .*: remove the folder .*computed again"):
            StoredAnswers(folder, {"evidence"})


@pytest.mark.parametrize(
    "content", ["[]", "null", '{"key": "key"}', '{"key": "key", "parts": 3}', "[" * 100_000, '"key"', "\xff\xfe"]
)
def test_an_odd_record_counts_as_none(tmp_path, content):
    (tmp_path / "answers").mkdir()
    (tmp_path / "answers" / "record.json").write_text(content, encoding="latin-1")
    assert find_answers(tmp_path, "key") is None


def test_files_that_hold_no_answers_are_refused(tmp_path, answered):
    folder = tmp_path / "teacher"
    shutil.copytree(answered, folder)
    np.save(folder / "answers" / "logits.npy", np.zeros((2, 3)))
    with pytest.raises(TeacherError, match=r"logits.npy holds float64 of shape \(2, 3\), not float16 answers"):
        StoredAnswers(folder)


def compute_in(folder: Path) -> None:
    """Compute answers in small batches (called in a subprocess, which is killed on the way)."""
    torch.set_num_threads(1)
    compute_answers(network(3), batches_in(folder, batch_size=2), folder, "key", needs=NEEDS)


def test_killed_on_the_way_it_resumes_and_ends_with_the_same_bits(tmp_path):
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "data")]
    program = f"import sys; sys.path[:0] = {places}; from pathlib import Path; import test_interrupted_answers as t"
    process = subprocess.Popen([sys.executable, "-c", f"{program}; t.compute_in(Path(sys.argv[1]))", str(disturbed)])
    record = disturbed / "answers.new" / "record.json"
    while process.poll() is None and not (record.is_file() and read_json(record)["batches_done"] > 24):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = read_json(record)["batches_done"]
    assert done > 24  # in the second view
    assert find_answers(disturbed, "key") is None

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = network(3)
        sizes = count_forward_passes(model)
        compute_answers(model, batches_in(disturbed, batch_size=2), disturbed, "key", needs=NEEDS)
        compute_in(undisturbed)
    finally:
        torch.set_num_threads(threads)
    assert len(sizes) == 3 * 24 - done
    for part in ("logits", "evidence", "attention"):
        first, second = (np.load(folder / "answers" / f"{part}.npy") for folder in (disturbed, undisturbed))
        assert first.any()
        assert np.array_equal(first, second)

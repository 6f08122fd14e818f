"""Stored answers equal a live teacher's, survive `kill -9`, and are computed again when they must be."""

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
from squares import FINDINGS, squares

from cxr_kd.data.cache import build_cache
from cxr_kd.data.loader import Batches
from cxr_kd.data.splits import Split
from cxr_kd.distill.answer_source import LiveTeacher, TeacherEnsemble, check_training_images
from cxr_kd.distill.compute_answers import compute_answers
from cxr_kd.distill.stored_answers import StoredAnswers, answers_summary, find_answers
from cxr_kd.errors import StorageError, TeacherError
from cxr_kd.files import read_json
from cxr_kd.models.build import build
from cxr_kd.study.settings import Augmentation

AUGMENTATION = Augmentation(rotate_degrees=5, translate=0.05, scale=0.05, brightness=0.05, contrast=0.1)
NEEDS = frozenset({"evidence", "attention"})
VIEWS = 3


def network(seed=0):
    torch.manual_seed(seed)
    return build("eeea_net_c2", FINDINGS, image_size=64).eval()


def batches_in(folder: Path, batch_size=16, views=VIEWS) -> Batches:
    table = squares(folder, side=64)
    cache = build_cache(table, folder / "cache", 64, progress=False)
    settings = {"batch_size": batch_size, "seed": 1, "augment": AUGMENTATION, "shuffle": True, "views": views}
    return Batches(cache, table, list(table.frame["image_id"]), **settings)


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    return batches_in(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def answered(batches, tmp_path_factory) -> Path:
    """A teacher's folder with answers under `key`."""
    folder = tmp_path_factory.mktemp("answered")
    compute_answers(network(3), batches, folder, "key", needs={"evidence"})
    return folder


def count_forward_passes(model) -> list[int]:
    """Return a list that gets the size of every batch that the network sees from now on."""
    sizes: list[int] = []
    model.backbone.register_forward_hook(lambda _, images, __: sizes.append(len(images[0])))
    return sizes


def test_stored_answers_equal_those_of_the_live_teacher_for_the_same_pixels(batches, tmp_path):
    model = network(3)
    stored, live = compute_answers(model, batches, tmp_path, "key", needs=NEEDS), LiveTeacher(model, NEEDS)
    for epoch in range(2 * VIEWS):
        for batch in batches.epoch(epoch):
            found, expected = stored.of(batch), live.of(batch)
            assert {found.logits.dtype, found.evidence.dtype, found.attention.dtype} == {torch.float16}
            for part in ("logits", "evidence", "attention"):
                # Half a unit in float16's last place. Later epochs have other batches, which round differently.
                torch.testing.assert_close(
                    getattr(found, part).float(), getattr(expected, part), rtol=2**-10, atol=1e-5, msg=part
                )


def test_no_teacher_is_trained(batches, tmp_path):
    model = network().train()
    compute_answers(model, batches, tmp_path, "key")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    live = network().train()
    assert not LiveTeacher(live).of(next(batches.epoch(0))).logits.requires_grad
    assert not live.training


def test_stored_answers_are_not_computed_again_and_missing_ones_are(batches, tmp_path):
    model = network()
    sizes = count_forward_passes(model)
    compute_answers(model, batches, tmp_path, "key", needs=NEEDS)
    once = sum(sizes)
    assert once == VIEWS * len(batches.image_ids)
    compute_answers(model, batches, tmp_path, "key")  # fewer outputs are a part of what is stored
    assert sum(sizes) == once
    compute_answers(model, batches, tmp_path, "another key")
    assert sum(sizes) == 2 * once
    assert find_answers(tmp_path, "key") is None
    assert find_answers(tmp_path, "another key", NEEDS) is None
    compute_answers(model, batches, tmp_path, "another key", needs=NEEDS)
    assert sum(sizes) == 3 * once


def test_old_answers_stay_until_the_new_ones_are_complete(batches, tmp_path):
    compute_answers(network(1), batches, tmp_path, "old")
    broken = network(2)
    with torch.no_grad():
        broken.head.output.bias.fill_(1e6)
    with pytest.raises(TeacherError, match=r"logits for image \d{3} reach 1e\+06, .* ends at 65504"):
        compute_answers(broken, batches, tmp_path, "new")
    batch = next(batches.epoch(0))
    old = find_answers(tmp_path, "old").of(batch)
    compute_answers(network(2), batches, tmp_path, "new")
    assert not torch.equal(StoredAnswers(tmp_path).of(batch).logits, old.logits)
    assert [path.name for path in tmp_path.iterdir()] == ["answers"]


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


def test_an_ensemble_gives_the_mean_of_its_teachers(batches, tmp_path):
    models = [network(seed) for seed in (1, 2)]
    teachers = [compute_answers(models[0], batches, tmp_path, "first", needs=NEEDS), LiveTeacher(models[1], NEEDS)]
    batch = next(batches.epoch(0))
    mean_answers = TeacherEnsemble(teachers).of(batch)
    with torch.no_grad():
        mean = (models[0](batch.images) + models[1](batch.images)) / 2
    torch.testing.assert_close(mean_answers.logits, mean, rtol=2e-3, atol=2e-3)
    assert mean_answers.evidence.shape == (16, 2, 2, 2)


def test_nan_is_not_stored(batches, tmp_path):
    model = network()
    with torch.no_grad():
        model.head.output.bias[1] = torch.nan
    with pytest.raises(TeacherError, match=r"reach nan"):
        compute_answers(model, batches, tmp_path, "key")


def test_a_view_that_is_not_stored_is_refused(batches, tmp_path):
    answers = compute_answers(network(), batches, tmp_path, "key")
    unlimited = next(batches_in(tmp_path, views=0).epoch(VIEWS))
    with pytest.raises(TeacherError, match=r"views 0 to 2, not 3: make the batches with views=3"):
        answers.of(unlimited)
    with pytest.raises(ValueError, match="views > 0"):
        compute_answers(network(), batches_in(tmp_path, views=0), tmp_path, "other")
    with pytest.raises(ValueError, match="LiveTeacher"):
        compute_answers(network(), batches, tmp_path, "other", needs={"features"})


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


def test_a_student_is_not_distilled_on_images_that_it_is_scored_on():
    split = Split("mine", train=("a", "b"), validation=("c",), test=("d",))
    check_training_images(["b", "a"], split)
    with pytest.raises(
        TeacherError, match=r"2 images to distil on, e.g. c, are on the validation side of the split 'mine'"
    ):
        check_training_images(["a", "d", "c"], split)
    with pytest.raises(TeacherError, match="are on no side of the split"):
        check_training_images(["e"], split)


def compute_in(folder: Path) -> None:
    """Compute answers in small batches (called in a subprocess, which is killed on the way)."""
    torch.set_num_threads(1)
    compute_answers(network(3), batches_in(folder, batch_size=2), folder, "key", needs=NEEDS)


def test_killed_on_the_way_it_resumes_and_ends_with_the_same_bits(tmp_path):
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "data")]
    program = f"import sys; sys.path[:0] = {places}; from pathlib import Path; import test_answers as t; t.compute_in"
    process = subprocess.Popen([sys.executable, "-c", f"{program}(Path(sys.argv[1]))", str(disturbed)])
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

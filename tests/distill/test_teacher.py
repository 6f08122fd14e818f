"""Kept answers are what a live teacher says, survive `kill -9`, and are asked again when it must be."""

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
from cxr_kd.distill.teacher import Answers, LiveTeacher, TeacherEnsemble, ask, kept, only_training_images
from cxr_kd.errors import TeacherError
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


def forwards(model) -> list[int]:
    """The size of every batch that the network sees from now on."""
    seen: list[int] = []
    model.backbone.register_forward_hook(lambda _, images, __: seen.append(len(images[0])))
    return seen


def test_kept_answers_are_what_the_live_teacher_says_of_the_same_pixels(batches, tmp_path):
    model = network(3)
    kept_answers, live = ask(model, batches, tmp_path, "key", needs=NEEDS), LiveTeacher(model, NEEDS)
    for epoch in range(2 * VIEWS):
        for batch in batches.epoch(epoch):
            said, saying = kept_answers.of(batch), live.of(batch)
            assert {said.logits.dtype, said.evidence.dtype, said.attention.dtype} == {torch.float16}
            for part in ("logits", "evidence", "attention"):
                # Half of float16's last place; the batches of a later epoch are others, and round a little otherwise.
                torch.testing.assert_close(
                    getattr(said, part).float(), getattr(saying, part), rtol=2**-10, atol=1e-5, msg=part
                )


def test_neither_teacher_can_learn(batches, tmp_path):
    model = network().train()
    ask(model, batches, tmp_path, "key")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    live = network().train()
    assert not LiveTeacher(live).of(next(batches.epoch(0))).logits.requires_grad
    assert not live.training


def test_what_is_kept_is_not_asked_again_and_what_is_missing_is(batches, tmp_path):
    model = network()
    seen = forwards(model)
    ask(model, batches, tmp_path, "key", needs=NEEDS)
    once = sum(seen)
    assert once == VIEWS * len(batches.image_ids)
    ask(model, batches, tmp_path, "key")  # less is there, too
    assert sum(seen) == once
    ask(model, batches, tmp_path, "another key")
    assert sum(seen) == 2 * once
    assert kept(tmp_path, "key") is None
    assert kept(tmp_path, "another key", NEEDS) is None
    ask(model, batches, tmp_path, "another key", needs=NEEDS)
    assert sum(seen) == 3 * once


def test_old_answers_stay_until_the_new_ones_are_complete(batches, tmp_path):
    ask(network(1), batches, tmp_path, "old")
    broken = network(2)
    with torch.no_grad():
        broken.head.output.bias.fill_(1e6)
    with pytest.raises(TeacherError, match=r"logits of image \d{3} reach 1e\+06, .* ends at 65504"):
        ask(broken, batches, tmp_path, "new")
    batch = next(batches.epoch(0))
    old = kept(tmp_path, "old").of(batch)
    ask(network(2), batches, tmp_path, "new")
    assert not torch.equal(Answers(tmp_path).of(batch).logits, old.logits)
    assert [path.name for path in tmp_path.iterdir()] == ["answers"]


def test_killed_between_the_last_answer_and_the_end_nothing_is_asked_again(batches, tmp_path):
    ask(network(1), batches, tmp_path, "old")
    old = tmp_path / "answers"
    old.rename(tmp_path / "aside")
    model = network(2)
    seen = forwards(model)
    ask(model, batches, tmp_path, "new")
    asked = sum(seen)
    old.rename(tmp_path / "answers.new")  # as it lies when the process dies before the last two lines of `ask`
    (tmp_path / "aside").rename(old)
    ask(model, batches, tmp_path, "new")
    assert sum(seen) == asked
    assert kept(tmp_path, "new")
    assert not kept(tmp_path, "old")


def test_teachers_answer_together(batches, tmp_path):
    models = [network(seed) for seed in (1, 2)]
    teachers = [ask(models[0], batches, tmp_path, "first", needs=NEEDS), LiveTeacher(models[1], NEEDS)]
    batch = next(batches.epoch(0))
    said = TeacherEnsemble(teachers).of(batch)
    with torch.no_grad():
        mean = (models[0](batch.images) + models[1](batch.images)) / 2
    torch.testing.assert_close(said.logits, mean, rtol=2e-3, atol=2e-3)
    assert said.evidence.shape == (16, 2, 2, 2)


def test_what_is_not_a_number_is_not_kept(batches, tmp_path):
    model = network()
    with torch.no_grad():
        model.head.output.bias[1] = torch.nan
    with pytest.raises(TeacherError, match=r"reach nan"):
        ask(model, batches, tmp_path, "key")


def test_a_view_that_was_not_asked_is_refused(batches, tmp_path):
    answers = ask(network(), batches, tmp_path, "key")
    unlimited = next(batches_in(tmp_path, views=0).epoch(VIEWS))
    with pytest.raises(TeacherError, match=r"views 0 to 2, not 3: give the batches views=3"):
        answers.of(unlimited)
    with pytest.raises(ValueError, match="views > 0"):
        ask(network(), batches_in(tmp_path, views=0), tmp_path, "other")
    with pytest.raises(ValueError, match="LiveTeacher"):
        ask(network(), batches, tmp_path, "other", needs={"features"})


def test_answers_that_the_disk_has_no_room_for_are_not_begun(batches, tmp_path):
    with pytest.raises(TeacherError, match=r"need 1920000\.00 GB, \d+\.\d+ GB are free; make room"):
        ask(network(), batches_in(tmp_path, views=10**13), tmp_path, "key")


def test_images_that_a_student_is_scored_on_are_not_distilled_on():
    split = Split("mine", train=("a", "b"), validation=("c",), test=("d",))
    only_training_images(["b", "a"], split)
    with pytest.raises(TeacherError, match=r"2 of the images.* c, .*'mine' but on its validation"):
        only_training_images(["a", "d", "c"], split)
    with pytest.raises(TeacherError, match="outside"):
        only_training_images(["e"], split)


def asked_in(folder: Path) -> None:
    """Ask a teacher in small batches (called in a subprocess, which is killed on the way)."""
    torch.set_num_threads(1)
    ask(network(3), batches_in(folder, batch_size=2), folder, "key", needs=NEEDS)


def test_killed_while_asking_it_goes_on_and_ends_with_the_same_bits(tmp_path):
    disturbed, undisturbed = tmp_path / "disturbed", tmp_path / "undisturbed"
    places = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "data")]
    program = f"import sys; sys.path[:0] = {places}; from pathlib import Path; import test_teacher as t; t.asked_in"
    process = subprocess.Popen([sys.executable, "-c", f"{program}(Path(sys.argv[1]))", str(disturbed)])
    record = disturbed / "answers.new" / "record.json"
    while process.poll() is None and not (record.is_file() and read_json(record)["batches_done"] > 24):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    done = read_json(record)["batches_done"]
    assert done > 24  # in the second view
    assert kept(disturbed, "key") is None

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = network(3)
        seen = forwards(model)
        ask(model, batches_in(disturbed, batch_size=2), disturbed, "key", needs=NEEDS)
        asked_in(undisturbed)
    finally:
        torch.set_num_threads(threads)
    assert len(seen) == 3 * 24 - done
    for part in ("logits", "evidence", "attention"):
        first, second = (np.load(folder / "answers" / f"{part}.npy") for folder in (disturbed, undisturbed))
        assert first.any()
        assert np.array_equal(first, second)

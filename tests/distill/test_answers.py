"""Stored answers equal those of the live teacher, and are computed again only when they must be."""

import pytest
import torch
from small_answers import NEEDS, VIEWS, batches_in, count_forward_passes, network

from cxr_kd.data.splits import Split
from cxr_kd.distill.answer_source import LiveTeacher, TeacherEnsemble, check_training_images
from cxr_kd.distill.compute_answers import compute_answers
from cxr_kd.distill.stored_answers import StoredAnswers, find_answers
from cxr_kd.errors import TeacherError


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


def test_a_student_is_not_distilled_on_images_that_it_is_scored_on():
    split = Split("mine", train=("a", "b"), validation=("c",), test=("d",))
    check_training_images(["b", "a"], split)
    with pytest.raises(
        TeacherError, match=r"2 images to distil on, e.g. c, are on the validation side of the split 'mine'"
    ):
        check_training_images(["a", "d", "c"], split)
    with pytest.raises(TeacherError, match="are on no side of the split"):
        check_training_images(["e"], split)

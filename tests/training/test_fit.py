"""The loop learns, stops where it must, and goes on after `kill -9` with the weights it would have had."""

import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from cxr_kd.data.cache import build_cache
from cxr_kd.data.loader import Batches
from cxr_kd.distill.objective import Objective
from cxr_kd.distill.teacher import ask
from cxr_kd.models import registry
from cxr_kd.settings import Augmentation, Training
from cxr_kd.training.fit import TrainingError, fit, schedule

FINDINGS = ("Bright", "Left")
TRAINING = Training(epochs=4, batch_size=16, learning_rate=2e-3)
AUGMENTATION = Augmentation(rotate_degrees=5, translate=0.05, scale=0.05, brightness=0.05, contrast=0.1)


def batches_of(cache, table, **settings):
    image_ids = list(table.frame["image_id"])
    return Batches(cache, table, image_ids, batch_size=16, seed=1, augment=AUGMENTATION, shuffle=True, **settings)


def network(seed=0):
    torch.manual_seed(seed)
    return registry.build("eeea_net_c2", FINDINGS, image_size=32)


def train(model, batches, resume, *, validate=None, training=TRAINING, belongs_to="these settings", **more):
    objective = {"logit_mse": 1.0} if "answers" in more else {"focal_bce": 1.0}
    return fit(
        model,
        batches,
        Objective(objective),
        training,
        validate or (lambda _: 0.5),
        name="test",
        seed=0,
        resume=resume,
        belongs_to=belongs_to,
        **more,
    )


def test_training_lowers_the_loss(cache, table, tmp_path):
    longer = Training(epochs=12, batch_size=16, learning_rate=5e-4)
    history = train(network(), batches_of(cache, table), tmp_path / "resume.safetensors", training=longer)
    losses = [row["loss"] for row in history]
    # Batch normalisation over 16 images of one cell each is noisy: the last third against the first.
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert [row["epoch"] for row in history] == list(range(1, 13))


def test_the_best_weights_by_validation_are_kept(cache, table, tmp_path):
    seen, scores = [], iter([0.5, 0.9, 0.7, math.nan])

    def validate(model):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return next(scores)

    model = network()
    train(model, batches_of(cache, table), tmp_path / "resume.safetensors", validate=validate)
    assert all(torch.equal(tensor, seen[1][name]) for name, tensor in model.state_dict().items())
    assert any(not torch.equal(tensor, seen[2][name]) for name, tensor in model.state_dict().items())


def test_a_loss_that_is_not_a_number_stops_and_names_the_images(cache, table, tmp_path):
    model = network()
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 1.*\d{3}, \d{3}"):
        train(model, batches_of(cache, table), tmp_path / "resume.safetensors")


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(cache, table, tmp_path):
    resume, calls = tmp_path / "resume.safetensors", []
    train(network(), batches_of(cache, table), resume)
    train(network(), batches_of(cache, table), resume, belongs_to="others", validate=lambda _: calls.append(0) or 0.5)
    assert len(calls) == TRAINING.epochs


def killed_and_gone_on(folder: Path) -> None:
    """Train to the end, but die by SIGKILL after the second epoch of every process (called in a subprocess)."""
    sys.path.insert(0, str(Path(__file__).parent))
    from squares import squares

    torch.set_num_threads(1)
    table = squares(folder)
    cache, epochs = build_cache(table, folder / "cache", 32, progress=False), []

    def validate(_):
        epochs.append(0)
        if len(epochs) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return 0.5

    model = network()
    train(model, batches_of(cache, table), folder / "resume.safetensors", validate=validate)
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / "final.safetensors")


def test_training_killed_three_times_ends_bit_for_bit_as_undisturbed(tmp_path):
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); "
        f"from pathlib import Path; from test_fit import killed_and_gone_on; killed_and_gone_on(Path(sys.argv[1]))",
    ]
    ends = [subprocess.run([*command, str(tmp_path)], capture_output=True).returncode for _ in range(TRAINING.epochs)]
    # Each process trains two epochs and dies before the second is kept; the last has one left to do.
    assert ends == [-signal.SIGKILL] * (TRAINING.epochs - 1) + [0]

    sys.path.insert(0, str(Path(__file__).parent))
    from squares import squares

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        table, model = squares(tmp_path), network()
        cache = build_cache(table, tmp_path / "cache", 32, progress=False)
        train(model, batches_of(cache, table), tmp_path / "undisturbed.safetensors")
    finally:
        torch.set_num_threads(threads)
    final = load_file(tmp_path / "final.safetensors")
    assert all(torch.equal(tensor, final[name]) for name, tensor in model.state_dict().items())


def test_kept_answers_are_what_the_teacher_says_of_the_same_pixels(cache, table, tmp_path):
    teacher, batches = network(3).eval(), batches_of(cache, table, views=2)
    answers = ask(teacher, batches, tmp_path, "key")
    for epoch in (0, 1, 2, 3):
        for batch in batches.epoch(epoch):
            with torch.no_grad():
                torch.testing.assert_close(answers.of(batch), teacher(batch.images), rtol=2e-3, atol=2e-3)


def test_a_teacher_is_asked_again_only_under_another_key(cache, table, tmp_path):
    batches = batches_of(cache, table, views=1)
    first = ask(network(1), batches, tmp_path, "first").logits.copy()
    assert (ask(network(2), batches, tmp_path, "first").logits == first).all()
    assert (ask(network(2), batches, tmp_path, "second").logits != first).any()


def test_distillation_pulls_the_student_to_the_teacher(cache, table, tmp_path):
    batches, teacher = batches_of(cache, table, views=2), network(3)
    longer = Training(epochs=10, batch_size=16, learning_rate=1e-3)
    train(teacher, batches, tmp_path / "teacher.safetensors", training=longer)
    answers = ask(teacher, batches, tmp_path, "key")
    history = train(network(0), batches, tmp_path / "student.safetensors", training=longer, answers=answers)
    assert history[-1]["logit_mse"] < 0.7 * history[0]["logit_mse"]


@given(st.floats(0, 1), st.floats(0, 0.9))
def test_the_schedule_stays_between_nothing_and_the_full_rate(done, warmup):
    assert 0 <= schedule(done, warmup) <= 1
    assert schedule(1.0, warmup) == pytest.approx(0)
    assert schedule(warmup, warmup) == pytest.approx(1)

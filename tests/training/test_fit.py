"""The loop learns, stops where it must, and keeps the best weights (`kill -9`: test_kill.py)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from cxr_kd.data.loader import Batches
from cxr_kd.distill.objective import Objective
from cxr_kd.distill.teacher import LiveTeacher, ask
from cxr_kd.errors import TrainingError
from cxr_kd.files import read_json
from cxr_kd.models.build import build
from cxr_kd.study.settings import Augmentation, Training
from cxr_kd.training.ema import WeightEma
from cxr_kd.training.fit import fit, schedule

FINDINGS = ("Bright", "Left")
TRAINING = Training(epochs=4, batch_size=16, learning_rate=2e-3)
AUGMENTATION = Augmentation(rotate_degrees=5, translate=0.05, scale=0.05, brightness=0.05, contrast=0.1)


def batches_of(cache, table, **settings):
    image_ids = list(table.frame["image_id"])
    return Batches(cache, table, image_ids, batch_size=16, seed=1, augment=AUGMENTATION, shuffle=True, **settings)


def network(seed=0):
    torch.manual_seed(seed)
    return build("eeea_net_c2", FINDINGS, image_size=32)


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
    model, batches = network(), batches_of(cache, table)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 1.*not-finite\.json names: \d{3}, \d{3}"):
        train(model, batches, tmp_path / "resume.safetensors")
    told = read_json(tmp_path / "not-finite.json")
    assert told["image_ids"] == next(batches.epoch(0)).image_ids
    assert told["loss"] == told["focal_bce"] == "nan"


def test_a_gradient_that_is_not_a_number_does_not_reach_the_weights(cache, table, tmp_path):
    model = network()
    model.head.output.weight.register_hook(lambda gradient: gradient * math.inf)
    before = weights_of(model)
    with pytest.raises(TrainingError, match=r"norm of the gradient is (nan|inf) in epoch 1"):
        train(model, batches_of(cache, table), tmp_path / "resume.safetensors")
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_a_checkpoint_of_other_settings_is_not_gone_on_from(cache, table, tmp_path):
    resume, calls = tmp_path / "resume.safetensors", []
    train(network(), batches_of(cache, table), resume)
    train(network(), batches_of(cache, table), resume, belongs_to="others", validate=lambda _: calls.append(0) or 0.5)
    assert len(calls) == TRAINING.epochs


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_the_average_of_weights_is_validated_and_kept(cache, table, tmp_path):
    seen, training = [], TRAINING.model_copy(update={"ema_decay": 0.9})
    model = network()
    train(model, batches_of(cache, table), tmp_path / "resume.safetensors", training=training,
          validate=lambda averaged: seen.append(weights_of(averaged)) or 0.5)  # fmt: skip
    assert all(torch.equal(tensor, seen[-1][name]) for name, tensor in model.state_dict().items())
    checkpoint = load_file(tmp_path / "resume.safetensors")
    trained, averaged = (
        {name: tensor for name, tensor in checkpoint.items() if name.startswith(part)} for part in ("model", "average")
    )
    assert len(trained) == len(averaged) == len(seen[-1])
    moved = [name for name in seen[-1] if not torch.equal(trained[f"model.{name}"], averaged[f"average.{name}"])]
    assert any("running_var" in name for name in moved)  # statistics belong to the weights they were taken with
    assert not any("num_batches_tracked" in name for name in moved)


def test_the_average_is_the_recursion_it_says():
    model, decay = network(), 0.5
    average = WeightEma(model, decay)
    expected = model.head.output.weight.detach().clone()
    for step in range(4):
        with torch.no_grad():
            model.head.output.weight.normal_()
        average.update(model, step)
        share = 1 - min(decay, (1 + step) / (10 + step))
        expected = expected + share * (model.head.output.weight.detach() - expected)
    torch.testing.assert_close(average.network.head.output.weight, expected)
    assert not average.network.training
    assert not any(parameter.requires_grad for parameter in average.network.parameters())


def test_accumulated_gradients_are_those_of_one_batch(cache, table, tmp_path):
    """Without batch normalisation, which sees each batch by itself, 3 batches of 16 are one of 48."""
    ends = []
    for size, accumulate in ((48, 1), (16, 3)):
        model = network().eval()
        model.train = lambda *_: model  # noqa: B023
        training = Training(epochs=3, batch_size=size, learning_rate=1e-3, accumulate=accumulate)
        batches = Batches(cache, table, list(table.frame["image_id"]), batch_size=size, shuffle=True)
        train(model, batches, tmp_path / f"{size}.safetensors", training=training)
        ends.append(weights_of(model))
    start = network().state_dict()
    assert max((ends[0][name] - start[name]).abs().max() for name in start) > 1e-3
    for name, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][name], tensor, rtol=1e-2, atol=1e-4, msg=name)


@pytest.mark.parametrize(
    ("scores", "epochs", "best"),
    [
        ([0.5, 0.7, 0.6, 0.7, 0.9], 4, 3),  # no better for two epochs; of equals the later one is kept
        ([0.5, 0.6, 0.55, 0.7, 0.8], 5, 4),
        ([math.nan] * 5, 5, 4),  # not defined: nothing to stop by
    ],
)
def test_training_stops_early_and_keeps_its_best(cache, table, tmp_path, scores, epochs, best):
    seen, given = [], iter(scores)
    model = network()
    history = train(
        model,
        batches_of(cache, table),
        tmp_path / "resume.safetensors",
        training=Training(epochs=5, batch_size=16, patience=2),
        validate=lambda network: seen.append(weights_of(network)) or next(given),
    )
    assert len(history) == epochs
    assert all(torch.equal(tensor, seen[best][name]) for name, tensor in model.state_dict().items())
    # Started again, it has stopped already.
    again = train(network(), batches_of(cache, table), tmp_path / "resume.safetensors",
                  training=Training(epochs=5, batch_size=16, patience=2))  # fmt: skip
    assert [row["epoch"] for row in again] == [row["epoch"] for row in history]


def test_bf16_learns_with_weights_in_float32(cache, table, tmp_path):
    longer = Training(epochs=12, batch_size=16, learning_rate=5e-4, precision="bf16")
    model = network()
    history = train(model, batches_of(cache, table), tmp_path / "resume.safetensors", training=longer)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32, torch.int64}
    losses = [row["loss"] for row in history]
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    full = train(network(), batches_of(cache, table), tmp_path / "full.safetensors", training=TRAINING)
    assert full[0]["loss"] != losses[0]  # it was another arithmetic


def test_what_a_hint_learns_along_is_trained_and_gone_on_from(cache, table, tmp_path):
    teacher, resume = network(3), tmp_path / "resume.safetensors"
    batches, needs = batches_of(cache, table, views=1), {"features"}

    def objective():
        torch.manual_seed(0)
        return Objective({"hint": 1.0, "bce": 1.0}, widths=(960, 960))

    def run(learned, file, epochs, last):
        scores = iter([0.5] * last)
        fit(network(), batches, learned, Training(epochs=epochs, batch_size=16), lambda _: next(scores), name="test",
            seed=0, resume=file, belongs_to="hint", answers=LiveTeacher(teacher, needs))  # fmt: skip
        return learned.module["hint"].weight.detach().clone()

    start = objective().module["hint"].weight
    whole = run(objective(), tmp_path / "whole.safetensors", epochs=2, last=2)
    assert not torch.equal(whole, start)
    with pytest.raises(StopIteration):
        run(objective(), resume, epochs=2, last=1)  # stopped in its second epoch
    assert torch.equal(run(objective(), resume, epochs=2, last=1), whole)


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

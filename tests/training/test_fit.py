"""The loop learns, stops when it must, and keeps the best weights (checkpoints: test_checkpoint.py, test_kill.py)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from small_training import FINDINGS, TRAINING, batches_of, network, train, weights_of

from cxr_kd.data.loader import Batches
from cxr_kd.distill.answer_source import LiveTeacher
from cxr_kd.distill.compute_answers import compute_answers
from cxr_kd.distill.objective import Objective
from cxr_kd.errors import TrainingError
from cxr_kd.files import read_json
from cxr_kd.models.build import build
from cxr_kd.study.settings import Training
from cxr_kd.training.ema import WeightEma
from cxr_kd.training.fit import Plan, epoch_seed, fit, schedule
from cxr_kd.training.train_step import TrainStep


def test_training_lowers_the_loss(cache, table, tmp_path):
    longer = Training(epochs=12, batch_size=16, learning_rate=5e-4)
    history = train(network(), batches_of(cache, table), tmp_path / "resume.safetensors", training=longer)
    losses = [row["loss"] for row in history]
    # Batch normalisation over 16 images of one cell each is noisy: the last third against the first.
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])
    assert [row["epoch"] for row in history] == list(range(1, 13))


def test_training_ends_with_the_best_weights_by_validation(cache, table, tmp_path):
    seen, scores = [], iter([0.5, 0.9, 0.7, math.nan])

    def validate(model):
        seen.append(weights_of(model))
        return next(scores)

    model = network()
    train(model, batches_of(cache, table), tmp_path / "resume.safetensors", validate=validate)
    assert all(torch.equal(tensor, seen[1][name]) for name, tensor in model.state_dict().items())
    assert any(not torch.equal(tensor, seen[2][name]) for name, tensor in model.state_dict().items())


def test_a_loss_that_is_nan_stops_training_and_names_the_images(cache, table, tmp_path):
    model, batches = network(), batches_of(cache, table)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(TrainingError, match=r"loss is nan in epoch 1.*listed in .*not-finite\.json: \d{3}, \d{3}"):
        train(model, batches, tmp_path / "resume.safetensors")
    named = read_json(tmp_path / "not-finite.json")
    assert named["image_ids"] == next(batches.epoch(0)).image_ids
    assert named["loss"] == named["focal_bce"] == "nan"


def test_a_gradient_that_is_not_finite_does_not_reach_the_weights(cache, table, tmp_path):
    model = network()
    model.head.output.weight.register_hook(lambda gradient: gradient * math.inf)
    before = weights_of(model)
    with pytest.raises(TrainingError, match=r"norm of the gradient is (nan|inf) in epoch 1"):
        train(model, batches_of(cache, table), tmp_path / "resume.safetensors")
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_the_moving_average_of_weights_is_validated_and_saved(cache, table, tmp_path):
    seen, training = [], TRAINING.model_copy(update={"ema_decay": 0.9})
    model = network()
    train(model, batches_of(cache, table), tmp_path / "resume.safetensors", training=training,
          validate=lambda averaged: seen.append(weights_of(averaged)) or 0.5)  # fmt: skip
    assert all(torch.equal(tensor, seen[-1][name]) for name, tensor in model.state_dict().items())
    checkpoint = load_file(tmp_path / "resume.safetensors")
    trained, averaged = (
        {name: tensor for name, tensor in checkpoint.items() if name.startswith(part)} for part in ("model", "ema")
    )
    assert len(trained) == len(averaged) == len(seen[-1])
    moved = [name for name in seen[-1] if not torch.equal(trained[f"model.{name}"], averaged[f"ema.{name}"])]
    assert any("running_var" in name for name in moved)  # statistics belong to the weights that gave them
    assert not any("num_batches_tracked" in name for name in moved)


def test_the_moving_average_follows_its_recursion():
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
    """Without batch normalisation, which sees each batch alone, 3 batches of 16 equal one of 48."""
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
        ([0.5, 0.7, 0.6, 0.7, 0.9], 4, 3),  # no better for two epochs; of equals the later one is the best
        ([0.5, 0.6, 0.55, 0.7, 0.8], 5, 4),
        ([math.nan] * 5, 5, 4),  # not defined: no reason to stop
    ],
)
def test_training_stops_early_and_keeps_the_best_weights(cache, table, tmp_path, scores, epochs, best):
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
    # Called again, it does not train on.
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
    assert full[0]["loss"] != losses[0]  # the arithmetic differed


def test_the_layer_of_a_hint_is_trained_and_resumed(cache, table, tmp_path):
    teacher, resume = network(3), tmp_path / "resume.safetensors"
    batches, needs = batches_of(cache, table, views=1), {"features"}

    def objective():
        torch.manual_seed(0)
        return Objective({"hint": 1.0, "bce": 1.0}, widths=(960, 960))

    def run(learned, file, epochs, last):
        scores = iter([0.5] * last)
        plan = Plan("test", 0, Training(epochs=epochs, batch_size=16), file, "hint")
        fit(network(), batches, learned, plan, lambda _: next(scores), LiveTeacher(teacher, needs))
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
    source = compute_answers(teacher, batches, tmp_path, "key")
    history = train(network(0), batches, tmp_path / "student.safetensors", training=longer, source=source)
    assert history[-1]["logit_mse"] < 0.7 * history[0]["logit_mse"]


@given(st.floats(0, 1), st.floats(0, 0.9))
def test_the_schedule_stays_between_zero_and_the_full_rate(done, warmup):
    assert 0 <= schedule(done, warmup) <= 1
    assert schedule(1.0, warmup) == pytest.approx(0)
    assert schedule(warmup, warmup) == pytest.approx(1)


def test_no_two_epochs_of_any_run_or_process_have_the_same_seed():
    grid = [(seed, epoch, rank) for seed in range(30) for epoch in range(300) for rank in range(16)]
    grid += [(2**32 + 5, 0, 0), (5, 1, 0), (2**64 + 5, 0, 1)]  # numpy cuts large seeds into words of 32 bits
    assert len({epoch_seed(*place) for place in grid}) == len(set(grid))


@pytest.mark.parametrize("name", ["visformer_s", "autoformer_v2_t", "eeea_net_c2"])
def test_weight_decay_leaves_out_biases_norms_and_position_tables(name):
    model = build(name, FINDINGS, image_size=64)
    learner = TrainStep(model, Objective({"hint": 1.0}, widths=(3, 5)), TRAINING)
    decayed, exempt = learner.optimizer.param_groups
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (TRAINING.weight_decay, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(parameter)] for parameter in exempt["params"] if id(parameter) in names}
    assert found == model.undecayed()
    assert {"hint.bias", "hint.weight"} == {name for name, _ in learner.objective.module.named_parameters()}
    assert any(parameter is learner.objective.module["hint"].bias for parameter in exempt["params"])
    tables = {name for name in found if model.get_parameter(name).ndim > 1}
    assert any("pos_embed" in name or "relative_position" in name for name in tables) == (name != "eeea_net_c2")
    assert len(decayed["params"]) + len(exempt["params"]) == len(learner.parameters)

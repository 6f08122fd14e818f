"""The outputs of networks: from one forward pass, in any precision, and as the mean of several teachers."""

import pytest
import torch
from small_networks import FINDINGS, radiographs, small_network

from cxr_kd.distill.outputs import Outputs, mean_outputs, observe
from cxr_kd.explanation.methods.cam import maps


@pytest.fixture
def images():
    return radiographs()


@pytest.mark.parametrize("linear", [True, False])
def test_observe_returns_the_outputs_asked_for_in_one_forward_pass(images, linear):
    network = small_network(0, linear=linear)
    passes = []
    network.backbone.register_forward_hook(lambda *_: passes.append(1))
    outputs = observe(network, images, ("evidence", "attention", "features"))
    assert passes == [1]
    logits, shown = maps(network, images)
    torch.testing.assert_close(outputs.logits, logits)
    torch.testing.assert_close(outputs.part("evidence").relu(), shown)
    torch.testing.assert_close(outputs.part("features"), network.features(images))
    torch.testing.assert_close(outputs.part("attention"), (network.features(images) ** 2).mean(dim=1))
    bare = observe(network, images)
    assert bare.evidence is bare.attention is bare.features is None
    with pytest.raises(ValueError, match="have no evidence"):
        bare.part("evidence")


def test_with_a_linear_head_the_mean_of_the_evidence_is_the_logit_without_its_bias(images):
    network = small_network(0)
    outputs = observe(network, images, ("evidence",))
    torch.testing.assert_close(outputs.part("evidence").mean(dim=(2, 3)), outputs.logits - network.head.output.bias)


def test_in_full_precision_makes_float32_of_half_precision_and_keeps_double():
    outputs = Outputs(torch.ones(1, 2, dtype=torch.float16), evidence=torch.ones(1, 2, 3, 3, dtype=torch.float64))
    full = outputs.in_full_precision()
    assert full.logits.dtype == torch.float32
    assert full.part("evidence").dtype == torch.float64
    assert outputs.to(torch.bfloat16).part("evidence").dtype == torch.bfloat16


def test_the_mean_of_one_teacher_is_its_outputs():
    alone = Outputs(torch.ones(1, 2), features=torch.ones(1, 3, 2, 2))
    assert mean_outputs([alone]) is alone


def test_mean_outputs_weighs_teachers_equally_whatever_their_scale(images):
    coarse, fine = small_network(0, stride=4), small_network(1, channels=9)
    needs = ("evidence", "attention", "features")
    with torch.no_grad():
        per_teacher = [observe(network, images, needs) for network in (coarse, fine)]
        both = mean_outputs(per_teacher)
        torch.testing.assert_close(both.logits, (coarse(images) + fine(images)) / 2)
    assert both.part("evidence").shape == (len(images), len(FINDINGS), 4, 4)
    assert both.part("attention").shape == (len(images), 4, 4)
    assert both.features is None
    louder = Outputs(
        per_teacher[0].logits,
        evidence=100 * per_teacher[0].part("evidence"),
        attention=7 * per_teacher[0].part("attention"),
    )
    again = mean_outputs([louder, per_teacher[1]])
    torch.testing.assert_close(again.part("evidence"), both.part("evidence"))
    torch.testing.assert_close(again.part("attention"), both.part("attention"))
    assert again.part("evidence").norm(dim=(2, 3)).max() <= 1 + 1e-6
    assert mean_outputs([Outputs(louder.logits), per_teacher[1]]).evidence is None

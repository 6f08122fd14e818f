"""What networks say of a batch: one forward pass, any precision, several teachers as one."""

import pytest
import torch
from small_networks import FINDINGS, radiographs, small_network

from cxr_kd.distill.outputs import Outputs, mean_outputs, observe
from cxr_kd.explanation.cam import maps


@pytest.fixture
def images():
    return radiographs()


@pytest.mark.parametrize("linear", [True, False])
def test_a_network_is_observed_in_one_pass_and_says_what_it_is_asked(images, linear):
    network = small_network(0, linear=linear)
    passes = []
    network.backbone.register_forward_hook(lambda *_: passes.append(1))
    seen = observe(network, images, ("evidence", "attention", "features"))
    assert passes == [1]
    logits, shown = maps(network, images)
    torch.testing.assert_close(seen.logits, logits)
    torch.testing.assert_close(seen.part("evidence").relu(), shown)
    torch.testing.assert_close(seen.part("features"), network.features(images))
    torch.testing.assert_close(seen.part("attention"), (network.features(images) ** 2).mean(dim=1))
    bare = observe(network, images)
    assert bare.evidence is bare.attention is bare.features is None
    with pytest.raises(ValueError, match="without evidence"):
        bare.part("evidence")


def test_over_a_linear_head_the_mean_of_a_map_is_the_logit_without_its_bias(images):
    network = small_network(0)
    seen = observe(network, images, ("evidence",))
    torch.testing.assert_close(seen.part("evidence").mean(dim=(2, 3)), seen.logits - network.head.output.bias)


def test_half_precision_comes_back_as_float32_and_double_stays():
    outputs = Outputs(torch.ones(1, 2, dtype=torch.float16), evidence=torch.ones(1, 2, 3, 3, dtype=torch.float64))
    full = outputs.in_full_precision()
    assert full.logits.dtype == torch.float32
    assert full.part("evidence").dtype == torch.float64
    assert outputs.to(torch.bfloat16).part("evidence").dtype == torch.bfloat16


def test_a_teacher_alone_is_itself():
    alone = Outputs(torch.ones(1, 2), features=torch.ones(1, 3, 2, 2))
    assert mean_outputs([alone]) is alone


def test_several_teachers_speak_as_their_mean_and_none_is_louder(images):
    coarse, fine = small_network(0, stride=4), small_network(1, channels=9)
    needs = ("evidence", "attention", "features")
    with torch.no_grad():
        answers = [observe(network, images, needs) for network in (coarse, fine)]
        both = mean_outputs(answers)
        torch.testing.assert_close(both.logits, (coarse(images) + fine(images)) / 2)
    assert both.part("evidence").shape == (len(images), len(FINDINGS), 4, 4)
    assert both.part("attention").shape == (len(images), 4, 4)
    assert both.features is None
    louder = Outputs(
        answers[0].logits, evidence=100 * answers[0].part("evidence"), attention=7 * answers[0].part("attention")
    )
    again = mean_outputs([louder, answers[1]])
    torch.testing.assert_close(again.part("evidence"), both.part("evidence"))
    torch.testing.assert_close(again.part("attention"), both.part("attention"))
    assert again.part("evidence").norm(dim=(2, 3)).max() <= 1 + 1e-6
    assert mean_outputs([Outputs(louder.logits), answers[1]]).evidence is None

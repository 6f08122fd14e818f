"""Every network of the registry as a classifier: its input, its outputs, and the inputs that it refuses."""

import pytest
import torch
from mutations import MutationsSeen
from torch import nn
from torch.nn import functional as F

from cxr_kd.errors import ModelError
from cxr_kd.models.build import build
from cxr_kd.models.heads import HardswishHead, LinearHead
from cxr_kd.models.registry import names

SIZE = 64


@pytest.fixture(scope="module", params=names())
def model(request, findings):
    torch.manual_seed(0)
    return build(request.param, findings, image_size=SIZE).eval()


def bytes_of(batch: int) -> torch.Tensor:
    return torch.randint(0, 256, (batch, 1, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_forward_is_the_head_of_the_mean_of_the_features(model, findings):
    images = bytes_of(2)
    with torch.no_grad():
        features = model.features(images)
        logits = model(images)
        torch.testing.assert_close(model.head(features.mean(dim=(2, 3))), logits)
    assert features.shape == (2, model.pool(features).shape[1], 2, 2)
    assert logits.shape == (2, len(findings))


def test_8_bit_images_and_floats_in_0_to_1_give_the_same_logits(model):
    images = bytes_of(1)
    with torch.no_grad():
        torch.testing.assert_close(model(images), model(images.float() / 255))


def test_gray_is_repeated_and_normalised_with_the_networks_statistics(model):
    seen = model.normalise(torch.full((1, 1, SIZE, SIZE), 51, dtype=torch.uint8))
    expected = (0.2 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    if "efficientnet_lite" in model.name:
        expected = (0.2 - torch.full((3,), 0.5)) / 0.5
    torch.testing.assert_close(seen[0, :, 0, 0], expected)


@pytest.mark.parametrize("name", ["densenet121", "densenet161"])
def test_features_of_densenets_are_those_after_the_final_norm_and_relu(name, findings):
    model = build(name, findings, image_size=SIZE).eval()
    norm = model.backbone.network.features.norm5
    with torch.no_grad():
        norm.running_mean.normal_()
        before = model.backbone.network.features[:-1](model.normalise(bytes_of(1)))
        after = F.relu(F.batch_norm(before, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps))
        torch.testing.assert_close(model.features(bytes_of(1)), after)


def test_nothing_works_in_place(model):
    with torch.no_grad(), MutationsSeen() as seen:
        model(bytes_of(1))
    assert seen.operations == []
    assert not [name for name, module in model.named_modules() if getattr(module, "inplace", False)]


def test_mutations_seen_records_an_in_place_operation():
    with torch.no_grad(), MutationsSeen() as seen:
        nn.ReLU(inplace=True)(torch.ones(1))
    assert seen.operations


def test_a_fresh_network_has_small_logits_and_learns(model):
    """From scratch, logits are near 0, features have ordinary size, and a few steps on one batch lower the loss."""
    images, labels = bytes_of(4), torch.arange(4).remainder(2).float().unsqueeze(1).expand(4, 14)
    with torch.no_grad():
        assert model.train().features(images).std().item() == pytest.approx(1, abs=0.9)
        assert model(images).abs().max() < 2
    start = {key: value.clone() for key, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(3):
        loss = F.binary_cross_entropy_with_logits(model(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    model.load_state_dict(start)
    model.eval()
    assert losses[0] == pytest.approx(0.69, abs=0.1)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(1, 3, SIZE, SIZE), r"shape \(B, 1, 64, 64\), got \(1, 3, 64, 64\)"),
        (torch.zeros(1, 1, 32, SIZE), r"got \(1, 1, 32, 64\)"),
        (torch.zeros(SIZE, SIZE), r"got \(64, 64\)"),
        (torch.zeros(1, 1, SIZE, SIZE, dtype=torch.int64), r"got torch.int64"),
        (torch.full((1, 1, SIZE, SIZE), 200.0), r"floats from 200 to 200: .*divide them by 255"),
        (torch.full((1, 1, SIZE, SIZE), -0.5), r"floats from -0.5"),
        (torch.full((1, 1, SIZE, SIZE), float("nan")), r"floats from nan"),
    ],
)
def test_other_inputs_are_refused(model, images, message):
    with pytest.raises(ModelError, match=message):
        model(images)


@pytest.mark.parametrize("head", [LinearHead(6, 3), HardswishHead(6, 20, 3)], ids=["linear", "hardswish"])
def test_the_jacobian_of_a_head_equals_autograd(head):
    head = head.double()
    pooled = 4 * torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        head.output.weight.normal_()
    by_autograd = torch.stack([torch.autograd.functional.jacobian(head, row[None])[0, :, 0] for row in pooled])
    torch.testing.assert_close(head.jacobian(pooled), by_autograd)


def test_hardswish_head_jacobian_is_differentiable():
    head = HardswishHead(4, 9, 2).double()
    pooled = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(head.jacobian, (pooled,))

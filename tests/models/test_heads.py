"""Heads of several layers: the Jacobian of each layer equals autograd, in evaluation and in training."""

import pytest
import torch
from torch import nn

from cxr_kd.models.heads import LAYERS, LayeredHead


def layer(kind: type[nn.Module]) -> nn.Module:
    made = {nn.Linear: lambda: nn.Linear(6, 6), nn.LayerNorm: lambda: nn.LayerNorm(6, eps=1e-3)}
    return made.get(kind, lambda: kind(6) if kind is nn.BatchNorm1d else kind())()


def head(*kinds: type[nn.Module]) -> LayeredHead:
    torch.manual_seed(0)
    made = LayeredHead([layer(kind) for kind in kinds], 6, 3).double()
    for value in [*made.parameters(), *made.buffers()]:
        if value.is_floating_point():
            nn.init.uniform_(value, 0.5, 2)
    nn.init.normal_(made.output.weight)
    return made


def pooled() -> torch.Tensor:
    return 3 * torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def by_autograd(made: LayeredHead, given: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.autograd.functional.jacobian(made, row[None])[0, :, 0] for row in given])


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_the_jacobian_of_every_layer_equals_autograd(kind):
    made = head(kind).eval()
    torch.testing.assert_close(made.jacobian(pooled()), by_autograd(made, pooled()))


def test_the_jacobian_of_several_layers_equals_autograd():
    made = head(nn.LayerNorm, nn.Linear, nn.BatchNorm1d, nn.GELU, nn.LayerNorm).eval()
    torch.testing.assert_close(made.jacobian(pooled()), by_autograd(made, pooled()))


def test_the_jacobian_is_differentiable_in_features_and_weights():
    made = head(nn.LayerNorm, nn.Linear, nn.SiLU).eval()
    given = pooled()[:2].requires_grad_()
    assert torch.autograd.gradcheck(lambda z, *_: made.jacobian(z), (given, *made.parameters()))


def test_in_training_the_jacobian_treats_batch_statistics_as_constants_and_updates_none():
    made = head(nn.Linear, nn.BatchNorm1d, nn.ReLU).train()
    linear, norm, _ = made.layers
    before = norm.running_mean.clone()
    found = made.jacobian(pooled())
    assert torch.equal(norm.running_mean, before)
    hidden = linear(pooled()).detach()
    # The same network, with the statistics of this batch as its running statistics.
    norm.running_mean.copy_(hidden.mean(dim=0))
    norm.running_var.copy_(hidden.var(dim=0, unbiased=False))
    torch.testing.assert_close(found, by_autograd(made.eval(), pooled()))

"""Batch normalisation with statistics over all processes, so that several processes train as one does.

torch's SyncBatchNorm does the same on graphics cards but refuses to run on a CPU. This version runs on both, so that
its agreement with one process can be tested anywhere.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def global_statistics(network: nn.Module, processes: int) -> Iterator[None]:
    """Make batch normalisation in training mode use the images of all processes within this context.

    Weights, buffers and their names do not change. For one process, nothing changes.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)] if processes > 1 else []
    for norm in norms:
        norm.forward = partial(_forward, norm)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward  # uncovers the method of the class


def _forward(norm: Any, x: Tensor) -> Tensor:
    if not norm.training:
        unchanged: Tensor = type(norm).forward(norm, x)
        return unchanged
    normalised = _normalised(norm, x)
    for name in ("drop", "act"):  # timm's BatchNormAct2d applies these after the normalisation
        normalised = getattr(norm, name, nn.Identity())(normalised)
    return normalised


def _normalised(norm: _BatchNorm, x: Tensor) -> Tensor:
    """Return x (B, K, ...) normalised by each channel's mean and variance over all processes."""
    axes, dtype = [axis for axis in range(x.ndim) if axis != 1], x.dtype
    x = x.float() if dtype in (torch.float16, torch.bfloat16) else x
    count = x.new_full((1,), x.numel() / x.shape[1])
    sums: Any = _Sum.apply(torch.cat([x.sum(axes), count]))
    total = sums[-1].detach()
    mean = _channels(sums[:-1] / total, x)
    centred = x - mean  # a second pass: the difference of large sums of squares would lose precision
    squares: Any = _Sum.apply(centred.square().sum(axes))
    variance = squares / total
    with torch.no_grad():
        _update_running(norm, mean.flatten(), variance * total / (total - 1))
    normalised = centred * _channels((variance + norm.eps).rsqrt(), x)
    if norm.affine:
        normalised = normalised * _channels(norm.weight, x) + _channels(norm.bias, x)
    return normalised.to(dtype)


def _update_running(norm: _BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Update the running statistics as `nn.BatchNorm2d` does."""
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean, share)
    norm.running_var.lerp_(variance, share)


def _channels(values: Tensor, like: Tensor) -> Tensor:
    return values.view(1, -1, *[1] * (like.ndim - 2))


class _Sum(torch.autograd.Function):
    """The sum over processes. The loss of every process depends on it, so its gradients are summed too."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total

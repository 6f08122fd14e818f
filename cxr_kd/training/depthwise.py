"""Faster training of depthwise convolutions with large kernels on a CPU: another way to the gradient of their weights.

oneDNN, which torch calls, has a fast kernel for this gradient at 3 x 3 taps only; at 5 x 5 and 7 x 7 it takes several
times as long as the rest of the layer. But the gradient of each block of 3 x 3 taps of a larger kernel is that of a 3 x
3 convolution of the moved image. So a few fast calls replace a slow one; the sums have another order, nothing else
differs. `benchmarks/train_step.py` measures what it saves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

BLOCK = 3  # taps per side of the fast kernel
AT_ONCE = 4 * 2**20  # bytes of images that are handled together, so that they stay in the processor's cache


@contextmanager
def fast_gradients(model: nn.Module, *, enabled: bool = True) -> Iterator[None]:
    """Compute the gradients of the model's large depthwise convolutions in the faster way within this context.

    Nothing changes outside it: the layers are the same objects, with the same weights.
    """
    layers = [module for module in model.modules() if enabled and _applies(module)]
    for layer in layers:
        layer.__class__ = _FastDepthwise
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = nn.Conv2d


def _applies(module: nn.Module) -> bool:
    if type(module) is not nn.Conv2d or module.bias is not None or isinstance(module.padding, str):
        return False
    large = min(module.kernel_size) > BLOCK and module.dilation == (1, 1) and module.padding_mode == "zeros"
    return large and module.groups == module.in_channels == module.out_channels and module.weight.device.type == "cpu"


class _FastDepthwise(nn.Conv2d):
    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = _Depthwise.apply(images, self.weight, self.stride, self.padding)
        return out


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        images, weight = ctx.saved_tensors
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            of_images = _backward(gradient, images, weight, ctx.stride, ctx.padding, (True, False, False))[0]
        if ctx.needs_input_grad[1]:
            of_weight = weight_gradient(gradient, images, weight, ctx.stride, ctx.padding)
        return of_images, of_weight, None, None


def weight_gradient(
    gradient: Tensor, images: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Return the gradient of depthwise weights (K, 1, h, w), h and w at least 3, from that of the output (B, K, H, W).

    Equal to torch's own, to float rounding.
    """
    found = torch.zeros_like(weight, memory_format=torch.contiguous_format)
    small = weight.new_empty(len(weight), 1, BLOCK, BLOCK)
    (taps_down, taps_right), (down, right) = weight.shape[2:], padding
    size = [step * (cells - 1) + BLOCK for step, cells in zip(stride, gradient.shape[2:], strict=True)]
    count = max(1, AT_ONCE // (images[0].numel() * images.element_size()))
    for start in range(0, len(images), count):
        part = gradient[start : start + count]
        padded = F.pad(images[start : start + count], (right, right, down, down))
        for row, new_rows in _blocks(taps_down):
            for column, new_columns in _blocks(taps_right):
                moved = padded[:, :, row : row + size[0], column : column + size[1]]
                moved = moved.contiguous(memory_format=torch.channels_last)
                block = _backward(part, moved, small, stride, (0, 0), (False, True, False))[1]
                # Neighbouring blocks overlap; a tap counts in the first block that has it.
                down_to, right_to = row + BLOCK, column + BLOCK
                target = found[:, :, down_to - new_rows : down_to, right_to - new_columns : right_to]
                target += block[:, :, BLOCK - new_rows :, BLOCK - new_columns :]
    return found


def _blocks(taps: int) -> list[tuple[int, int]]:
    """Return the first tap of each block, and how many of its taps, the last ones, no block before it has."""
    starts = [*range(0, taps - BLOCK, BLOCK), taps - BLOCK]
    return [(start, start - before) for start, before in zip(starts, [-BLOCK, *starts], strict=False)]


def _backward(
    gradient: Tensor,
    images: Tensor,
    weight: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
    wanted: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
        gradient, images, weight, None, stride, padding, (1, 1), False, (0, 0), len(weight), wanted
    )
    return found

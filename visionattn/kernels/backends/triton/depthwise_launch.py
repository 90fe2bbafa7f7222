"""The launches of a depthwise 3x3 convolution, and its registered ops.

Legend: B batch, H W map, C channels, h w the map that comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import register_flop_formula

from visionattn.kernels.backends.triton.depthwise_kernels import (
    depthwise_input_kernel,
    depthwise_kernel,
    depthwise_weight_kernel,
)
from visionattn.kernels.backends.triton.fallback import Fallback
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.custom_op import define, under_autograd
from visionattn.kernels.eager import differentiable_gradients

TILE = {"TILE_Y": 8, "TILE_X": 8}
CHANNELS = 32
"""Of a program: with as many points as a tile has, 16 sums of a thread."""
OPTIONS = {"num_warps": 4, "num_stages": 2, "enable_fp_fusion": True}
WEIGHT_PROGRAMS = 12
"""Programs of a multiprocessor that sum the weights' gradients."""
RULE = "SymInt[] front, SymInt[] size, int stride, bool add"


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, front: Sequence[int], size: Sequence[int], stride: int, add: bool,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """See :func:`visionattn.kernels.backends.triton.depthwise.convolve`."""
    x = _with_channels_last(x)
    out = x.new_empty((x.shape[0], *size, x.shape[3]), dtype=dtype)
    launch = _forward(_map(x), tuple(front), tuple(size), stride, add, bias is not None, x.dtype, dtype, x.device)
    run(launch, x, weight.contiguous(), weight if bias is None else bias, out)
    return out.permute(0, 3, 1, 2)


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, front: Sequence[int], size: Sequence[int], stride: int, add: bool,
    of_x: bool, of_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients of x, of the weight and of a bias; those that are not wanted are empty."""
    x, grad = _with_channels_last(x), _with_channels_last(grad)
    rule = _map(x), tuple(front), tuple(size), stride
    kinds = grad.dtype, x.dtype, x.device
    dx = x.new_empty(x.shape if of_x else 0)
    if of_x:
        run(_of_input(*rule, add, *kinds), grad, weight.contiguous(), dx)
        dx = dx.permute(0, 3, 1, 2)
    if not of_weight:
        return dx, weight.new_empty(0), weight.new_empty(0)
    launch, parts = _of_weight(*rule, processors(x.device), *kinds)
    partial = x.new_empty((parts, 10 * x.shape[3]), dtype=torch.float32)
    run(launch, grad, x, partial)
    sums = partial.sum(0)
    cut = 9 * x.shape[3]
    return dx, sums[:cut].view(weight.shape).to(weight.dtype), sums[cut:].to(weight.dtype)


def _with_channels_last(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` as a contiguous ``(B, H, W, C)``."""
    return x.permute(0, 2, 3, 1).contiguous()


def _map(x: Tensor) -> tuple[int, ...]:
    batch, height, width, channels = x.shape
    return batch, height, width, channels


def _tiles(batch: int, size: Sequence[int]) -> tuple[int, int, int]:
    """Tiles of rows, of columns, and of all images."""
    tiles = -(-size[0] // TILE["TILE_Y"]), -(-size[1] // TILE["TILE_X"])
    return *tiles, batch * tiles[0] * tiles[1]


@lru_cache(maxsize=1024)
def _forward(of: tuple[int, ...], front: Any, size: Any, stride: int, add: bool, biased: bool, *kinds: Any) -> Launch:
    tiles_y, tiles_x, tiles = _tiles(of[0], size)
    blocks = -(-of[3] // CHANNELS)
    numbers = *of[1:3], *size, of[3], *front, tiles_y, tiles_x, blocks
    constants = {"STRIDE": stride, "ADD": add, "BIASED": biased, **TILE, "CHANNELS": CHANNELS, **OPTIONS}
    return Launch(depthwise_kernel, (tiles * blocks,), numbers, constants)


@lru_cache(maxsize=1024)
def _of_input(of: tuple[int, ...], front: Any, size: Any, stride: int, add: bool, *kinds: Any) -> Launch:
    tiles_y, tiles_x, tiles = _tiles(of[0], of[1:3])
    blocks = -(-of[3] // CHANNELS)
    numbers = *of[1:3], *size, of[3], *front, tiles_y, tiles_x, blocks
    constants = {"STRIDE": stride, "ADD": add, **TILE, "CHANNELS": CHANNELS, **OPTIONS}
    return Launch(depthwise_input_kernel, (tiles * blocks,), numbers, constants)


@lru_cache(maxsize=1024)
def _of_weight(
    of: tuple[int, ...], front: Any, size: Any, stride: int, processors: int, *kinds: Any
) -> tuple[Launch, int]:
    """The launch, and into how many parts the tiles are divided: fixed by device and shape, so that bits repeat."""
    tiles_y, tiles_x, tiles = _tiles(of[0], size)
    blocks = -(-of[3] // CHANNELS)
    parts = max(1, min(tiles, processors * WEIGHT_PROGRAMS // (3 * blocks)))
    numbers = *of[1:3], *size, of[3], *front, tiles_y, tiles_x, blocks, tiles, parts
    constants = {"STRIDE": stride, **TILE, "CHANNELS": CHANNELS, **OPTIONS}
    return Launch(depthwise_weight_kernel, (3 * blocks * parts,), numbers, constants), parts


def processors(device: torch.device) -> int:
    """The multiprocessors of a device."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4


def run(launch: Launch, *tensors: Tensor) -> None:
    """Launch on the device of the tensors, unless there is nothing to do."""
    if launch.grid[0]:
        with torch.cuda.device_of(tensors[0]):
            launch(*tensors)


def _forward_fake(x, weight, bias, front, size, stride, add, dtype):
    return x.new_empty((x.shape[0], *size, x.shape[1]), dtype=dtype).permute(0, 3, 1, 2)


def _backward_fake(grad, x, weight, front, size, stride, add, of_x, of_weight):
    of_bias = weight.new_empty(weight.shape[0] if of_weight else 0)
    dx = torch.empty_like(x, memory_format=torch.channels_last) if of_x else x.new_empty(0)
    return dx, weight.new_empty(weight.shape if of_weight else 0), of_bias


def _plain(x: Tensor, *rule: Any) -> Tensor:
    return plain_depthwise(x, *rule).contiguous(memory_format=torch.channels_last)


def _plain_backward(
    grad: Tensor, x: Tensor, weight: Tensor, front: Sequence[int], size: Sequence[int], stride: int, add: bool,
    of_x: bool, of_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    zeros, given, channels = _zeros(x, front, size, stride), grad.to(weight.dtype), x.shape[1]
    padded = F.pad(x.to(weight.dtype), zeros)
    rule = [channels], [stride, stride], [0, 0], [1, 1], False, [0, 0], channels, [of_x, of_weight, of_weight]
    dx, *others = torch.ops.aten.convolution_backward(given, padded, weight, *rule)
    if of_x:
        dx = F.pad(dx, [-count for count in zeros])
        dx = (dx + grad if add else dx).to(x.dtype).contiguous(memory_format=torch.channels_last)
    else:
        dx = x.new_empty(0)
    of_weights, of_bias = others if of_weight else (weight.new_empty(0), weight.new_empty(0))
    return dx, of_weights.contiguous(), of_bias


def _zeros(x: Tensor, front: Sequence[int], size: Sequence[int], stride: int) -> list[int]:
    """Columns of zeros at the left and the right, rows at the top and the bottom, as torch takes them."""
    below, right = (stride * (size[axis] - 1) + 3 - x.shape[axis + 2] - front[axis] for axis in (0, 1))
    return [front[1], right, front[0], below]


or_torch = Fallback("depthwise convolutions")
MAP = f"Tensor x, Tensor weight, Tensor? bias, {RULE}, ScalarType dtype"
depthwise_op = define("depthwise", f"({MAP}) -> Tensor", or_torch(forward, _plain, 0), _forward_fake)
depthwise_backward_op = define(
    "depthwise_backward",
    f"(Tensor grad, Tensor x, Tensor weight, {RULE}, bool of_x, bool of_weight) -> (Tensor, Tensor, Tensor)",
    or_torch(backward, _plain_backward, 1),
    _backward_fake,
)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            out: Tensor = depthwise_op(*inputs)
        ctx.save_for_backward(*inputs[:3])
        ctx.rule = inputs[3:]
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight, bias), grad, wanted = ctx.saved_tensors, grads[0], ctx.needs_input_grad[:3]
        front, size, stride, add, dtype = ctx.rule
        rest = (None,) * len(ctx.rule)
        if torch.is_grad_enabled():
            inputs = (x, weight) if bias is None else (x, weight, bias)

            def plain(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
                return plain_depthwise(x, weight, bias, front, size, stride, add, dtype)

            found = differentiable_gradients(plain, inputs, grad, wanted[: len(inputs)])
            return *found, *(None,) * (3 - len(found)), *rest
        of_x, of_weight = wanted[0], wanted[1] or wanted[2]
        gradients = depthwise_backward_op(grad, x, weight, front, size, stride, add, of_x, of_weight)
        return *(one if needed else None for one, needed in zip(gradients, wanted, strict=True)), *rest


def plain_depthwise(
    x: Tensor, weight: Tensor, bias: Tensor | None, front: Sequence[int], size: Sequence[int], stride: int, add: bool,
    dtype: torch.dtype,
) -> Tensor:  # fmt: skip
    """The same as :func:`forward` by torch's operators, in the type of the weight."""
    y = x.to(weight.dtype)
    out = F.conv2d(F.pad(y, _zeros(x, front, size, stride)), weight, bias, stride=stride, groups=weight.shape[0])
    return (out + y if add else out).to(dtype)


def _flops(x_shape, weight_shape, bias_shape, front, size, *args: Any, **kwargs: Any) -> int:
    return 2 * 9 * x_shape[0] * size[0] * size[1] * x_shape[1]


def _backward_flops(grad_shape, *args: Any, **kwargs: Any) -> int:
    return 2 * 2 * 9 * torch.Size(grad_shape).numel()


under_autograd(depthwise_op, _Depthwise, tensors=3)
register_flop_formula(depthwise_op.overloadpacket)(_flops)
register_flop_formula(depthwise_backward_op.overloadpacket)(_backward_flops)

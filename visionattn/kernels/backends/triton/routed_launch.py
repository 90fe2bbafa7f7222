"""The launches of ``routed_attention``'s kernels, and its registered ops on the Triton backend."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.backends.tiled import routed as tiled
from visionattn.kernels.backends.triton import routed_kernels as kernels
from visionattn.kernels.backends.triton.fallback import Fallback
from visionattn.kernels.backends.triton.launch import check_size, on_device
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.backends.triton.layout import power_of_two
from visionattn.kernels.backends.triton.ops import stats_shape
from visionattn.kernels.backends.triton.problem import LOG2E
from visionattn.kernels.routed_op import Region, RoutedKernel, grid_of, register_routed_attention
from visionattn.kernels.signature import Maps


def forward(
    q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Output and base-2 log-sum-exp; see :class:`visionattn.kernels.routed_op.RoutedKernel`."""
    out, lse = v.new_empty(v.shape), q.new_empty(stats_shape(q), dtype=torch.float32)
    if q.numel():
        numbers = (*_numbers(q, k, v, routes, region), scale * LOG2E)
        _launch(kernels.routed_forward_kernel, (q, k, v, routes, out, lse), numbers, region)
    return out, lse


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, routes: Tensor, out: Tensor, lse: Tensor, region: Region,
    scale: float, into: Maps,
) -> None:  # fmt: skip
    """Write the gradients; see :class:`visionattn.kernels.routed_op.RoutedKernel`."""
    dq, dk, dv = into
    if q.numel():
        check_size(q.shape, v.shape[4], [dq.stride(1)])
        strides = *dq.stride()[:4], *dv.stride()[:4]
        numbers = (*strides, *_numbers(q, k, v, routes, region), scale, scale * LOG2E)
        delta = torch.empty_like(lse)
        _launch(kernels.routed_query_kernel, (q, k, v, routes, grad, out, lse, delta, dq), numbers, region)
        named, start = inverse_lists(routes)
        _launch(kernels.routed_key_kernel, (q, k, v, named, start, grad, lse, delta, dk, dv), numbers, region)


def inverse_lists(routes: Tensor) -> tuple[Tensor, Tensor]:
    """The regions that list each region, one after another, ``(B, R * K)``, and where its own begin, ``(B, R + 1)``."""
    _, regions, listed = routes.shape
    flat = routes.flatten(1)
    flat = torch.where((flat >= 0) & (flat < regions), flat, regions)
    found, order = flat.sort(stable=True)
    bounds = torch.arange(regions + 1, device=routes.device).expand(len(routes), -1).contiguous()
    return (order // listed).int(), torch.searchsorted(found, bounds).int()


def _numbers(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region) -> tuple[int, ...]:
    """Kernel arguments from the strides to the number of listed regions."""
    for x in (q, k, v):
        check_size(x.shape, v.shape[4], [x.stride(1)])
    _, height, width, heads, _ = q.shape
    strides = *q.stride()[:4], *k.stride()[:4], *v.stride()[:4]
    return *strides, heads, height, width, *region, grid_of((height, width), region)[1], *routes.shape[1:]


def _launch(kernel: Any, tensors: tuple[Tensor, ...], numbers: tuple[int | float, ...], region: Region) -> None:
    q, v = tensors[0], tensors[2]
    batch, height, width, heads, depth = q.shape
    rows, columns = grid_of((height, width), region)
    widest = 16 if max(depth, v.shape[4]) > 64 and q.dtype == torch.float32 else 32 if q.dtype == torch.float32 else 64
    block = min(widest, max(16, power_of_two(region[0] * region[1])))
    constants = {
        "DEPTH": depth, "DEPTH_V": v.shape[4], "BLOCK_D": max(16, power_of_two(depth)),
        "BLOCK_V": max(16, power_of_two(v.shape[4])), "BLOCK_M": block, "BLOCK_N": widest, "PRECISION": "ieee",
        "num_warps": 8 if q.dtype == torch.float32 else 4, "num_stages": 1, "enable_fp_fusion": True,
    }  # fmt: skip
    grid = rows * columns * -(-region[0] * region[1] // block), heads, batch
    on_device(q.device, Launch(kernel, grid, numbers, constants))(*tensors)


def _plain(
    q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return tiled.forward(q, k, v, routes, region, scale)[0], q.new_zeros(stats_shape(q), dtype=torch.float32)


or_tiled = Fallback("listed regions")
KERNEL = RoutedKernel(or_tiled(forward, _plain, 0), or_tiled(backward, tiled.backward, 1), stats_shape)
attend, attend_packed = register_routed_attention("triton_routed", KERNEL)

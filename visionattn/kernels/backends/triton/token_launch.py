"""The launches of ``token_attention``'s kernels, and its registered ops on the Triton backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.backends.tiled import tokens as tiled
from visionattn.kernels.backends.triton import token_kernels as kernels
from visionattn.kernels.backends.triton.fallback import Fallback
from visionattn.kernels.backends.triton.launch import on_device
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.backends.triton.layout import power_of_two
from visionattn.kernels.backends.triton.problem import LOG2E
from visionattn.kernels.token_op import TokenKernel, register_token_attention

PROGRAMS = 1024
"""Of the bias' gradient, to aim at; fixed, so that bits repeat on every device."""


def stats_shape(q: Tensor) -> Sequence[int]:
    """Per query the base-2 log-sum-exp."""
    return q.shape[0], q.shape[2], q.shape[1]


def forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp; see :class:`visionattn.kernels.token_op.TokenKernel`."""
    out = v.new_empty((*q.shape[:3], v.shape[3]))
    lse = q.new_empty(stats_shape(q), dtype=torch.float32)
    if q.numel():
        tiles = -(-q.shape[1] // _blocks(q, k, v)[0])
        given = q if bias is None else bias
        _run("forward", (q, k, v, given, out, lse), bias is not None, tiles, (scale * LOG2E,), len(q))
    return out, lse


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, stats: Tensor, scale: float,
    table: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients; see :class:`visionattn.kernels.token_op.TokenKernel`."""
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    if not q.numel():
        of_bias = bias.new_zeros(bias.shape) if table and bias is not None else q.new_empty(0)
        return dq, dk.zero_(), dv.zero_(), of_bias
    of_bias = q.new_empty(0)
    (rows, columns), delta, biased = _blocks(q, k, v), torch.empty_like(stats), bias is not None
    tiles, key_tiles = -(-q.shape[1] // rows), -(-k.shape[1] // columns)
    inputs, scales = (q, k, v, q if bias is None else bias, grad), (scale, scale * LOG2E)
    _run("query", (*inputs, out, stats, delta, dq), biased, tiles, scales, len(q))
    _run("key", (*inputs, stats, delta, dk, dv), biased, key_tiles, scales, len(q))
    if bias is not None and table:
        share = max(1, min(len(q), len(q) * q.shape[2] * tiles * key_tiles // PROGRAMS))
        partial = stats.new_empty((-(-len(q) // share), *bias.shape))
        numbers = len(q), share, scale * LOG2E
        _run("bias", (*inputs, stats, delta, partial), biased, tiles * key_tiles, numbers, len(partial))
        of_bias = partial.sum(0).to(bias.dtype)
    return dq, dk, dv, of_bias


def _blocks(q: Tensor, k: Tensor, v: Tensor) -> tuple[int, int]:
    """Queries and keys of a block."""
    wide, full = max(q.shape[3], v.shape[3]) > 64, q.dtype == torch.float32
    most = 16 if wide and full else 32 if full else 64
    return min(most, max(16, power_of_two(q.shape[1]))), min(most, max(16, power_of_two(k.shape[1])))


def _run(
    name: str, tensors: tuple[Tensor, ...], biased: bool, tiles: int, numbers: tuple[int | float, ...], parts: int
) -> None:
    """Launch a kernel: programs for each of ``parts`` (images, or some of them), tile and head."""
    q, k, v = tensors[:3]
    heads, full = q.shape[2], q.dtype == torch.float32
    strides = *q.stride()[:3], *k.stride()[:3], *v.stride()[:3]
    rows, columns = _blocks(q, k, v)
    constants = {
        "HAS_BIAS": biased, "DEPTH": q.shape[3], "DEPTH_V": v.shape[3], "BLOCK_D": max(16, power_of_two(q.shape[3])),
        "BLOCK_V": max(16, power_of_two(v.shape[3])), "BLOCK_M": rows, "BLOCK_N": columns, "PRECISION": "ieee",
        "num_warps": 8 if full or max(q.shape[3], v.shape[3]) > 64 or rows * columns > 2048 else 4,
        "num_stages": 1 if full else 2, "enable_fp_fusion": True,
    }  # fmt: skip
    arguments = (*strides, heads, q.shape[1], k.shape[1], tiles, *numbers)
    _built(name, parts * tiles * heads, arguments, tuple(constants.items()), q.device, q.dtype)(*tensors)


@lru_cache(maxsize=4096)
def _built(
    name: str, programs: int, numbers: tuple[int | float, ...], constants: tuple[tuple[str, Any], ...],
    device: torch.device, dtype: torch.dtype,
) -> Callable[..., Any]:  # fmt: skip
    """A launch, kept with its compiled kernel; device and type of the maps are there to tell launches apart."""
    kernel = getattr(kernels, f"token_{name}_kernel")
    return on_device(device, Launch(kernel, (programs,), numbers, dict(constants)))


def _plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    return tiled.forward(q, k, v, bias, scale)[0], q.new_zeros(stats_shape(q), dtype=torch.float32)


or_tiled = Fallback("maps and few tokens")
KERNEL = TokenKernel(or_tiled(forward, _plain, 0), or_tiled(backward, tiled.backward, 1), stats_shape)
attend = register_token_attention("triton_tokens", KERNEL)

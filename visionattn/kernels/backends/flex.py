"""FlexAttention (Dong et al., 2024, arXiv 2412.05496) as a backend: torch compiles a kernel per geometry.

Useful on CUDA without a bias that trains, and as something to compare with. It refuses what it cannot do right: a
backward on the CPU (torch has none), and a bias that needs a gradient (torch adds it up with atomics, so two runs
differ in their bits).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from visionattn.kernels.geometry import AxisRule, Geometry
from visionattn.kernels.op import Backend

if TYPE_CHECKING:  # a second to import, so only where it is used
    from torch.nn.attention.flex_attention import BlockMask

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
NARROWEST_HEAD = 16
VARIANTS = 256
"""Geometries, shapes and types per process that may each be compiled; torch would otherwise give up after eight."""
Mod = Callable[..., Tensor]


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """FlexAttention over the flattened map; see ``visionattn.kernels.op`` for the arguments."""
    return run(q, k, v, None if bias is None else bias.detach(), geometry, scale)


def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """As ``attend``, and the bias gets torch's own gradient where it needs one."""
    from torch._dynamo import config

    height, width = q.shape[1:3]
    mask = block_mask(geometry, height, width, q.device)
    score = None if bias is None else bias_mod(geometry, height, width, bias.to(q.dtype))
    tokens = [t.flatten(1, 2).transpose(1, 2) for t in (q, k, v)]
    with config.patch(recompile_limit=VARIANTS), threads_in_the_key():
        out = compiled()(*tokens, score_mod=score, block_mask=mask, scale=scale)
    return out.transpose(1, 2).unflatten(1, (height, width))


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Why FlexAttention cannot run this call, or ""."""
    trains = torch.is_grad_enabled() and any(t.requires_grad for t in (q, k, v))
    if geometry.decay:
        return "FlexAttention is not given the places of a decay"
    if torch.compiler.is_compiling():
        return "its block mask is built outside the graph that is being compiled"
    if q.device.type not in ("cpu", "cuda"):
        return f"FlexAttention runs on the CPU and on CUDA devices, and the tensors are on {q.device}"
    if q.device.type == "cpu" and trains:
        return "FlexAttention has no backward on the CPU, and q, k or v needs a gradient"
    if bias is not None and torch.is_grad_enabled() and bias.requires_grad:
        return "FlexAttention sums a bias table's gradient with atomics, in another order every run"
    if q.dtype not in DTYPES:
        return f"FlexAttention computes in float32, bfloat16 or float16, and the tensors are {q.dtype}"
    if min(q.shape[-1], v.shape[-1]) < NARROWEST_HEAD:
        return f"FlexAttention needs heads of at least {NARROWEST_HEAD} channels, got {q.shape[-1]} and {v.shape[-1]}"
    return ""


@lru_cache(maxsize=1)
def compiled() -> Callable[..., Tensor]:
    """FlexAttention as a kernel. Uncompiled it would hold the whole (H * W)^2 matrix: never that."""
    from torch.nn.attention.flex_attention import flex_attention

    kernel: Callable[..., Tensor] = torch.compile(flex_attention, dynamic=False, fullgraph=True)
    return kernel


def threads_in_the_key() -> AbstractContextManager[None]:
    """Makes the number of threads a part of what torch stores a compiled kernel under, on disk too.

    A kernel for the CPU has buffers for the threads it was compiled with; torch takes it from its cache whatever the
    number is now, and with more threads it writes past their end (torch 2.11 does).
    """
    from torch._inductor import config

    patched: AbstractContextManager[None] = config.patch({"cpp.threads": torch.get_num_threads()})
    return patched


@lru_cache(maxsize=64)
def block_mask(geometry: Geometry, height: int, width: int, device: torch.device) -> BlockMask:
    """Which key blocks each query block needs, from the two axes' rules."""
    from torch.nn.attention.flex_attention import create_block_mask

    tokens = height * width
    return create_block_mask(mask_mod(geometry, height, width, device), None, None, tokens, tokens, device)


def mask_mod(geometry: Geometry, height: int, width: int, device: torch.device) -> Mod:
    """Whether query number i of the flattened map sees key number j."""
    sees_row, sees_column = _axis_mod(geometry.rows, height, device), _axis_mod(geometry.cols, width, device)

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return sees_row(query // width, key // width) & sees_column(query % width, key % width)

    return visible


def _axis_mod(rule: AxisRule, length: int, device: torch.device) -> Mod:
    group, coordinate, start, count = rule.spans(length, device)

    def sees(query: Tensor, key: Tensor) -> Tensor:
        offset = coordinate[key] - start[query]
        return (group[query] == group[key]) & (offset >= 0) & (offset < count[query])

    return sees


def bias_mod(geometry: Geometry, height: int, width: int, bias: Tensor) -> Mod:
    """Adds the table's entry at key minus query. Masked pairs may point outside the table, so the index is clamped."""
    row, column = (
        rule.spans(length, bias.device).coordinate for rule, length in ((geometry.rows, height), (geometry.cols, width))
    )
    last_row, last_column = bias.shape[1] - 1, bias.shape[2] - 1

    def add(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        down = row[key // width] - row[query // width] + geometry.rows.size - 1
        across = column[key % width] - column[query % width] + geometry.cols.size - 1
        return score + bias[head, down.clamp(0, last_row), across.clamp(0, last_column)]

    return add


WINDOW = Backend("flex", attend, refuses)
NEIGHBORHOOD = Backend("flex", attend, refuses)

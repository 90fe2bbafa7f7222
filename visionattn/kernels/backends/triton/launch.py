"""From tensors to kernel launches. Everything here runs inside registered ops, so nothing is traced by the compiler.

The launches of a call are built once for its shapes, strides, types and geometry, and kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.backends.triton import tiled_launch, window_launch
from visionattn.kernels.backends.triton.plan import Plan
from visionattn.kernels.backends.triton.problem import Problem, problem
from visionattn.kernels.backends.triton.window_plan import WindowPlan
from visionattn.kernels.geometry import Geometry


def forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    scale: float,
    plan: Plan | WindowPlan | None = None,
) -> tuple[Tensor, Tensor]:
    """Output (B, H, W, N, E) and log-sum-exp (B, N, H, W) in fp32; ``plan`` replaces the default one."""
    q, k, v = dense(q), dense(k), dense(v)
    batch, height, width, heads, _ = q.shape
    out, lse = v.new_empty(v.shape), q.new_empty((batch, heads, height, width), dtype=torch.float32)
    run = forward_run(problem(q, k, v, bias, geometry, scale, plan))
    with on_device(q):
        run(q, k, v, q if bias is None else bias.contiguous(), out, lse)
    return out, lse


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, lse: Tensor,
    geometry: Geometry, scale: float, into: Sequence[Tensor], *,
    maps: bool = True, table: bool = True, plan: Plan | WindowPlan | None = None,
) -> Tensor:  # fmt: skip
    """Write the gradients of q, k and v into the maps ``into``, if ``maps``.

    Those of q and k have equal strides. Returns the gradient of the bias table in its type, or an empty tensor if it
    is not wanted.
    """
    q, k, v = dense(q), dense(k), dense(v)
    wanted = table and bias is not None
    run = backward_run(problem(q, k, v, bias, geometry, scale, plan, into=into, maps=maps, table=wanted))
    with on_device(q):
        result: Tensor = run(
            grad.contiguous(), q, k, v, q if bias is None else bias.contiguous(), out.contiguous(), lse.contiguous(),
            *into,
        )  # fmt: skip
    return result


@lru_cache(maxsize=1024)
def forward_run(call: Problem) -> Callable[..., None]:
    """The function that runs a forward."""
    return tiled_launch.forward(call) if call.window is None else window_launch.forward(call, call.window)


@lru_cache(maxsize=1024)
def backward_run(call: Problem) -> Callable[..., Tensor]:
    """The function that runs a backward."""
    return tiled_launch.backward(call) if call.window is None else window_launch.backward(call, call.window)


def dense(x: Tensor) -> Tensor:
    """The tensor with its channels side by side in memory; the other strides are free."""
    return x if x.stride(-1) == 1 else x.contiguous()


def on_device(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which the device of ``x`` is the current one."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()

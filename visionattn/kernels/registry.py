"""Turns a pair of plain functions into a registered torch op: fake rule, autograd rule and FLOP counts, the same for
every backend.

Legend: B batch, H W map, N heads, D head width of queries and keys, E head width of values.
"""

# No `from __future__ import annotations` here: the op's schema is read from the annotations.
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from visionattn.kernels.geometry import Geometry, decode
from visionattn.kernels.op import AttentionFn, check_bias

Gradients = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Kernel:
    """The two functions of a backend.

    forward(q, k, v, bias, geometry, scale) -> (out (B, H, W, N, E), stats): both contiguous; stats has the shape
    `stats_shape(q)`. backward(grad, q, k, v, bias, out, stats, geometry, scale) -> the gradients of q, k, v,
    contiguous and of their type, and of the bias table, contiguous and of the bias's type; an empty tensor stands for
    the last one where bias is None. stats_shape(q): shape of what forward leaves to backward beside the output, in
    `stats_dtype(q.dtype)`.
    """

    forward: Callable[[Tensor, Tensor, Tensor, Tensor | None, Geometry, float], tuple[Tensor, Tensor]]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor, Tensor, Geometry, float], Gradients]
    stats_shape: Callable[[Tensor], Sequence[int]]


def stats_dtype(dtype: torch.dtype) -> torch.dtype:
    """Type in which sums are kept: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def no_stats(q: Tensor) -> Sequence[int]:
    """The `stats_shape` of a kernel whose backward needs nothing but the inputs and the output."""
    return (0,)


def log_sum_exp_shape(q: Tensor) -> Sequence[int]:
    """The `stats_shape` (B, H, W, N) of a kernel that keeps each query's log-sum-exp."""
    return q.shape[:4]


def register_attention(name: str, kernel: Kernel) -> AttentionFn:
    """Registers `visionattn::<name>` and `visionattn::<name>_backward`; returns the function that a `Backend` takes."""
    forward_op, backward_op = _forward_op(name, kernel), _backward_op(name, kernel)

    def setup_context(ctx, inputs, output) -> None:
        q, k, v, bias, ctx.rows, ctx.cols, ctx.scale = inputs
        ctx.save_for_backward(q, k, v, bias, *output)
        ctx.set_materialize_grads(False)

    def backward(ctx, grad, grad_stats):
        if grad is None:
            return (None,) * 7
        q, k, v, bias, out, stats = ctx.saved_tensors
        *maps, table = backward_op(grad, q, k, v, bias, out, stats, ctx.rows, ctx.cols, ctx.scale)
        return *maps, None if bias is None else table, None, None, None

    forward_op.register_autograd(backward, setup_context=setup_context)
    register_attention_flops(name)

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
        return forward_op(q, k, v, bias, geometry.rows.encode(), geometry.cols.encode(), scale)[0]

    return attend


def _forward_op(name: str, kernel: Kernel):
    @torch.library.custom_op(f"visionattn::{name}", mutates_args=())
    def forward(
        q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, rows: Sequence[int], cols: Sequence[int], scale: float
    ) -> tuple[Tensor, Tensor]:
        return kernel.forward(q, k, v, bias, fitting(q, bias, rows, cols), scale)

    @forward.register_fake
    def fake(q, k, v, bias, rows, cols, scale):
        return v.new_empty(v.shape), q.new_empty(kernel.stats_shape(q), dtype=stats_dtype(q.dtype))

    return forward


def fitting(q: Tensor, bias: Tensor | None, rows: Sequence[int], cols: Sequence[int]) -> Geometry:
    """The geometry that `rows` and `cols` encode. Raises ValueError where it does not fit the map or the bias table:
    a compiled or exported graph takes sizes that nobody could check while it was traced."""
    geometry = decode(rows, cols)
    geometry.check(q.shape[1], q.shape[2])
    if bias is not None:
        check_bias("window_attention" if geometry.is_window else "neighborhood_attention", q, bias, geometry)
    return geometry


def _backward_op(name: str, kernel: Kernel):
    @torch.library.custom_op(f"visionattn::{name}_backward", mutates_args=())
    def backward(
        grad: Tensor,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: Tensor | None,
        out: Tensor,
        stats: Tensor,
        rows: Sequence[int],
        cols: Sequence[int],
        scale: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return kernel.backward(grad, q, k, v, bias, out, stats, decode(rows, cols), scale)

    @backward.register_fake
    def fake(grad, q, k, v, bias, out, stats, rows, cols, scale):
        table = q.new_empty(0) if bias is None else bias.new_empty(bias.shape)
        return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), table

    return backward


def register_attention_flops(name: str) -> None:
    """FLOP formulas of `visionattn::<name>` and its backward, whose arguments must be those of `register_attention`'s
    ops.

    Counted are real pairs of query and key only: 2 * (D + E) each and head forward, twice that backward
    (recomputation not counted).
    """

    def forward(q_shape, k_shape, v_shape, bias_shape, rows, cols, scale, *args, out_shape=None, **kwargs) -> int:
        batch, height, width, heads, depth = q_shape
        return 2 * (depth + v_shape[-1]) * batch * heads * decode(rows, cols).pairs(height, width)

    def backward(grad, q, k, v, bias, out, stats, rows, cols, scale, *args, out_shape=None, **kwargs) -> int:
        return 2 * forward(q, k, v, bias, rows, cols, scale)

    register_flop_formula(getattr(torch.ops.visionattn, name))(forward)
    register_flop_formula(getattr(torch.ops.visionattn, f"{name}_backward"))(backward)

"""Turn a pair of plain functions into a registered torch op.

The fake rule, the autograd rule and the FLOP counts are the same for every backend.

Legend: B batch, H W map, N heads, D head width of queries and keys, E head width of values.
"""

# No `from __future__ import annotations` here: the op's schema is read from the annotations.
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from visionattn.kernels.geometry import Geometry, decode
from visionattn.kernels.op import AttentionFn, PackedFn, check_bias

Maps = Sequence[Tensor]


@dataclass(frozen=True)
class Kernel:
    """The functions of a backend.

    Attributes:
        forward: ``(q, k, v, bias, geometry, scale) -> (out (B, H, W, N, E), stats)``, both contiguous.
        backward: ``(grad, q, k, v, bias, out, stats, geometry, scale, into, maps, table)``. It writes the gradients of
            q, k and v into the three maps ``into``, of any strides but with channels side by side; if ``maps`` is False
            it need not. It returns that of the bias table, contiguous and of the bias's type, or an empty tensor where
            bias is None or ``table`` False.
        stats_shape: of q, the shape of ``stats``, what forward leaves to backward beside the output; its type is
            ``stats_dtype(q.dtype)``.
    """

    forward: Callable[[Tensor, Tensor, Tensor, Tensor | None, Geometry, float], tuple[Tensor, Tensor]]
    backward: Callable[
        [Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor, Tensor, Geometry, float, Maps, bool, bool], Tensor
    ]
    stats_shape: Callable[[Tensor], Sequence[int]]


def stats_dtype(dtype: torch.dtype) -> torch.dtype:
    """Type in which sums are kept: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def no_stats(q: Tensor) -> Sequence[int]:
    """The ``stats_shape`` of a kernel whose backward needs nothing but the inputs and the output."""
    return (0,)


def register_attention(name: str, kernel: Kernel) -> AttentionFn:
    """Register ``visionattn::<name>`` and ``visionattn::<name>_backward``; return the function of a ``Backend``."""
    forward_op, backward_op = _forward_op(name, kernel), _backward_op(name, kernel)

    def setup_context(ctx, inputs, output) -> None:
        q, k, v, bias, ctx.rows, ctx.cols, ctx.scale = inputs
        ctx.save_for_backward(q, k, v, bias, *output)
        ctx.set_materialize_grads(False)

    def backward(ctx, grad, grad_stats):
        if grad is None:
            return (None,) * 7
        maps, table = any(ctx.needs_input_grad[:3]), ctx.needs_input_grad[3]
        *gradients, of_table = backward_op(grad, *ctx.saved_tensors, ctx.rows, ctx.cols, ctx.scale, maps, table)
        return *(gradients if maps else (None,) * 3), of_table if table else None, None, None, None

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
    """The geometry that ``rows`` and ``cols`` encode, checked.

    A compiled or exported graph takes sizes that could not be checked while it was traced.

    Raises:
        ValueError: it does not fit the map or the bias table.
    """
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
        maps: bool = True,
        table: bool = True,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        into = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
        return *into, kernel.backward(grad, q, k, v, bias, out, stats, decode(rows, cols), scale, into, maps, table)

    @backward.register_fake
    def fake(grad, q, k, v, bias, out, stats, rows, cols, scale, maps=True, table=True):
        return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), _table_like(q, bias, table)

    return backward


def register_packed_attention(name: str, kernel: Kernel) -> PackedFn:
    """Register ``visionattn::<name>_packed``: q, k and v in one tensor ``(B, H, W, 3, N, D)``.

    The gradient is one such tensor, written in place: autograd has nothing to stack.
    """
    forward_op, backward_op = _packed_forward_op(name, kernel), _packed_backward_op(name, kernel)

    def setup_context(ctx, inputs, output) -> None:
        qkv, bias, ctx.rows, ctx.cols, ctx.scale = inputs
        ctx.save_for_backward(qkv, bias, *output)
        ctx.set_materialize_grads(False)

    def backward(ctx, grad, grad_stats):
        if grad is None:
            return (None,) * 5
        maps, table = ctx.needs_input_grad[:2]
        gradient, of_table = backward_op(grad, *ctx.saved_tensors, ctx.rows, ctx.cols, ctx.scale, maps, table)
        return gradient if maps else None, of_table if table else None, None, None, None

    forward_op.register_autograd(backward, setup_context=setup_context)
    register_packed_flops(name)

    def attend(qkv: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
        return forward_op(qkv, bias, geometry.rows.encode(), geometry.cols.encode(), scale)[0]

    return attend


def _packed_forward_op(name: str, kernel: Kernel):
    @torch.library.custom_op(f"visionattn::{name}_packed", mutates_args=())
    def forward(
        qkv: Tensor, bias: Tensor | None, rows: Sequence[int], cols: Sequence[int], scale: float
    ) -> tuple[Tensor, Tensor]:
        q, k, v = qkv.unbind(3)
        return kernel.forward(q, k, v, bias, fitting(q, bias, rows, cols), scale)

    @forward.register_fake
    def fake(qkv, bias, rows, cols, scale):
        q = qkv.select(3, 0)
        return q.new_empty(q.shape), q.new_empty(kernel.stats_shape(q), dtype=stats_dtype(q.dtype))

    return forward


def _packed_backward_op(name: str, kernel: Kernel):
    @torch.library.custom_op(f"visionattn::{name}_packed_backward", mutates_args=())
    def backward(
        grad: Tensor,
        qkv: Tensor,
        bias: Tensor | None,
        out: Tensor,
        stats: Tensor,
        rows: Sequence[int],
        cols: Sequence[int],
        scale: float,
        maps: bool = True,
        table: bool = True,
    ) -> tuple[Tensor, Tensor]:
        q, k, v = qkv.unbind(3)
        gradient = qkv.new_empty(qkv.shape)
        into, geometry = gradient.unbind(3), decode(rows, cols)
        return gradient, kernel.backward(grad, q, k, v, bias, out, stats, geometry, scale, into, maps, table)

    @backward.register_fake
    def fake(grad, qkv, bias, out, stats, rows, cols, scale, maps=True, table=True):
        return qkv.new_empty(qkv.shape), _table_like(qkv, bias, table)

    return backward


def _table_like(q: Tensor, bias: Tensor | None, wanted: bool) -> Tensor:
    return bias.new_empty(bias.shape) if wanted and bias is not None else q.new_empty(0)


def register_attention_flops(name: str) -> None:
    """Register the FLOP formulas of ``visionattn::<name>`` and its backward.

    Their arguments must be those of :func:`register_attention`'s ops. Only real pairs of query and key are
    counted: 2 * (D + E) for each and head in the forward, twice that in the backward (without recomputation).
    """

    def forward(q_shape, k_shape, v_shape, bias_shape, rows, cols, scale, *args, out_shape=None, **kwargs) -> int:
        batch, height, width, heads, depth = q_shape
        return 2 * (depth + v_shape[-1]) * batch * heads * decode(rows, cols).pairs(height, width)

    def backward(grad, q, k, v, bias, out, stats, rows, cols, scale, *args, out_shape=None, **kwargs) -> int:
        return 2 * forward(q, k, v, bias, rows, cols, scale)

    register_flop_formula(getattr(torch.ops.visionattn, name))(forward)
    register_flop_formula(getattr(torch.ops.visionattn, f"{name}_backward"))(backward)


def register_packed_flops(name: str) -> None:
    """The same formulas for ``visionattn::<name>_packed`` and its backward."""

    def forward(qkv_shape, bias_shape, rows, cols, scale, *args, out_shape=None, **kwargs) -> int:
        batch, height, width, _, heads, depth = qkv_shape
        return 4 * depth * batch * heads * decode(rows, cols).pairs(height, width)

    def backward(grad, qkv, bias, out, stats, rows, cols, scale, *args, out_shape=None, **kwargs) -> int:
        return 2 * forward(qkv, bias, rows, cols, scale)

    register_flop_formula(getattr(torch.ops.visionattn, f"{name}_packed"))(forward)
    register_flop_formula(getattr(torch.ops.visionattn, f"{name}_packed_backward"))(backward)

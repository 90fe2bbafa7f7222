"""FLOP formulas of the registered ops.

Only real pairs of query and key are counted: 2 * (D + E) for each and head in the forward, twice that in the backward
(without recomputation), with D and E the head widths of queries and of values.
"""

from __future__ import annotations

from typing import Any

from torch.utils.flop_counter import register_flop_formula

from visionattn.kernels.geometry import decode


def register_attention_flops(forward_op: Any, backward_op: Any, packed_op: Any, packed_backward_op: Any) -> None:
    """Register the formulas of ``visionattn::<name>``, ``visionattn::<name>_packed`` and their backwards."""

    def forward(q_shape, k_shape, v_shape, bias_shape, rows, cols, scale, *args, out_shape=None, **kwargs) -> int:
        batch, height, width, heads, depth = q_shape
        geometry = decode(rows, cols)
        return 2 * (depth - geometry.decay + v_shape[-1]) * batch * heads * geometry.pairs(height, width)

    def backward(grad, q, k, v, bias, out, stats, rows, cols, scale, *args, out_shape=None, **kwargs) -> int:
        return 2 * forward(q, k, v, bias, rows, cols, scale)

    def packed(qkv_shape, bias_shape, rows, cols, scale, *args, out_shape=None, **kwargs) -> int:
        batch, height, width, _, heads, depth = qkv_shape
        return 4 * depth * batch * heads * decode(rows, cols).pairs(height, width)

    def packed_backward(grad, qkv, bias, out, stats, rows, cols, scale, *args, out_shape=None, **kwargs) -> int:
        return 2 * packed(qkv, bias, rows, cols, scale)

    register_flop_formula(forward_op.overloadpacket)(forward)
    register_flop_formula(backward_op.overloadpacket)(backward)
    register_flop_formula(packed_op.overloadpacket)(packed)
    register_flop_formula(packed_backward_op.overloadpacket)(packed_backward)


def register_no_flops(*ops: Any) -> None:
    """Register that ops count nothing, as torch counts nothing of norms and of what acts on single numbers."""

    def nothing(*args, out_shape=None, **kwargs) -> int:
        return 0

    register_flop_formula([op.overloadpacket for op in ops])(nothing)

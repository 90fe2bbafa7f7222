"""The whole backward of a window that fits one block (Swin's 7x7, CSWin's 56x1, MaxViT's grid): one pass over memory.

Queries and keys of a window are the same points, so one program makes all three gradients of a window from one set of
logits. A program handles a fixed range of windows one after the other and keeps the sum of their logits' gradients in
registers, which is all the bias table needs.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.backward_bias import store_table
from visionattn.kernels.backends.triton.device import (
    LOG2E,
    group_length,
    load_rows,
    pair_logits,
    points,
    split_program,
    store_rows,
    tile_start,
)


@triton.jit
def window_gradient_kernel(
    q_ptr, k_ptr, v_ptr, table_ptr, out_ptr, grad_ptr, lse_ptr, dq_ptr, dk_ptr, dv_ptr, partial_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    heads, height, width, dilation_y, dilation_x, tiles_y, tiles_x,
    d_batch, d_row, d_column, d_head, dv_batch, dv_row, dv_column, dv_head, items, per_program, scale, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr,
    HAS_BIAS: tl.constexpr, BIAS_GRADIENT: tl.constexpr,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK: tl.constexpr, PRECISION: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """One program: (head, range of ``per_program`` windows). items = images * groups * windows of a group."""
    ENTRIES: tl.constexpr = (2 * SIZE_Y - 1) * (2 * SIZE_X - 1)
    pid = tl.program_id(0)
    head = pid % heads
    begin = pid // heads * per_program
    table_ptr += head * ENTRIES
    index = tl.arange(0, BLOCK)
    slopes = tl.zeros([BLOCK, BLOCK], tl.float32)
    for item in range(begin, tl.minimum(begin + per_program, items)):
        batch, _, group_y, group_x, tile_y, tile_x, _ = split_program(
            item, 1, dilation_y, dilation_x, tiles_y, tiles_x, 1
        )
        length_y = group_length(height, group_y, dilation_y)
        length_x = group_length(width, group_x, dilation_x)
        start_y = tile_start(tile_y, SIZE_Y, SIZE_Y, STEP_Y, True)
        start_x = tile_start(tile_x, SIZE_X, SIZE_X, STEP_X, True)
        y, x, inside = points(index, start_y, start_x, start_y + SIZE_Y, start_x + SIZE_X, length_y, length_x, SIZE_X)
        row, column = group_y + y * dilation_y, group_x + x * dilation_x
        point = row * width + column
        batch = batch.to(tl.int64)
        rows = batch * height * width * heads
        q = load_rows(q_ptr + batch * q_batch + head * q_head, row * q_row + column * q_column, inside, DEPTH, BLOCK_D)
        k = load_rows(k_ptr + batch * k_batch + head * k_head, row * k_row + column * k_column, inside, DEPTH, BLOCK_D)
        v = load_rows(
            v_ptr + batch * v_batch + head * v_head, row * v_row + column * v_column, inside, DEPTH_V, BLOCK_V
        )
        offset_v = point * (heads * DEPTH_V)
        out = load_rows(out_ptr + rows * DEPTH_V + head * DEPTH_V, offset_v, inside, DEPTH_V, BLOCK_V)
        grad = load_rows(grad_ptr + rows * DEPTH_V + head * DEPTH_V, offset_v, inside, DEPTH_V, BLOCK_V)
        lse = tl.load(lse_ptr + rows + head * height * width + point, mask=inside, other=0.0)
        delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1)
        logits = pair_logits(
            tl.dot(q, tl.trans(k), input_precision=PRECISION), y[:, None], x[:, None], y[None, :], x[None, :],
            inside[:, None] & inside[None, :], length_y, length_x, table_ptr, scale_log2,
            SIZE_Y, SIZE_X, STEP_Y, STEP_X, True, HAS_BIAS,
        )  # fmt: skip
        weights = tl.exp2(logits - (lse * LOG2E)[:, None])
        dv = tl.dot(tl.trans(weights.to(grad.dtype)), grad, input_precision=PRECISION)
        slope = weights * (tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        if BIAS_GRADIENT:
            slopes += slope
        slope = slope.to(q.dtype)
        dq = tl.dot(slope, k, input_precision=PRECISION) * scale
        dk = tl.dot(tl.trans(slope), q, input_precision=PRECISION) * scale
        base, offset = batch * d_batch + head * d_head, row * d_row + column * d_column
        store_rows(dq_ptr + base, offset, dq, inside, DEPTH, BLOCK_D)
        store_rows(dk_ptr + base, offset, dk, inside, DEPTH, BLOCK_D)
        offset = row * dv_row + column * dv_column
        store_rows(dv_ptr + batch * dv_batch + head * dv_head, offset, dv, inside, DEPTH_V, BLOCK_V)
    if BIAS_GRADIENT:
        store_table(
            partial_ptr + pid.to(tl.int64) * ENTRIES, slopes, 0, 0, index, 0,
            SIZE_Y, SIZE_X, SIZE_X, SIZE_X, BLOCK, BLOCK, BLOCK_R,
        )  # fmt: skip

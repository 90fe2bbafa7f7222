"""The query-centered half of the backward: gradient of q, and the row sums that the other half needs."""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import (
    LOG2E,
    key_range,
    load_rows,
    locate,
    pair_logits,
    points,
    store_rows,
)


@triton.jit
def query_gradient_kernel(
    q_ptr, k_ptr, v_ptr, table_ptr, out_ptr, grad_ptr, lse_ptr, delta_ptr, dq_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    heads, height, width, dilation_y, dilation_x, tiles_y, tiles_x,
    dq_batch, dq_row, dq_column, dq_head, scale, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr,
    WINDOWED: tl.constexpr, HAS_BIAS: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, SPAN_X: tl.constexpr,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCKS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: one block of queries. delta = sum over channels of output * its gradient, the softmax's row term."""
    batch, head, group_y, group_x, length_y, length_x, start_y, start_x, query_y, query_x, query_in = locate(
        tl.program_id(0), heads, height, width, dilation_y, dilation_x, tiles_y, tiles_x,
        SIZE_Y, SIZE_X, STEP_Y, STEP_X, WINDOWED, TILE_Y, TILE_X, BLOCK_M, BLOCKS,
    )  # fmt: skip
    if (start_y >= length_y) | (start_x >= length_x):
        return
    map_y, map_x = group_y + query_y * dilation_y, group_x + query_x * dilation_x
    point = map_y * width + map_x
    q = load_rows(q_ptr + batch * q_batch + head * q_head, map_y * q_row + map_x * q_column, query_in, DEPTH, BLOCK_D)
    out_base = batch * height * width * heads * DEPTH_V + head * DEPTH_V
    out = load_rows(out_ptr + out_base, point * (heads * DEPTH_V), query_in, DEPTH_V, BLOCK_V)
    grad = load_rows(grad_ptr + out_base, point * (heads * DEPTH_V), query_in, DEPTH_V, BLOCK_V)
    delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1)
    row_base = (batch * heads + head) * height * width
    tl.store(delta_ptr + row_base + point, delta, mask=query_in)
    lse_log2 = tl.load(lse_ptr + row_base + point, mask=query_in, other=0.0) * LOG2E
    k_ptr += batch * k_batch + head * k_head
    v_ptr += batch * v_batch + head * v_head
    table_ptr += head * (2 * SIZE_Y - 1) * (2 * SIZE_X - 1)

    first_y, stop_y = key_range(start_y, length_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED)
    first_x, stop_x = key_range(start_x, length_x, TILE_X, SIZE_X, STEP_X, WINDOWED)
    dq = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for begin in range(0, (stop_y - first_y) * SPAN_X, BLOCK_N):
        key_y, key_x, key_in = points(
            begin + tl.arange(0, BLOCK_N), first_y, first_x, stop_y, stop_x, length_y, length_x, SPAN_X
        )
        row, column = group_y + key_y * dilation_y, group_x + key_x * dilation_x
        k = load_rows(k_ptr, row * k_row + column * k_column, key_in, DEPTH, BLOCK_D)
        v = load_rows(v_ptr, row * v_row + column * v_column, key_in, DEPTH_V, BLOCK_V)
        logits = pair_logits(
            tl.dot(q, tl.trans(k), input_precision=PRECISION), query_y[:, None], query_x[:, None], key_y[None, :],
            key_x[None, :], query_in[:, None] & key_in[None, :], length_y, length_x, table_ptr, scale_log2,
            SIZE_Y, SIZE_X, STEP_Y, STEP_X, WINDOWED, HAS_BIAS,
        )  # fmt: skip
        weights = tl.exp2(logits - lse_log2[:, None])
        slope = weights * (tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        dq += tl.dot(slope.to(k.dtype), k, input_precision=PRECISION)
    dq_ptr += batch * dq_batch + head * dq_head
    store_rows(dq_ptr, map_y * dq_row + map_x * dq_column, dq * scale, query_in, DEPTH, BLOCK_D)

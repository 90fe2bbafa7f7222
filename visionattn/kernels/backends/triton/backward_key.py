"""The key-centered half of the backward: gradients of k and v without atomics.

A program owns a block of keys and walks over the rectangle of queries that can see them, so every sum has one owner
and one order.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import (
    LOG2E,
    load_rows,
    locate,
    pair_logits,
    points,
    query_range,
    store_rows,
)


@triton.jit
def key_gradient_kernel(
    q_ptr, k_ptr, v_ptr, table_ptr, grad_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    heads, height, width, dilation_y, dilation_x, tiles_y, tiles_x,
    dk_batch, dk_row, dk_column, dk_head, dv_batch, dv_row, dv_column, dv_head, scale, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr,
    WINDOWED: tl.constexpr, HAS_BIAS: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, SPAN_X: tl.constexpr,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCKS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: one block of BLOCK_M keys; queries come BLOCK_N at a time. Logits are laid out (keys, queries)."""
    batch, head, group_y, group_x, length_y, length_x, start_y, start_x, key_y, key_x, key_in = locate(
        tl.program_id(0), heads, height, width, dilation_y, dilation_x, tiles_y, tiles_x,
        SIZE_Y, SIZE_X, STEP_Y, STEP_X, WINDOWED, TILE_Y, TILE_X, BLOCK_M, BLOCKS,
    )  # fmt: skip
    if (start_y >= length_y) | (start_x >= length_x):
        return
    map_y, map_x = group_y + key_y * dilation_y, group_x + key_x * dilation_x
    k = load_rows(k_ptr + batch * k_batch + head * k_head, map_y * k_row + map_x * k_column, key_in, DEPTH, BLOCK_D)
    v = load_rows(v_ptr + batch * v_batch + head * v_head, map_y * v_row + map_x * v_column, key_in, DEPTH_V, BLOCK_V)
    q_ptr += batch * q_batch + head * q_head
    grad_ptr += batch * height * width * heads * DEPTH_V + head * DEPTH_V
    row_base = (batch * heads + head) * height * width
    table_ptr += head * (2 * SIZE_Y - 1) * (2 * SIZE_X - 1)

    first_y, stop_y = query_range(start_y, length_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED)
    first_x, stop_x = query_range(start_x, length_x, TILE_X, SIZE_X, STEP_X, WINDOWED)
    dk = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_M, BLOCK_V], tl.float32)
    for begin in range(0, (stop_y - first_y) * SPAN_X, BLOCK_N):
        query_y, query_x, query_in = points(
            begin + tl.arange(0, BLOCK_N), first_y, first_x, stop_y, stop_x, length_y, length_x, SPAN_X
        )
        row, column = group_y + query_y * dilation_y, group_x + query_x * dilation_x
        point = row * width + column
        q = load_rows(q_ptr, row * q_row + column * q_column, query_in, DEPTH, BLOCK_D)
        grad = load_rows(grad_ptr, point * (heads * DEPTH_V), query_in, DEPTH_V, BLOCK_V)
        lse_log2 = tl.load(lse_ptr + row_base + point, mask=query_in, other=0.0) * LOG2E
        delta = tl.load(delta_ptr + row_base + point, mask=query_in, other=0.0)
        logits = pair_logits(
            tl.dot(k, tl.trans(q), input_precision=PRECISION), query_y[None, :], query_x[None, :], key_y[:, None],
            key_x[:, None], query_in[None, :] & key_in[:, None], length_y, length_x, table_ptr, scale_log2,
            SIZE_Y, SIZE_X, STEP_Y, STEP_X, WINDOWED, HAS_BIAS,
        )  # fmt: skip
        weights = tl.exp2(logits - lse_log2[None, :])
        dv += tl.dot(weights.to(grad.dtype), grad, input_precision=PRECISION)
        slope = weights * (tl.dot(v, tl.trans(grad), input_precision=PRECISION) - delta[None, :])
        dk += tl.dot(slope.to(q.dtype), q, input_precision=PRECISION)
    dk_ptr += batch * dk_batch + head * dk_head
    dv_ptr += batch * dv_batch + head * dv_head
    store_rows(dk_ptr, map_y * dk_row + map_x * dk_column, dk * scale, key_in, DEPTH, BLOCK_D)
    store_rows(dv_ptr, map_y * dv_row + map_x * dv_column, dv, key_in, DEPTH_V, BLOCK_V)

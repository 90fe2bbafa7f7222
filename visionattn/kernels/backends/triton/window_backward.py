"""The whole backward of windows that fit one block: all gradients of a window from one set of logits, one pass.

The logits of a query stand in one block, so their softmax is computed again from q and k, and the softmax's row term
from the weights' gradients: neither the output nor a log-sum-exp of the forward is read. A program handles a fixed
range of windows one after the other and keeps the sum of their logits' gradients in registers, which is all that the
bias table needs.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.backward_bias import store_table
from visionattn.kernels.backends.triton.device import load_places, load_rows, store_places, store_rows
from visionattn.kernels.backends.triton.window_device import (
    first_window,
    next_window,
    pair_bias,
    program_range,
    window_points,
    window_weights,
)


@triton.jit
def window_backward_kernel(
    grad_ptr, q_ptr, k_ptr, v_ptr, table_ptr, dq_ptr, dk_ptr, dv_ptr, partial_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    dq_batch, dq_row, dq_column, dq_head, dv_batch, dv_row, dv_column, dv_head,
    heads, height, width, dilation_y, dilation_x, tiles_y, tiles_x, items, parts, scale, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, OFFSET_Y: tl.constexpr, OFFSET_X: tl.constexpr,
    MERGED_Y: tl.constexpr, MERGED_X: tl.constexpr, BORDER: tl.constexpr, HAS_BIAS: tl.constexpr,
    MAPS: tl.constexpr, TABLE: tl.constexpr, DEPTH: tl.constexpr, DEPTH_V: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK: tl.constexpr, BLOCK_R: tl.constexpr,
    EXACT: tl.constexpr, PRECISION: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """One program: (head, range of windows)."""
    ENTRIES: tl.constexpr = (2 * SIZE_Y - 1) * (2 * SIZE_X - 1)
    head = tl.program_id(0) % heads
    begin, stop = program_range(tl.program_id(0) // heads, parts, items)
    index = tl.arange(0, BLOCK)
    bias, pair_cuts = pair_bias(
        table_ptr + head * ENTRIES, index, SIZE_Y, SIZE_X, OFFSET_Y, OFFSET_X, MERGED_Y, MERGED_X, HAS_BIAS, EXACT
    )
    q_ptr, k_ptr, v_ptr = q_ptr + head * q_head, k_ptr + head * k_head, v_ptr + head * v_head
    dq_ptr, dk_ptr, dv_ptr = dq_ptr + head * dq_head, dk_ptr + head * dq_head, dv_ptr + head * dv_head
    grad_ptr += head * DEPTH_V
    batch, group_y, group_x, tile_y, tile_x = first_window(begin, dilation_y, dilation_x, tiles_y, tiles_x)
    slopes = tl.zeros([BLOCK, BLOCK], tl.float32)
    for _ in range(begin, stop):
        row, column, inside, cut = window_points(
            index, group_y, group_x, tile_y, tile_x, height, width, dilation_y, dilation_x, tiles_y, tiles_x,
            SIZE_Y, SIZE_X, OFFSET_Y, OFFSET_X, MERGED_Y, MERGED_X, BORDER,
        )  # fmt: skip
        image = batch.to(tl.int64)
        q = load_rows(q_ptr + image * q_batch, row * q_row + column * q_column, inside, DEPTH, BLOCK_D)
        k = load_rows(k_ptr + image * k_batch, row * k_row + column * k_column, inside, DEPTH, BLOCK_D)
        v = load_rows(v_ptr + image * v_batch, row * v_row + column * v_column, inside, DEPTH_V, BLOCK_V)
        grad = load_rows(
            grad_ptr + image * height * width * heads * DEPTH_V, (row * width + column) * (heads * DEPTH_V), inside,
            DEPTH_V, BLOCK_V,
        )  # fmt: skip
        apart = bias
        if DECAY:
            places = load_places(q_ptr + image * q_batch, row * q_row + column * q_column, inside, DEPTH, DECAY)
            at_keys = load_places(k_ptr + image * k_batch, row * k_row + column * k_column, inside, DEPTH, DECAY)
            apart = places[:, None] - at_keys[None, :]
        weights, _, total = window_weights(
            tl.dot(q, tl.trans(k), input_precision=PRECISION), bias, apart, pair_cuts, cut, inside, scale_log2,
            HAS_BIAS or SIZE_Y * SIZE_X < BLOCK, DECAY, MERGED_Y or MERGED_X, BORDER, EXACT,
        )  # fmt: skip
        weights *= (1.0 / total)[:, None]
        slope = weights * tl.dot(grad, tl.trans(v), input_precision=PRECISION)
        slope -= weights * tl.sum(slope, 1)[:, None]
        if TABLE:
            slopes += slope
        offset = row * dq_row + column * dq_column
        if DECAY:
            toward = tl.where(apart > 0.0, slope, tl.where(apart < 0.0, -slope, 0.0))
            store_places(dq_ptr + image * dq_batch, offset, -tl.sum(toward, 1), inside, DEPTH, DECAY)
            store_places(dk_ptr + image * dq_batch, offset, tl.sum(toward, 0), inside, DEPTH, DECAY)
        if MAPS:  # of the orders tried, this one needs the fewest registers
            slope = slope.to(q.dtype)
            dv = tl.dot(tl.trans(weights.to(grad.dtype)), grad, input_precision=PRECISION)
            dq = tl.dot(slope, k, input_precision=PRECISION) * scale
            dk = tl.dot(tl.trans(slope), q, input_precision=PRECISION) * scale
            store_rows(dq_ptr + image * dq_batch, offset, dq, inside, DEPTH, BLOCK_D)
            store_rows(dk_ptr + image * dq_batch, offset, dk, inside, DEPTH, BLOCK_D)
            store_rows(dv_ptr + image * dv_batch, row * dv_row + column * dv_column, dv, inside, DEPTH_V, BLOCK_V)
        batch, group_y, group_x, tile_y, tile_x = next_window(
            batch, group_y, group_x, tile_y, tile_x, dilation_y, dilation_x, tiles_y, tiles_x
        )
    if TABLE:
        index += tl.minimum(batch, 0)  # zero, but known after the loop only: nothing is held in registers until here
        store_table(
            partial_ptr + tl.program_id(0).to(tl.int64) * ENTRIES, slopes, 0, 0, index, 0,
            SIZE_Y, SIZE_X, SIZE_X, SIZE_X, BLOCK, BLOCK, BLOCK_R,
        )  # fmt: skip


@triton.jit
def table_sum_kernel(
    partial_ptr, table_ptr, parts, heads, ENTRIES: tl.constexpr, BLOCK_P: tl.constexpr, BLOCK_R: tl.constexpr
):
    """One program: some entries of one head's table, summed over the parts (parts, heads, entries) in a fixed order."""
    head = tl.program_id(1)
    entry = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    total = tl.zeros([BLOCK_P, BLOCK_R], tl.float32)
    for begin in range(0, parts, BLOCK_P):
        part = begin + tl.arange(0, BLOCK_P)
        offset = (part * heads + head)[:, None] * ENTRIES + entry[None, :]
        total += tl.load(partial_ptr + offset, mask=(part < parts)[:, None] & (entry < ENTRIES)[None, :], other=0.0)
    result = tl.sum(total, 0).to(table_ptr.dtype.element_ty)
    tl.store(table_ptr + head * ENTRIES + entry, result, mask=entry < ENTRIES)

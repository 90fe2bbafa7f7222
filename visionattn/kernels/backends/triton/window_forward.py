"""The forward of windows that fit one block: no online softmax, no loop over keys, the bias held in registers."""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import LN2, load_places, load_rows, store_rows
from visionattn.kernels.backends.triton.window_device import (
    first_window,
    next_window,
    pair_bias,
    program_range,
    window_points,
    window_weights,
)


@triton.jit
def window_forward_kernel(
    q_ptr, k_ptr, v_ptr, table_ptr, out_ptr, lse_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    heads, height, width, dilation_y, dilation_x, tiles_y, tiles_x, items, parts, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, OFFSET_Y: tl.constexpr, OFFSET_X: tl.constexpr, MERGED_Y: tl.constexpr,
    MERGED_X: tl.constexpr, BORDER: tl.constexpr, HAS_BIAS: tl.constexpr, DEPTH: tl.constexpr, DEPTH_V: tl.constexpr,
    BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr, BLOCK: tl.constexpr, EXACT: tl.constexpr, PRECISION: tl.constexpr,
    DECAY: tl.constexpr,
):  # fmt: skip
    """One program: (head, range of windows). Writes the output and the natural log-sum-exp."""
    head = tl.program_id(0) % heads
    begin, stop = program_range(tl.program_id(0) // heads, parts, items)
    index = tl.arange(0, BLOCK)
    bias, pair_cuts = pair_bias(
        table_ptr + head * (2 * SIZE_Y - 1) * (2 * SIZE_X - 1), index, SIZE_Y, SIZE_X, OFFSET_Y, OFFSET_X,
        MERGED_Y, MERGED_X, HAS_BIAS, EXACT,
    )  # fmt: skip
    q_ptr, k_ptr, v_ptr = q_ptr + head * q_head, k_ptr + head * k_head, v_ptr + head * v_head
    out_ptr, lse_ptr = out_ptr + head * DEPTH_V, lse_ptr + head * height * width
    batch, group_y, group_x, tile_y, tile_x = first_window(begin, dilation_y, dilation_x, tiles_y, tiles_x)
    for _ in range(begin, stop):
        row, column, inside, cut = window_points(
            index, group_y, group_x, tile_y, tile_x, height, width, dilation_y, dilation_x, tiles_y, tiles_x,
            SIZE_Y, SIZE_X, OFFSET_Y, OFFSET_X, MERGED_Y, MERGED_X, BORDER,
        )  # fmt: skip
        image, point = batch.to(tl.int64), row * width + column
        q = load_rows(q_ptr + image * q_batch, row * q_row + column * q_column, inside, DEPTH, BLOCK_D)
        k = load_rows(k_ptr + image * k_batch, row * k_row + column * k_column, inside, DEPTH, BLOCK_D)
        v = load_rows(v_ptr + image * v_batch, row * v_row + column * v_column, inside, DEPTH_V, BLOCK_V)
        apart = bias
        if DECAY:
            places = load_places(q_ptr + image * q_batch, row * q_row + column * q_column, inside, DEPTH, DECAY)
            at_keys = load_places(k_ptr + image * k_batch, row * k_row + column * k_column, inside, DEPTH, DECAY)
            apart = places[:, None] - at_keys[None, :]
        weights, top, total = window_weights(
            tl.dot(q, tl.trans(k), input_precision=PRECISION), bias, apart, pair_cuts, cut, inside, scale_log2,
            HAS_BIAS or SIZE_Y * SIZE_X < BLOCK, DECAY, MERGED_Y or MERGED_X, BORDER, EXACT,
        )  # fmt: skip
        mixed = tl.dot(weights.to(v.dtype), v, input_precision=PRECISION) * (1.0 / total)[:, None]
        rows = image * height * width * heads
        store_rows(out_ptr + rows * DEPTH_V, point * (heads * DEPTH_V), mixed, inside, DEPTH_V, BLOCK_V)
        tl.store(lse_ptr + rows + point, (top + tl.log2(total)) * LN2, mask=inside)
        batch, group_y, group_x, tile_y, tile_x = next_window(
            batch, group_y, group_x, tile_y, tile_x, dilation_y, dilation_x, tiles_y, tiles_x
        )

"""The fused forward kernel of window and neighborhood attention: online softmax over the keys of a query tile."""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import LN2, LOG2E, group_length, load_places, load_rows, store_rows
from visionattn.kernels.backends.triton.tiles import (
    numbered,
    own_points,
    pair_scores,
    partner_bounds,
    program,
    relation_of,
    signed,
    tile_bounds,
)


@triton.jit
def forward_kernel(
    q_ptr, k_ptr, v_ptr, picture_ptr, out_ptr, lse_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    images, heads, height, width, dilation_y, dilation_x, tiles_x, edge, tail, period, relations, all_relations,
    scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr,
    WINDOWED: tl.constexpr, HAS_BIAS: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr,
    WIDE: tl.constexpr, CHUNK: tl.constexpr, SIGN: tl.constexpr,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """One program: one tile of queries of one head. Writes the output and the natural log-sum-exp."""
    image, head, group_y, group_x, tile_y, tile_x = program(heads, dilation_y, dilation_x, tiles_x)
    length_y, length_x = group_length(height, group_y, dilation_y), group_length(width, group_x, dilation_x)
    start_y, stop_y = tile_bounds(tile_y, length_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED)
    start_x, stop_x = tile_bounds(tile_x, length_x, TILE_X, SIZE_X, STEP_X, WINDOWED)
    if (image >= images) | (stop_y <= tl.maximum(start_y, 0)) | (stop_x <= tl.maximum(start_x, 0)):
        return
    query_y, query_x, query_in = own_points(start_y, start_x, stop_y, stop_x, TILE_Y, TILE_X, BLOCK_M)
    column = tl.arange(0, BLOCK_M) % TILE_X
    q_ptr += image * q_batch + head * q_head + group_y * q_row + group_x * q_column
    k_ptr += image * k_batch + head * k_head + group_y * k_row + group_x * k_column
    v_ptr += image * v_batch + head * v_head + group_y * v_row + group_x * v_column
    q_place = query_y * (dilation_y * q_row) + query_x * (dilation_x * q_column)
    q = signed(load_rows(q_ptr, q_place, query_in, DEPTH, BLOCK_D), SIGN)
    query_places = load_places(q_ptr, q_place, query_in, DEPTH, DECAY)
    rank = relation_of(
        tile_x, group_x, width, dilation_x, length_x, edge, tail, period, relations, TILE_X, SIZE_X, STEP_X, WINDOWED
    )
    picture_ptr += (head * all_relations + rank).to(tl.int64) * ((2 * SIZE_Y - 1) * TILE_X * WIDE)
    first_y, end_y = partner_bounds(tile_y, start_y, stop_y, length_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED, False)
    first_x, end_x = partner_bounds(tile_x, start_x, stop_x, length_x, TILE_X, SIZE_X, STEP_X, WINDOWED, False)
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    mixed = tl.zeros([BLOCK_M, BLOCK_V], tl.float32)
    for begin in range(0, (end_y - first_y) * WIDE, BLOCK_N):
        key_y, key_x = numbered(begin, BLOCK_N, WIDE)
        key_y, key_x = first_y + key_y, first_x + key_x
        key_in = (key_y < end_y) & (key_x < end_x)
        k_place = key_y * (dilation_y * k_row) + key_x * (dilation_x * k_column)
        k = load_rows(k_ptr, k_place, key_in, DEPTH, BLOCK_D)
        v_place = key_y * (dilation_y * v_row) + key_x * (dilation_x * v_column)
        v = load_rows(v_ptr, v_place, key_in, DEPTH_V, BLOCK_V)
        scores = pair_scores(
            q, k, picture_ptr, begin, query_y, query_x, column, query_in,
            key_y, key_x, first_y, end_y, end_x, length_y, length_x,
            SIZE_Y, SIZE_X, STEP_Y, STEP_X, WINDOWED, HAS_BIAS, TILE_X, WIDE, CHUNK, BLOCK_N, PRECISION, False,
        )  # fmt: skip
        if DECAY:
            apart = query_places[:, None] - load_places(k_ptr, k_place, key_in, DEPTH, DECAY)[None, :]
            scores -= tl.abs(apart) * (LOG2E / scale_log2)
        new_top = tl.maximum(top, tl.max(scores, 1) * scale_log2)
        anchor = tl.where(new_top == float("-inf"), 0.0, new_top)  # a row that has seen no key yet
        weights = tl.exp2(scores * scale_log2 - anchor[:, None])
        fade = tl.exp2(top - anchor)
        total = total * fade + tl.sum(weights, 1)
        mixed = mixed * fade[:, None] + tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
        top = new_top

    total = tl.where(query_in, total, 1.0)
    point = (group_y + query_y * dilation_y) * width + group_x + query_x * dilation_x
    out_ptr += image * (height * width * heads * DEPTH_V) + head * DEPTH_V
    store_rows(out_ptr, point * (heads * DEPTH_V), mixed * (1.0 / total)[:, None], query_in, DEPTH_V, BLOCK_V)
    lse = (top + tl.log2(total)) * LN2
    tl.store(lse_ptr + image * (heads * height * width) + (head * height * width + point), lse, mask=query_in)

"""The key-centered half of the backward: gradients of k and v without atomics.

A program owns a tile of keys and walks over the rectangle of queries that can see them, so every sum has one owner and
one order.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import (
    LOG2E,
    group_length,
    load_places,
    load_rows,
    place_slopes,
    store_places,
    store_rows,
)
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
def key_gradient_kernel(
    q_ptr, k_ptr, v_ptr, picture_ptr, grad_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    dk_batch, dk_row, dk_column, dk_head, dv_batch, dv_row, dv_column, dv_head,
    images, heads, height, width, dilation_y, dilation_x, tiles_x, edge, tail, period, relations, all_relations,
    scale, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr,
    WINDOWED: tl.constexpr, HAS_BIAS: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr,
    WIDE: tl.constexpr, CHUNK: tl.constexpr, SIGN: tl.constexpr,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr, DECAY: tl.constexpr,
):  # fmt: skip
    """One program: one tile of keys; queries come BLOCK_N at a time. Logits are laid out (keys, queries)."""
    image, head, group_y, group_x, tile_y, tile_x = program(heads, dilation_y, dilation_x, tiles_x)
    length_y, length_x = group_length(height, group_y, dilation_y), group_length(width, group_x, dilation_x)
    start_y, stop_y = tile_bounds(tile_y, length_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED)
    start_x, stop_x = tile_bounds(tile_x, length_x, TILE_X, SIZE_X, STEP_X, WINDOWED)
    if (image >= images) | (stop_y <= tl.maximum(start_y, 0)) | (stop_x <= tl.maximum(start_x, 0)):
        return
    key_y, key_x, key_in = own_points(start_y, start_x, stop_y, stop_x, TILE_Y, TILE_X, BLOCK_M)
    column = tl.arange(0, BLOCK_M) % TILE_X
    q_ptr += image * q_batch + head * q_head + group_y * q_row + group_x * q_column
    k_ptr += image * k_batch + head * k_head + group_y * k_row + group_x * k_column
    v_ptr += image * v_batch + head * v_head + group_y * v_row + group_x * v_column
    k_place = key_y * (dilation_y * k_row) + key_x * (dilation_x * k_column)
    k = load_rows(k_ptr, k_place, key_in, DEPTH, BLOCK_D)
    v_place = key_y * (dilation_y * v_row) + key_x * (dilation_x * v_column)
    v = load_rows(v_ptr, v_place, key_in, DEPTH_V, BLOCK_V)
    corner = group_y * width + group_x
    grad_ptr += image * (height * width * heads * DEPTH_V) + (corner * heads + head) * DEPTH_V
    base = image * (heads * height * width) + head * height * width + corner
    key_places, of_places = load_places(k_ptr, k_place, key_in, DEPTH, DECAY), tl.zeros([BLOCK_M], tl.float32)
    rank = relation_of(
        tile_x, group_x, width, dilation_x, length_x, edge, tail, period, relations, TILE_X, SIZE_X, STEP_X, WINDOWED
    )
    picture_ptr += (head * all_relations + rank).to(tl.int64) * ((2 * SIZE_Y - 1) * TILE_X * WIDE)
    first_y, end_y = partner_bounds(tile_y, start_y, stop_y, length_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED, True)
    first_x, end_x = partner_bounds(tile_x, start_x, stop_x, length_x, TILE_X, SIZE_X, STEP_X, WINDOWED, True)
    dk = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_M, BLOCK_V], tl.float32)
    for begin in range(0, (end_y - first_y) * WIDE, BLOCK_N):
        query_y, query_x = numbered(begin, BLOCK_N, WIDE)
        query_y, query_x = first_y + query_y, first_x + query_x
        query_in = (query_y < end_y) & (query_x < end_x)
        q_place = query_y * (dilation_y * q_row) + query_x * (dilation_x * q_column)
        q = signed(load_rows(q_ptr, q_place, query_in, DEPTH, BLOCK_D), SIGN)
        point = query_y * (dilation_y * width) + query_x * dilation_x
        grad = load_rows(grad_ptr, point * (heads * DEPTH_V), query_in, DEPTH_V, BLOCK_V)
        lse_log2 = tl.load(lse_ptr + base + point, mask=query_in, other=0.0) * LOG2E
        delta = tl.load(delta_ptr + base + point, mask=query_in, other=0.0)
        scores = pair_scores(
            k, q, picture_ptr, begin, key_y, key_x, column, key_in,
            query_y, query_x, first_y, end_y, end_x, length_y, length_x,
            SIZE_Y, SIZE_X, STEP_Y, STEP_X, WINDOWED, HAS_BIAS, TILE_X, WIDE, CHUNK, BLOCK_N, PRECISION, True,
        )  # fmt: skip
        if DECAY:
            apart = key_places[:, None] - load_places(q_ptr, q_place, query_in, DEPTH, DECAY)[None, :]
            scores -= tl.abs(apart) * (LOG2E / scale_log2)
        weights = tl.exp2(scores * scale_log2 - lse_log2[None, :])
        dv += tl.dot(weights.to(grad.dtype), grad, input_precision=PRECISION)
        slope = weights * (tl.dot(v, tl.trans(grad), input_precision=PRECISION) - delta[None, :])
        if DECAY:
            of_places += place_slopes(apart, slope)
        dk += tl.dot(slope.to(q.dtype), q, input_precision=PRECISION)
    dk_ptr += image * dk_batch + head * dk_head + group_y * dk_row + group_x * dk_column
    dv_ptr += image * dv_batch + head * dv_head + group_y * dv_row + group_x * dv_column
    dk_place = key_y * (dilation_y * dk_row) + key_x * (dilation_x * dk_column)
    store_rows(dk_ptr, dk_place, dk * scale, key_in, DEPTH, BLOCK_D)
    store_places(dk_ptr, dk_place, of_places, key_in, DEPTH, DECAY)
    dv_place = key_y * (dilation_y * dv_row) + key_x * (dilation_x * dv_column)
    store_rows(dv_ptr, dv_place, dv, key_in, DEPTH_V, BLOCK_V)

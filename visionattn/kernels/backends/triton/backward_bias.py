"""Gradient of the relative-position table without atomics: equal bits in every run.

Tiles that stand in one relation to their keys, along both axes, share the table entries of their pairs. A program owns
such a relation and a block of its keys, adds the logits' gradients up over a fixed range of the tiles that have it, in
all images and groups, and only then sorts the sum into table entries. What the tiles of a relation share, the picture
and where their points lie from the tile's corner on, is loaded and computed once. The entries of all programs are
summed in a fixed order afterwards.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import LOG2E, load_rows
from visionattn.kernels.backends.triton.tiles import (
    load_picture,
    members_of,
    next_place,
    numbered,
    own_points,
    partner_bounds,
    place_of,
    seen_rows,
    signed,
    tile_bounds,
)


@triton.jit
def store_table(
    partial_ptr, slopes, base_y, base_x, query_index, key_begin,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, TILE_X: tl.constexpr, SPAN_X: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """Sum ``slopes[query, key]`` into table entries, by key minus query.

    ``(base_y, base_x)`` is the first key minus the tile's start.
    """
    COLUMNS: tl.constexpr = 2 * SIZE_X - 1
    ENTRIES: tl.constexpr = (2 * SIZE_Y - 1) * COLUMNS
    query_y = (query_index // TILE_X)[:, None]
    query_x = (query_index % TILE_X)[:, None]
    for begin in range(0, ENTRIES, BLOCK_R):
        entry = begin + tl.arange(0, BLOCK_R)
        row = query_y + (entry // COLUMNS)[None, :] - (SIZE_Y - 1) - base_y
        column = query_x + (entry % COLUMNS)[None, :] - (SIZE_X - 1) - base_x
        key = row * SPAN_X + column - key_begin
        held = (row >= 0) & (column >= 0) & (column < SPAN_X) & (key >= 0) & (key < BLOCK_N)
        gathered = tl.gather(slopes, tl.where(held, key, 0), 1)
        total = tl.sum(tl.where(held, gathered, 0.0), 0)
        tl.store(partial_ptr + entry, total, mask=entry < ENTRIES)


@triton.jit
def table_gradient_kernel(
    q_ptr, k_ptr, v_ptr, picture_ptr, grad_ptr, lse_ptr, delta_ptr, partial_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    images, heads, height, width, dilation_y, dilation_x,
    edge_y, tail_y, period_y, relations_y, edge_x, tail_x, period_x, relations_x, all_relations, key_blocks,
    chunks, per_chunk, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr,
    WINDOWED: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr,
    WIDE: tl.constexpr, CHUNK: tl.constexpr, SIGN: tl.constexpr,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """One program: a head, a relation along both axes, a block of its keys, and a chunk of the tiles that have it.

    Tiles are numbered: those of a group row by row, then groups, then images.
    """
    ENTRIES: tl.constexpr = (2 * SIZE_Y - 1) * (2 * SIZE_X - 1)
    pid = tl.program_id(0)
    head = pid % heads
    rest = pid // heads
    key_begin = rest % key_blocks * BLOCK_N
    rest = rest // key_blocks
    begin = rest % chunks * per_chunk
    rest = rest // chunks
    relation_x = rest % all_relations
    relation_y = rest // all_relations
    group_y, groups_y, length_y, tile_y, tiles_y, step_y = members_of(
        relation_y, height, dilation_y, edge_y, tail_y, period_y, relations_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED
    )
    group_x, groups_x, length_x, tile_x, tiles_x, step_x = members_of(
        relation_x, width, dilation_x, edge_x, tail_x, period_x, relations_x, TILE_X, SIZE_X, STEP_X, WINDOWED
    )
    start_y, stop_y = tile_bounds(tile_y, length_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED)
    start_x, stop_x = tile_bounds(tile_x, length_x, TILE_X, SIZE_X, STEP_X, WINDOWED)
    first_y, end_y = partner_bounds(tile_y, start_y, stop_y, length_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED, False)
    first_x, end_x = partner_bounds(tile_x, start_x, stop_x, length_x, TILE_X, SIZE_X, STEP_X, WINDOWED, False)
    query_y, query_x, query_in = own_points(start_y, start_x, stop_y, stop_x, TILE_Y, TILE_X, BLOCK_M)
    key_y, key_x = numbered(key_begin, BLOCK_N, WIDE)
    key_y, key_x = first_y + key_y, first_x + key_x
    key_in = (key_y < end_y) & (key_x < end_x)
    items = images * groups_y * groups_x * tiles_y * tiles_x
    is_empty = (stop_y <= tl.maximum(start_y, 0)) | (stop_x <= tl.maximum(start_x, 0))
    items = tl.where(is_empty | (first_y + key_begin // WIDE >= end_y), 0, items)

    chunk_y, part = numbered(key_begin // CHUNK, BLOCK_N // CHUNK, WIDE // CHUNK)
    seen = seen_rows(query_y, query_in, first_y + chunk_y, end_y, length_y, SIZE_Y, STEP_Y, WINDOWED, False)
    picture_ptr += (head * all_relations + relation_x).to(tl.int64) * ((2 * SIZE_Y - 1) * TILE_X * WIDE)
    picture = load_picture(
        picture_ptr, query_y, tl.arange(0, BLOCK_M) % TILE_X, first_y + chunk_y, part * CHUNK, seen,
        SIZE_Y, TILE_X, WIDE, CHUNK, False,
    )  # fmt: skip
    query_y, query_x = query_y * dilation_y, query_x * dilation_x
    key_y, key_x = key_y * dilation_y, key_x * dilation_x
    q_place, point = query_y * q_row + query_x * q_column, query_y * width + query_x
    k_place, v_place = key_y * k_row + key_x * k_column, key_y * v_row + key_x * v_column
    image, member_y, member_x, row, column = place_of(begin, groups_y, groups_x, tiles_y, tiles_x)
    slopes = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for _ in range(begin, tl.minimum(begin + per_chunk, items)):
        y = group_y + member_y + row * (step_y * dilation_y)
        x = group_x + member_x + column * (step_x * dilation_x)
        corner, long = y * width + x, image.to(tl.int64)
        at = q_ptr + long * q_batch + (head * q_head + y * q_row + x * q_column)
        q = signed(load_rows(at, q_place, query_in, DEPTH, BLOCK_D), SIGN)
        at = k_ptr + long * k_batch + (head * k_head + y * k_row + x * k_column)
        k = load_rows(at, k_place, key_in, DEPTH, BLOCK_D)
        at = v_ptr + long * v_batch + (head * v_head + y * v_row + x * v_column)
        v = load_rows(at, v_place, key_in, DEPTH_V, BLOCK_V)
        at = grad_ptr + long * (height * width * heads * DEPTH_V) + (corner * heads + head) * DEPTH_V
        grad = load_rows(at, point * (heads * DEPTH_V), query_in, DEPTH_V, BLOCK_V)
        base = long * (heads * height * width) + (head * height * width + corner)
        lse_log2 = tl.load(lse_ptr + base + point, mask=query_in, other=0.0) * LOG2E
        delta = tl.load(delta_ptr + base + point, mask=query_in, other=0.0)
        scores = tl.dot(q, tl.trans(k), picture, input_precision=PRECISION)
        weights = tl.exp2(scores * scale_log2 - lse_log2[:, None])
        slopes += weights * (tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        image, member_y, member_x, row, column = next_place(
            image, member_y, member_x, row, column, groups_y, groups_x, tiles_y, tiles_x
        )
    partial_ptr += pid.to(tl.int64) * ENTRIES
    if begin < items:
        store_table(
            partial_ptr, slopes, first_y - start_y, first_x - start_x, tl.arange(0, BLOCK_M), key_begin,
            SIZE_Y, SIZE_X, TILE_X, WIDE, BLOCK_M, BLOCK_N, BLOCK_R,
        )  # fmt: skip
    else:
        for entry in range(0, ENTRIES, BLOCK_R):
            index = entry + tl.arange(0, BLOCK_R)
            tl.store(partial_ptr + index, tl.zeros([BLOCK_R], tl.float32), mask=index < ENTRIES)

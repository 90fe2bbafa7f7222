"""Gradient of the relative-position table without atomics: equal bits in every run.

All pairs of a query block and a key block with the same relative positions contribute to the same table entries. A
program owns such a relation (a window's block pair, or a neighborhood tile's), adds the logits' gradients up over a
fixed range of images, groups and windows, and only then sorts the sum into table entries. The entries of all
programs are summed in a fixed order afterwards.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import (
    LOG2E,
    group_length,
    key_range,
    load_rows,
    pair_logits,
    points,
    tile_start,
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
def relation(
    rest, height, width, dilation_y, dilation_x, tiles_y, tiles_x, classes_y, classes_x, WINDOWED: tl.constexpr
):
    """What a program owns: (tile, first group, number of groups, block pairs per image, chunk).

    All windows of all groups share one relation. Of a neighborhood, the tiles at one position in groups of one length
    do: groups before length % dilation are one point longer; where the dilation divides the length there is one class.
    """
    if WINDOWED:
        tile_y, tile_x, group_y0, group_x0 = 0, 0, 0, 0
        groups_y, groups_x = dilation_y, dilation_x
        shared = dilation_y * dilation_x * tiles_y * tiles_x
    else:
        tile_x = rest % tiles_x
        rest = rest // tiles_x
        tile_y = rest % tiles_y
        rest = rest // tiles_y
        class_x = rest % classes_x
        rest = rest // classes_x
        class_y = rest % classes_y
        rest = rest // classes_y
        long_y, long_x = height % dilation_y, width % dilation_x
        group_y0, group_x0 = class_y * long_y, class_x * long_x
        groups_y = tl.where(classes_y == 1, dilation_y, tl.where(class_y == 0, long_y, dilation_y - long_y))
        groups_x = tl.where(classes_x == 1, dilation_x, tl.where(class_x == 0, long_x, dilation_x - long_x))
        shared = groups_y * groups_x
    return tile_y, tile_x, group_y0, group_x0, groups_y, groups_x, shared, rest


@triton.jit
def table_gradient_kernel(
    q_ptr, k_ptr, v_ptr, table_ptr, grad_ptr, lse_ptr, delta_ptr, partial_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    heads, height, width, dilation_y, dilation_x, tiles_y, tiles_x, images, classes_y, classes_x, chunks, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr,
    WINDOWED: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, SPAN_X: tl.constexpr,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCKS: tl.constexpr, KEY_BLOCKS: tl.constexpr,
    PRECISION: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """One program: a head, a block pair, and a chunk of the tiles that share them.

    Unless windowed, the tile and the length class of its group are the program's own as well.
    """
    ENTRIES: tl.constexpr = (2 * SIZE_Y - 1) * (2 * SIZE_X - 1)
    pid = tl.program_id(0)
    head = pid % heads
    rest = pid // heads
    partial_ptr += pid.to(tl.int64) * ENTRIES
    query_index = rest % BLOCKS * BLOCK_M + tl.arange(0, BLOCK_M)
    rest = rest // BLOCKS
    key_begin = rest % KEY_BLOCKS * BLOCK_N
    rest = rest // KEY_BLOCKS
    tile_y, tile_x, group_y0, group_x0, groups_y, groups_x, shared, chunk = relation(
        rest, height, width, dilation_y, dilation_x, tiles_y, tiles_x, classes_y, classes_x, WINDOWED
    )
    items = images * shared
    per_chunk = (items + chunks - 1) // chunks
    table_ptr += head * ENTRIES
    base_y, base_x = 0, 0
    if not WINDOWED:
        corner_y, corner_x = tile_y * TILE_Y, tile_x * TILE_X
        first_y, _ = key_range(corner_y, group_length(height, group_y0, dilation_y), TILE_Y, SIZE_Y, STEP_Y, WINDOWED)
        first_x, _ = key_range(corner_x, group_length(width, group_x0, dilation_x), TILE_X, SIZE_X, STEP_X, WINDOWED)
        base_y, base_x = first_y - corner_y, first_x - corner_x

    slopes = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for item in range(chunk * per_chunk, tl.minimum((chunk + 1) * per_chunk, items)):
        left = item
        if WINDOWED:
            tile_x = left % tiles_x
            left = left // tiles_x
            tile_y = left % tiles_y
            left = left // tiles_y
        group_x = group_x0 + left % groups_x
        left = left // groups_x
        group_y = group_y0 + left % groups_y
        batch = (left // groups_y).to(tl.int64)
        slopes += block_slopes(
            q_ptr + batch * q_batch + head * q_head, k_ptr + batch * k_batch + head * k_head,
            v_ptr + batch * v_batch + head * v_head, table_ptr,
            grad_ptr + batch * height * width * heads * DEPTH_V + head * DEPTH_V,
            lse_ptr + (batch * heads + head) * height * width, delta_ptr + (batch * heads + head) * height * width,
            q_row, q_column, k_row, k_column, v_row, v_column, heads, height, width, dilation_y, dilation_x,
            group_y, group_x, tile_y, tile_x, query_index, key_begin, scale_log2,
            SIZE_Y, SIZE_X, STEP_Y, STEP_X, WINDOWED, TILE_Y, TILE_X, SPAN_X,
            DEPTH, DEPTH_V, BLOCK_D, BLOCK_V, BLOCK_N, PRECISION,
        )  # fmt: skip
    store_table(
        partial_ptr, slopes, base_y, base_x, query_index, key_begin,
        SIZE_Y, SIZE_X, TILE_X, SPAN_X, BLOCK_M, BLOCK_N, BLOCK_R,
    )  # fmt: skip


@triton.jit
def block_slopes(
    q_ptr, k_ptr, v_ptr, table_ptr, grad_ptr, lse_ptr, delta_ptr,
    q_row, q_column, k_row, k_column, v_row, v_column, heads, height, width, dilation_y, dilation_x,
    group_y, group_x, tile_y, tile_x, query_index, key_begin, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr,
    WINDOWED: tl.constexpr, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, SPAN_X: tl.constexpr,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradient of one block pair's logits, zeros where a pair is not seen; pointers are at the image and head."""
    length_y = group_length(height, group_y, dilation_y)
    length_x = group_length(width, group_x, dilation_x)
    start_y = tile_start(tile_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED)
    start_x = tile_start(tile_x, TILE_X, SIZE_X, STEP_X, WINDOWED)
    query_y, query_x, query_in = points(
        query_index, start_y, start_x, start_y + TILE_Y, start_x + TILE_X, length_y, length_x, TILE_X
    )
    first_y, stop_y = key_range(start_y, length_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED)
    first_x, stop_x = key_range(start_x, length_x, TILE_X, SIZE_X, STEP_X, WINDOWED)
    key_y, key_x, key_in = points(
        key_begin + tl.arange(0, BLOCK_N), first_y, first_x, stop_y, stop_x, length_y, length_x, SPAN_X
    )
    row, column = group_y + query_y * dilation_y, group_x + query_x * dilation_x
    point = row * width + column
    q = load_rows(q_ptr, row * q_row + column * q_column, query_in, DEPTH, BLOCK_D)
    grad = load_rows(grad_ptr, point * (heads * DEPTH_V), query_in, DEPTH_V, BLOCK_V)
    lse_log2 = tl.load(lse_ptr + point, mask=query_in, other=0.0) * LOG2E
    delta = tl.load(delta_ptr + point, mask=query_in, other=0.0)
    row, column = group_y + key_y * dilation_y, group_x + key_x * dilation_x
    k = load_rows(k_ptr, row * k_row + column * k_column, key_in, DEPTH, BLOCK_D)
    v = load_rows(v_ptr, row * v_row + column * v_column, key_in, DEPTH_V, BLOCK_V)
    logits = pair_logits(
        tl.dot(q, tl.trans(k), input_precision=PRECISION), query_y[:, None], query_x[:, None], key_y[None, :],
        key_x[None, :], query_in[:, None] & key_in[None, :], length_y, length_x, table_ptr, scale_log2,
        SIZE_Y, SIZE_X, STEP_Y, STEP_X, WINDOWED, True,
    )  # fmt: skip
    weights = tl.exp2(logits - lse_log2[:, None])
    return weights * (tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None])

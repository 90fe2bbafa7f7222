"""The backward of neighborhoods whose tiles are one block with all their partners, in two kernels without atomics.

The first walks over tiles of queries: the gradient of q, the row sums that the other kernel needs and, as the logits'
gradients of all tiles of a relation are summed in registers on the way, that of the bias table. The second walks over
tiles of keys: the gradients of k and v. Each pair of query and key is computed twice in all, not three times.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.backward_bias import store_table
from visionattn.kernels.backends.triton.device import LOG2E, load_rows, store_rows
from visionattn.kernels.backends.triton.tiles import next_place, place_of
from visionattn.kernels.backends.triton.walk_device import walk


@triton.jit
def walking_query_kernel(
    q_ptr, k_ptr, v_ptr, table_ptr, out_ptr, grad_ptr, lse_ptr, delta_ptr, dq_ptr, partial_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    dq_batch, dq_row, dq_column, dq_head, images, heads, height, width, dilation_y, dilation_x,
    edge_y, tail_y, period_y, relations_y, edge_x, tail_x, period_x, relations_x, all_relations, chunks, per_chunk,
    scale, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr, HAS_BIAS: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, WIDE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr,
    TABLE: tl.constexpr, BLOCK_R: tl.constexpr,
):  # fmt: skip
    """One program: a head, a relation along both axes, and a chunk of the tiles of queries that have it."""
    (
        head, begin, end, group_y, group_x, groups_y, groups_x, tiles_y, tiles_x, step_y, step_x,
        query_y, query_x, query_in, key_y, key_x, key_in, picture, base_y, base_x,
    ) = walk(
        table_ptr, images, heads, height, width, dilation_y, dilation_x, edge_y, tail_y, period_y, relations_y,
        edge_x, tail_x, period_x, relations_x, all_relations, chunks, per_chunk, SIZE_Y, SIZE_X, STEP_Y, STEP_X,
        HAS_BIAS, TILE_Y, TILE_X, WIDE, BLOCK_M, BLOCK_N, False,
    )  # fmt: skip
    if begin >= end:
        return
    q_place, point = query_y * q_row + query_x * q_column, query_y * width + query_x
    k_place, v_place = key_y * k_row + key_x * k_column, key_y * v_row + key_x * v_column
    dq_place = query_y * dq_row + query_x * dq_column
    image, member_y, member_x, row, column = place_of(begin, groups_y, groups_x, tiles_y, tiles_x)
    slopes = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
    for _ in range(begin, end):
        y, x = group_y + member_y + row * step_y, group_x + member_x + column * step_x
        corner, long = y * width + x, image.to(tl.int64)
        at = q_ptr + long * q_batch + (head * q_head + y * q_row + x * q_column)
        q = load_rows(at, q_place, query_in, DEPTH, BLOCK_D)
        at = k_ptr + long * k_batch + (head * k_head + y * k_row + x * k_column)
        k = load_rows(at, k_place, key_in, DEPTH, BLOCK_D)
        at = v_ptr + long * v_batch + (head * v_head + y * v_row + x * v_column)
        v = load_rows(at, v_place, key_in, DEPTH_V, BLOCK_V)
        base = long * (height * width * heads * DEPTH_V) + (corner * heads + head) * DEPTH_V
        out = load_rows(out_ptr + base, point * (heads * DEPTH_V), query_in, DEPTH_V, BLOCK_V)
        grad = load_rows(grad_ptr + base, point * (heads * DEPTH_V), query_in, DEPTH_V, BLOCK_V)
        base = long * (heads * height * width) + (head * height * width + corner)
        lse_log2 = tl.load(lse_ptr + base + point, mask=query_in, other=0.0) * LOG2E
        delta = tl.sum(out.to(tl.float32) * grad.to(tl.float32), 1)
        tl.store(delta_ptr + base + point, delta, mask=query_in)
        logits = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale_log2 + picture
        weights = tl.exp2(logits - lse_log2[:, None])
        slope = weights * (tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        if TABLE:
            slopes += slope
        dq = tl.dot(slope.to(k.dtype), k, input_precision=PRECISION) * scale
        at = dq_ptr + long * dq_batch + (head * dq_head + y * dq_row + x * dq_column)
        store_rows(at, dq_place, dq, query_in, DEPTH, BLOCK_D)
        image, member_y, member_x, row, column = next_place(
            image, member_y, member_x, row, column, groups_y, groups_x, tiles_y, tiles_x
        )
    if TABLE:
        index = tl.arange(0, BLOCK_M) + tl.minimum(image, 0)  # zero, but known after the loop only: see the windows
        store_table(
            partial_ptr + tl.program_id(0).to(tl.int64) * ((2 * SIZE_Y - 1) * (2 * SIZE_X - 1)), slopes, base_y, base_x,
            index, 0, SIZE_Y, SIZE_X, TILE_X, WIDE, BLOCK_M, BLOCK_N, BLOCK_R,
        )  # fmt: skip


@triton.jit
def walking_key_kernel(
    q_ptr, k_ptr, v_ptr, table_ptr, grad_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    dk_batch, dk_row, dk_column, dk_head, dv_batch, dv_row, dv_column, dv_head,
    images, heads, height, width, dilation_y, dilation_x,
    edge_y, tail_y, period_y, relations_y, edge_x, tail_x, period_x, relations_x, all_relations, chunks, per_chunk,
    scale, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr, HAS_BIAS: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, WIDE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: a head, a relation along both axes, and a chunk of the tiles of keys that have it."""
    (
        head, begin, end, group_y, group_x, groups_y, groups_x, tiles_y, tiles_x, step_y, step_x,
        key_y, key_x, key_in, query_y, query_x, query_in, picture, _, _,
    ) = walk(
        table_ptr, images, heads, height, width, dilation_y, dilation_x, edge_y, tail_y, period_y, relations_y,
        edge_x, tail_x, period_x, relations_x, all_relations, chunks, per_chunk, SIZE_Y, SIZE_X, STEP_Y, STEP_X,
        HAS_BIAS, TILE_Y, TILE_X, WIDE, BLOCK_M, BLOCK_N, True,
    )  # fmt: skip
    q_place, point = query_y * q_row + query_x * q_column, query_y * width + query_x
    k_place, v_place = key_y * k_row + key_x * k_column, key_y * v_row + key_x * v_column
    dk_place, dv_place = key_y * dk_row + key_x * dk_column, key_y * dv_row + key_x * dv_column
    image, member_y, member_x, row, column = place_of(begin, groups_y, groups_x, tiles_y, tiles_x)
    for _ in range(begin, end):
        y, x = group_y + member_y + row * step_y, group_x + member_x + column * step_x
        corner, long = y * width + x, image.to(tl.int64)
        at = k_ptr + long * k_batch + (head * k_head + y * k_row + x * k_column)
        k = load_rows(at, k_place, key_in, DEPTH, BLOCK_D)
        at = v_ptr + long * v_batch + (head * v_head + y * v_row + x * v_column)
        v = load_rows(at, v_place, key_in, DEPTH_V, BLOCK_V)
        at = q_ptr + long * q_batch + (head * q_head + y * q_row + x * q_column)
        q = load_rows(at, q_place, query_in, DEPTH, BLOCK_D)
        base = long * (height * width * heads * DEPTH_V) + (corner * heads + head) * DEPTH_V
        grad = load_rows(grad_ptr + base, point * (heads * DEPTH_V), query_in, DEPTH_V, BLOCK_V)
        base = long * (heads * height * width) + (head * height * width + corner)
        lse_log2 = tl.load(lse_ptr + base + point, mask=query_in, other=0.0) * LOG2E
        delta = tl.load(delta_ptr + base + point, mask=query_in, other=0.0)
        logits = tl.dot(k, tl.trans(q), input_precision=PRECISION) * scale_log2 + picture
        weights = tl.exp2(logits - lse_log2[None, :])
        slope = weights * (tl.dot(v, tl.trans(grad), input_precision=PRECISION) - delta[None, :])
        dv = tl.dot(weights.to(grad.dtype), grad, input_precision=PRECISION)
        dk = tl.dot(slope.to(q.dtype), q, input_precision=PRECISION) * scale
        at = dk_ptr + long * dk_batch + (head * dk_head + y * dk_row + x * dk_column)
        store_rows(at, dk_place, dk, key_in, DEPTH, BLOCK_D)
        at = dv_ptr + long * dv_batch + (head * dv_head + y * dv_row + x * dv_column)
        store_rows(at, dv_place, dv, key_in, DEPTH_V, BLOCK_V)
        image, member_y, member_x, row, column = next_place(
            image, member_y, member_x, row, column, groups_y, groups_x, tiles_y, tiles_x
        )

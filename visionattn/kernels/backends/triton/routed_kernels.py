"""The kernels of ``routed_attention``: forward, the gradient of queries, and that of keys and values, without atomics.

A program owns some tokens of one region and walks over the tokens of the regions that a list names: routes for queries,
inverse lists for keys. Tokens of listed regions are numbered through, so that small regions fill a block together.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import load_rows, store_rows


@triton.jit
def region_points(region, token, rows, columns, across, height, width):
    """Row and column of tokens of regions, and whether they lie on the map."""
    y = region // across * rows + token // columns
    x = region % across * columns + token % columns
    return y, x, (token < rows * columns) & (y < height) & (x < width)


@triton.jit
def listed_points(
    list_ptr, count, begin, rows, columns, across, regions, height, width, BLOCK: tl.constexpr
):  # fmt: skip
    """The same of a block of the tokens of ``count`` listed regions, from number ``begin`` on."""
    number = begin + tl.arange(0, BLOCK)
    slot = number // (rows * columns)
    region = tl.load(list_ptr + slot, mask=slot < count, other=-1).to(tl.int32)
    listed = (region >= 0) & (region < regions)
    y, x, inside = region_points(
        tl.where(listed, region, 0), number % (rows * columns), rows, columns, across, height, width
    )
    return y, x, inside & listed


@triton.jit
def own_points(rows, columns, across, height, width, BLOCK: tl.constexpr):
    """A program's region, and the rows and columns of its tokens."""
    blocks = (rows * columns + BLOCK - 1) // BLOCK
    region = tl.program_id(0) // blocks
    token = tl.program_id(0) % blocks * BLOCK + tl.arange(0, BLOCK)
    y, x, inside = region_points(region, token, rows, columns, across, height, width)
    return region, y, x, inside


@triton.jit
def routed_forward_kernel(
    q_ptr, k_ptr, v_ptr, routes_ptr, out_ptr, lse_ptr,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    heads, height, width, rows, columns, across, regions, listed, scale_log2,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: (some queries of a region, head, image). Writes the output and the base-2 log-sum-exp."""
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    region, y, x, inside = own_points(rows, columns, across, height, width, BLOCK_M)
    q = load_rows(q_ptr + image * q_batch + head * q_head, y * q_row + x * q_column, inside, DEPTH, BLOCK_D)
    k_ptr, v_ptr = k_ptr + image * k_batch + head * k_head, v_ptr + image * v_batch + head * v_head
    routes_ptr += (image * regions + region) * listed
    top = tl.full([BLOCK_M], float("-inf"), tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    mixed = tl.zeros([BLOCK_M, BLOCK_V], tl.float32)
    for begin in range(0, listed * rows * columns, BLOCK_N):
        key_y, key_x, seen = listed_points(
            routes_ptr, listed, begin, rows, columns, across, regions, height, width, BLOCK_N
        )
        k = load_rows(k_ptr, key_y * k_row + key_x * k_column, seen, DEPTH, BLOCK_D)
        v = load_rows(v_ptr, key_y * v_row + key_x * v_column, seen, DEPTH_V, BLOCK_V)
        logits = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale_log2
        logits = tl.where(seen[None, :], logits, float("-inf"))
        higher = tl.maximum(top, tl.max(logits, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher)
        weights = tl.exp2(logits - base[:, None])
        fade = tl.exp2(top - base)
        total = total * fade + tl.sum(weights, 1)
        mixed = mixed * fade[:, None] + tl.dot(weights.to(v.dtype), v, input_precision=PRECISION)
        top = higher
    blind = total == 0.0
    total = tl.where(blind, 1.0, total)
    place = y * width + x
    store_rows(
        out_ptr + image * height * width * heads * DEPTH_V + head * DEPTH_V, place * (heads * DEPTH_V),
        mixed / total[:, None], inside, DEPTH_V, BLOCK_V,
    )  # fmt: skip
    lse = tl.where(blind, 0.0, top + tl.log2(total))
    tl.store(lse_ptr + (image * heads + head) * height * width + place, lse, mask=inside)


@triton.jit
def routed_query_kernel(
    q_ptr, k_ptr, v_ptr, routes_ptr, grad_ptr, out_ptr, lse_ptr, delta_ptr, dq_ptr,
    dq_batch, dq_row, dq_column, dq_head, dv_batch, dv_row, dv_column, dv_head,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    heads, height, width, rows, columns, across, regions, listed, scale, scale_log2,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program as in the forward. Writes the gradient of q, and the sums of grad times out for the keys' kernel."""
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    region, y, x, inside = own_points(rows, columns, across, height, width, BLOCK_M)
    place, points = y * width + x, image * height * width * heads
    q = load_rows(q_ptr + image * q_batch + head * q_head, y * q_row + x * q_column, inside, DEPTH, BLOCK_D)
    of_values = place * (heads * DEPTH_V)
    grad = load_rows(grad_ptr + points * DEPTH_V + head * DEPTH_V, of_values, inside, DEPTH_V, BLOCK_V)
    out = load_rows(out_ptr + points * DEPTH_V + head * DEPTH_V, of_values, inside, DEPTH_V, BLOCK_V)
    delta = tl.sum(grad.to(tl.float32) * out.to(tl.float32), 1)
    row = (image * heads + head) * height * width + place
    tl.store(delta_ptr + row, delta, mask=inside)
    lse = tl.load(lse_ptr + row, mask=inside, other=0.0)
    k_ptr, v_ptr = k_ptr + image * k_batch + head * k_head, v_ptr + image * v_batch + head * v_head
    routes_ptr += (image * regions + region) * listed
    dq = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    for begin in range(0, listed * rows * columns, BLOCK_N):
        key_y, key_x, seen = listed_points(
            routes_ptr, listed, begin, rows, columns, across, regions, height, width, BLOCK_N
        )
        k = load_rows(k_ptr, key_y * k_row + key_x * k_column, seen, DEPTH, BLOCK_D)
        v = load_rows(v_ptr, key_y * v_row + key_x * v_column, seen, DEPTH_V, BLOCK_V)
        logits = tl.dot(q, tl.trans(k), input_precision=PRECISION) * scale_log2
        weights = tl.exp2(tl.where(seen[None, :], logits - lse[:, None], float("-inf")))
        slope = weights * (tl.dot(grad, tl.trans(v), input_precision=PRECISION) - delta[:, None])
        dq += tl.dot(slope.to(k.dtype), k, input_precision=PRECISION)
    dq_ptr += image * dq_batch + head * dq_head
    store_rows(dq_ptr, y * dq_row + x * dq_column, dq * scale, inside, DEPTH, BLOCK_D)


@triton.jit
def routed_key_kernel(
    q_ptr, k_ptr, v_ptr, named_ptr, start_ptr, grad_ptr, lse_ptr, delta_ptr, dk_ptr, dv_ptr,
    dq_batch, dq_row, dq_column, dq_head, dv_batch, dv_row, dv_column, dv_head,
    q_batch, q_row, q_column, q_head, k_batch, k_row, k_column, k_head, v_batch, v_row, v_column, v_head,
    heads, height, width, rows, columns, across, regions, listed, scale, scale_log2,
    DEPTH: tl.constexpr, DEPTH_V: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_V: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One program: (some keys of a region, head, image), against the queries of the regions that list theirs."""
    head, image = tl.program_id(1), tl.program_id(2).to(tl.int64)
    region, y, x, inside = own_points(rows, columns, across, height, width, BLOCK_M)
    points = image * height * width * heads
    k = load_rows(k_ptr + image * k_batch + head * k_head, y * k_row + x * k_column, inside, DEPTH, BLOCK_D)
    v = load_rows(v_ptr + image * v_batch + head * v_head, y * v_row + x * v_column, inside, DEPTH_V, BLOCK_V)
    first = tl.load(start_ptr + image * (regions + 1) + region)
    count = tl.load(start_ptr + image * (regions + 1) + region + 1) - first
    named_ptr += image * regions * listed + first
    q_ptr += image * q_batch + head * q_head
    grad_ptr += points * DEPTH_V + head * DEPTH_V
    row = (image * heads + head) * height * width
    dk = tl.zeros([BLOCK_M, BLOCK_D], tl.float32)
    dv = tl.zeros([BLOCK_M, BLOCK_V], tl.float32)
    for begin in range(0, count * rows * columns, BLOCK_N):
        query_y, query_x, seen = listed_points(
            named_ptr, count, begin, rows, columns, across, regions, height, width, BLOCK_N
        )
        asked = query_y * width + query_x
        q = load_rows(q_ptr, query_y * q_row + query_x * q_column, seen, DEPTH, BLOCK_D)
        grad = load_rows(grad_ptr, asked * (heads * DEPTH_V), seen, DEPTH_V, BLOCK_V)
        lse = tl.load(lse_ptr + row + asked, mask=seen, other=0.0)
        delta = tl.load(delta_ptr + row + asked, mask=seen, other=0.0)
        logits = tl.dot(k, tl.trans(q), input_precision=PRECISION) * scale_log2
        weights = tl.exp2(tl.where(seen[None, :], logits - lse[None, :], float("-inf")))
        dv += tl.dot(weights.to(grad.dtype), grad, input_precision=PRECISION)
        slope = weights * (tl.dot(v, tl.trans(grad), input_precision=PRECISION) - delta[None, :])
        dk += tl.dot(slope.to(q.dtype), q, input_precision=PRECISION)
    dk_ptr, dv_ptr = dk_ptr + image * dq_batch + head * dq_head, dv_ptr + image * dv_batch + head * dv_head
    store_rows(dk_ptr, y * dq_row + x * dq_column, dk * scale, inside, DEPTH, BLOCK_D)
    store_rows(dv_ptr, y * dv_row + x * dv_column, dv, inside, DEPTH_V, BLOCK_V)

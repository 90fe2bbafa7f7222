"""Functions that the Triton kernels share: what a program computes, which keys a query sees, how logits are made.

Every kernel works inside one dilation group of one head: coordinates (y, x) count the group's own points, and the
map's point is group + coordinate * dilation. A *tile* is a rectangle of coordinates; its points are numbered row by
row and handled in blocks. Positions are read straight from the channels-last map through strides; nothing is rolled,
partitioned or padded in memory.
"""

import triton
import triton.language as tl

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
LN2: tl.constexpr = tl.constexpr(0.6931471805599453)


@triton.jit
def split_program(pid, heads, dilation_y, dilation_x, tiles_y, tiles_x, BLOCKS: tl.constexpr):
    """Program number -> (batch, head, group row, group column, tile row, tile column, block).

    Heads vary fastest: the heads of one point share cache lines.
    """
    head = pid % heads
    rest = pid // heads
    block = rest % BLOCKS
    rest = rest // BLOCKS
    tile_x = rest % tiles_x
    rest = rest // tiles_x
    tile_y = rest % tiles_y
    rest = rest // tiles_y
    group_x = rest % dilation_x
    rest = rest // dilation_x
    return rest // dilation_y, head, rest % dilation_y, group_x, tile_y, tile_x, block


@triton.jit
def group_length(length, group, dilation):
    """Number of points of a dilation group on an axis."""
    return (length - group + dilation - 1) // dilation


@triton.jit
def tile_start(tile, SIDE: tl.constexpr, SIZE: tl.constexpr, STEP: tl.constexpr, WINDOWED: tl.constexpr):
    """First coordinate of a tile; below zero where a shifted window is cut at the border."""
    if WINDOWED:
        start = tile * SIDE - (SIZE - STEP) % SIZE
    else:
        start = tile * SIDE
    return start


@triton.jit
def first_key(query, length, SIZE: tl.constexpr, STEP: tl.constexpr):
    """First key of a neighborhood: centered on the leader of the query's stride group, moved inward at the border."""
    leader = tl.minimum(query // STEP * STEP + STEP // 2, length - 1)
    return tl.minimum(tl.maximum(leader - SIZE // 2, 0), length - SIZE)


@triton.jit
def key_range(start, length, SIDE: tl.constexpr, SIZE: tl.constexpr, STEP: tl.constexpr, WINDOWED: tl.constexpr):
    """Keys [first, stop) that the queries of the tile at ``start`` see along one axis."""
    if WINDOWED:
        first = start
        stop = tl.minimum(start + SIZE, length)
    else:
        first = first_key(start, length, SIZE, STEP)
        stop = first_key(tl.minimum(start + SIDE, length) - 1, length, SIZE, STEP) + SIZE
    return first, stop


@triton.jit
def query_range(start, length, SIDE: tl.constexpr, SIZE: tl.constexpr, STEP: tl.constexpr, WINDOWED: tl.constexpr):
    """Queries [first, stop) that see some key of the tile at ``start`` along one axis: the inverse of ``key_range``."""
    if WINDOWED:
        first = start
        stop = tl.minimum(start + SIZE, length)
    else:
        last = tl.minimum(start + SIDE, length) - 1
        reach = tl.maximum(start - (SIZE - 1 - SIZE // 2) - STEP // 2, 0)
        first = tl.where(start < SIZE, 0, (reach + STEP - 1) // STEP * STEP)
        stop = tl.minimum((last + SIZE // 2 - STEP // 2) // STEP * STEP + STEP, length)
        stop = tl.where(last >= length - SIZE, length, stop)
    return first, stop


@triton.jit
def points(index, start_y, start_x, stop_y, stop_x, length_y, length_x, SPAN: tl.constexpr):
    """Coordinates of numbered points in a rectangle ``SPAN`` wide, and whether they lie in it and in the group."""
    y = start_y + index // SPAN
    x = start_x + index % SPAN
    inside = (y >= 0) & (y < tl.minimum(stop_y, length_y)) & (x >= 0) & (x < tl.minimum(stop_x, length_x))
    return y, x, inside


@triton.jit
def locate(
    pid, heads, height, width, dilation_y, dilation_x, tiles_y, tiles_x,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr, WINDOWED: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, BLOCK_M: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """A program's own block: batch, head, its group and the group's lengths, where its tile starts, and its points."""
    batch, head, group_y, group_x, tile_y, tile_x, block = split_program(
        pid, heads, dilation_y, dilation_x, tiles_y, tiles_x, BLOCKS
    )
    length_y = group_length(height, group_y, dilation_y)
    length_x = group_length(width, group_x, dilation_x)
    start_y = tile_start(tile_y, TILE_Y, SIZE_Y, STEP_Y, WINDOWED)
    start_x = tile_start(tile_x, TILE_X, SIZE_X, STEP_X, WINDOWED)
    index = block * BLOCK_M + tl.arange(0, BLOCK_M)
    y, x, inside = points(index, start_y, start_x, start_y + TILE_Y, start_x + TILE_X, length_y, length_x, TILE_X)
    return batch.to(tl.int64), head, group_y, group_x, length_y, length_x, start_y, start_x, y, x, inside


@triton.jit
def load_rows(ptr, offset, inside, DEPTH: tl.constexpr, BLOCK_D: tl.constexpr):
    """Channels of the points at ``offset``, zeros outside."""
    channel = tl.arange(0, BLOCK_D)
    mask = inside[:, None] & (channel < DEPTH)[None, :]
    return tl.load(ptr + offset[:, None] + channel[None, :], mask=mask, other=0.0)


@triton.jit
def store_rows(ptr, offset, value, inside, DEPTH: tl.constexpr, BLOCK_D: tl.constexpr):
    """Write the channels of the points at ``offset``, where ``inside``."""
    channel = tl.arange(0, BLOCK_D)
    mask = inside[:, None] & (channel < DEPTH)[None, :]
    tl.store(ptr + offset[:, None] + channel[None, :], value.to(ptr.dtype.element_ty), mask=mask)


@triton.jit
def pair_logits(
    products, query_y, query_x, key_y, key_x, seen, length_y, length_x, table_ptr, scale_log2,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr,
    WINDOWED: tl.constexpr, HAS_BIAS: tl.constexpr,
):  # fmt: skip
    """Base-2 logits of query-key pairs, -inf where a key is not seen.

    Coordinates broadcast, so either may be the rows.
    """
    if not WINDOWED:
        low_y = first_key(query_y, length_y, SIZE_Y, STEP_Y)
        low_x = first_key(query_x, length_x, SIZE_X, STEP_X)
        seen = seen & (key_y >= low_y) & (key_y < low_y + SIZE_Y) & (key_x >= low_x) & (key_x < low_x + SIZE_X)
    logits = products * scale_log2
    if HAS_BIAS:
        entry = (key_y - query_y + SIZE_Y - 1) * (2 * SIZE_X - 1) + key_x - query_x + SIZE_X - 1
        logits += tl.load(table_ptr + entry, mask=seen, other=0.0).to(tl.float32) * LOG2E
    return tl.where(seen, logits, float("-inf"))

"""Parts that the kernels of one-block windows share: which windows a program handles, where their points lie.

A window's points are numbered row by row and fill one block. A program keeps one head and walks over a fixed range of
windows. Coordinates are the map's own: the first row of a window is group + (tile * size - offset) * dilation, its
next rows are a dilation apart. Where shifted windows are cut by the border, the last one may fill what the first one
leaves empty (on a map that the window divides it fits exactly): such an axis is *merged*, and the points of the two
windows, in one block, do not see each other.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import LOG2E


@triton.jit
def program_range(part, parts, items):
    """The items [begin, stop) of one of ``parts`` programs, whose shares differ by one at most."""
    share = items // parts
    extra = items % parts
    begin = part * share + tl.minimum(part, extra)
    return begin, begin + share + tl.where(part < extra, 1, 0)


@triton.jit
def first_window(item, dilation_y, dilation_x, tiles_y, tiles_x):
    """Number of a window -> (batch, group row, group column, tile row, tile column)."""
    tile_x = item % tiles_x
    rest = item // tiles_x
    group_x = rest % dilation_x
    rest = rest // dilation_x
    tile_y = rest % tiles_y
    rest = rest // tiles_y
    return rest // dilation_y, rest % dilation_y, group_x, tile_y, tile_x


@triton.jit
def next_window(batch, group_y, group_x, tile_y, tile_x, dilation_y, dilation_x, tiles_y, tiles_x):
    """The window after this one, without a division."""
    tile_x += 1
    over = tile_x == tiles_x
    tile_x = tl.where(over, 0, tile_x)
    group_x += tl.where(over, 1, 0)
    over = group_x == dilation_x
    group_x = tl.where(over, 0, group_x)
    tile_y += tl.where(over, 1, 0)
    over = tile_y == tiles_y
    tile_y = tl.where(over, 0, tile_y)
    group_y += tl.where(over, 1, 0)
    over = group_y == dilation_y
    group_y = tl.where(over, 0, group_y)
    return batch + tl.where(over, 1, 0), group_y, group_x, tile_y, tile_x


@triton.jit
def positions(index, first, dilation, tiles, SIZE: tl.constexpr, OFFSET: tl.constexpr, MERGED: tl.constexpr):
    """Positions on one axis of the map of points ``index`` of the window whose first position is ``first``."""
    position = first + index * dilation
    if MERGED:
        position += tl.where((first < 0) & (index < OFFSET), tiles * SIZE * dilation, 0)
    return position


@triton.jit
def window_points(
    index, group_y, group_x, tile_y, tile_x, height, width, dilation_y, dilation_x, tiles_y, tiles_x,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, OFFSET_Y: tl.constexpr, OFFSET_X: tl.constexpr,
    MERGED_Y: tl.constexpr, MERGED_X: tl.constexpr, BORDER: tl.constexpr,
):  # fmt: skip
    """Rows and columns of a window's points, whether they are on the map, and what cuts the window.

    The cuts are 1 for windows that are merged along y, 2 for those along x, 4 for the border of the map, added up.
    """
    first_y = group_y + (tile_y * SIZE_Y - OFFSET_Y) * dilation_y
    first_x = group_x + (tile_x * SIZE_X - OFFSET_X) * dilation_x
    row = positions(index // SIZE_X, first_y, dilation_y, tiles_y, SIZE_Y, OFFSET_Y, MERGED_Y)
    column = positions(index % SIZE_X, first_x, dilation_x, tiles_x, SIZE_X, OFFSET_X, MERGED_X)
    inside = index < SIZE_Y * SIZE_X
    cut = tl.where(MERGED_Y & (first_y < 0), 1, 0) + tl.where(MERGED_X & (first_x < 0), 2, 0)
    if BORDER:
        inside = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        over = (first_y + (SIZE_Y - 1) * dilation_y >= height) | (first_x + (SIZE_X - 1) * dilation_x >= width)
        cut += tl.where((first_y < 0) | (first_x < 0) | over, 4, 0)
    return row, column, inside, cut


@triton.jit
def pair_bias(
    table_ptr, index, SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, OFFSET_Y: tl.constexpr, OFFSET_X: tl.constexpr,
    MERGED_Y: tl.constexpr, MERGED_X: tl.constexpr, HAS_BIAS: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """Base-2 bias of all pairs (queries, keys) of a window, -inf for keys that fill the block up; and their cuts.

    A pair's cuts are 1 if it lies in two of the windows that are merged along y, plus 2 along x. Unless EXACT they
    stand in the two lowest bits of the bias itself, where they cost no registers and alter it by 2**-21 of its size.
    """
    POINTS: tl.constexpr = SIZE_Y * SIZE_X
    query, key = index[:, None], index[None, :]
    query_y, query_x, key_y, key_x = query // SIZE_X, query % SIZE_X, key // SIZE_X, key % SIZE_X
    both = (query < POINTS) & (key < POINTS)
    if HAS_BIAS:
        entry = (key_y - query_y + SIZE_Y - 1) * (2 * SIZE_X - 1) + key_x - query_x + SIZE_X - 1
        bias = tl.load(table_ptr + entry, mask=both, other=0.0).to(tl.float32) * LOG2E
    else:
        bias = tl.zeros(both.shape, tl.float32)
    cuts = tl.zeros(both.shape, tl.int32)
    if MERGED_Y:
        cuts += tl.where(both & ((query_y < OFFSET_Y) != (key_y < OFFSET_Y)), 1, 0)
    if MERGED_X:
        cuts += tl.where(both & ((query_x < OFFSET_X) != (key_x < OFFSET_X)), 2, 0)
    bias = tl.where(key < POINTS, bias, float("-inf"))
    if (MERGED_Y or MERGED_X) and not EXACT:
        cuts = bias.to(tl.int32, bitcast=True) & -4 | cuts
        bias = cuts.to(tl.float32, bitcast=True)
    return bias, cuts


@triton.jit
def window_weights(
    products, bias, apart, pair_cuts, cut, inside, scale_log2,
    PADDED: tl.constexpr, DECAY: tl.constexpr, MERGED: tl.constexpr, BORDER: tl.constexpr, EXACT: tl.constexpr,
):  # fmt: skip
    """Weights of all pairs of a window before their division, largest base-2 logit and divisor of each query.

    Only windows that something cuts need a mask. Where the window does not divide the map one may be empty, with no key
    to any query. ``PADDED``: the bias is not zero everywhere. ``apart``: of the places of a pair, read where there is a
    DECAY.
    """
    logits = products * scale_log2
    if PADDED:
        logits += bias
    if DECAY:
        logits -= tl.abs(apart) * LOG2E
    if MERGED:  # noqa: SIM102 - known when compiling, the cut is not
        if cut > 0:
            if not EXACT:
                pair_cuts = bias.to(tl.int32, bitcast=True)
            logits = tl.where((pair_cuts & cut & 3) == 0, logits, float("-inf"))
    if BORDER:  # noqa: SIM102
        if cut >= 4:
            logits = tl.where(inside[None, :], logits, float("-inf"))
    top = tl.max(logits, 1)
    if BORDER:
        top = tl.where(top == float("-inf"), 0.0, top)
    weights = tl.exp2(logits - top[:, None])
    total = tl.sum(weights, 1)
    if BORDER:
        total = tl.where(total == 0.0, 1.0, total)
    return weights, top, total

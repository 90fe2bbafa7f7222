"""Functions that the tiled Triton kernels share: which points a program owns, which points they meet, and how.

A program owns a *tile*: a rectangle of points of one dilation group of one head, which are the rows of its blocks. The
points that some of them see, or are seen by, fill another rectangle: its *partners*, the columns of its blocks, which
come BLOCK_N at a time. That rectangle is laid out WIDE columns wide, a constant, so that no division by a size that is
known at run time is left; it is cut into *chunks* of CHUNK consecutive columns.

Axes are handled alike. "own" and "partner" say which side a point is on; a query tile's partners are keys and the other
way around (BY_KEYS). Coordinates count the group's own points: the map's point is group + coordinate * dilation.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import first_key, group_length

NOWHERE: tl.constexpr = tl.constexpr(1 << 29)


@triton.jit
def program(heads, dilation_y, dilation_x, tiles_x):
    """The program's own place: (image, head, group row, group column, tile row, tile column).

    Heads vary fastest, because the heads of one point share cache lines, then tiles, which share partners.
    """
    pid = tl.program_id(0).to(tl.uint32)  # without a sign, division is cheaper
    heads, tiles_x = tl.cast(heads, tl.uint32), tl.cast(tiles_x, tl.uint32)  # a number that is 1 comes as a constant
    tile = pid // heads
    tile_y = tile // tiles_x
    head, tile_x = pid - tile * heads, tile - tile_y * tiles_x
    item = tl.program_id(1) + tl.program_id(2) * tl.num_programs(1)
    group_x = item % dilation_x
    rest = item // dilation_x
    group_y = rest % dilation_y
    return (
        (rest // dilation_y).to(tl.int64),
        head.to(tl.int32),
        group_y,
        group_x,
        tile_y.to(tl.int32),
        tile_x.to(tl.int32),
    )


@triton.jit
def tile_bounds(tile, length, SIDE: tl.constexpr, SIZE: tl.constexpr, STEP: tl.constexpr, WINDOWED: tl.constexpr):
    """Points [start, stop) of a tile along one axis; it may be empty, and start below zero in a window that is cut.

    A window is covered by tiles of its own.
    """
    if WINDOWED:
        PARTS: tl.constexpr = (SIZE + SIDE - 1) // SIDE
        corner = tile // PARTS * SIZE - (SIZE - STEP) % SIZE
        start = corner + tile % PARTS * SIDE
        stop = tl.minimum(tl.minimum(start + SIDE, corner + SIZE), length)
    else:
        start = tile * SIDE
        stop = tl.minimum(start + SIDE, length)
    return start, stop


@triton.jit
def partner_bounds(
    tile, start, stop, length, SIDE: tl.constexpr, SIZE: tl.constexpr, STEP: tl.constexpr, WINDOWED: tl.constexpr,
    BY_KEYS: tl.constexpr,
):  # fmt: skip
    """Partners [first, end) of the tile [start, stop) along one axis: keys that its queries see, or the inverse."""
    if WINDOWED:
        PARTS: tl.constexpr = (SIZE + SIDE - 1) // SIDE
        corner = start - tile % PARTS * SIDE
        first = tl.maximum(corner, 0)
        end = tl.minimum(corner + SIZE, length)
    elif BY_KEYS:
        reach = tl.maximum(start - (SIZE - 1 - SIZE // 2) - STEP // 2, 0)
        first = tl.where(start < SIZE, 0, (reach + STEP - 1) // STEP * STEP)
        end = tl.minimum((stop - 1 + SIZE // 2 - STEP // 2) // STEP * STEP + STEP, length)
        end = tl.where(stop - 1 >= length - SIZE, length, end)
    else:
        first = first_key(start, length, SIZE, STEP)
        end = first_key(stop - 1, length, SIZE, STEP) + SIZE
    return first, end


@triton.jit
def own_points(start_y, start_x, stop_y, stop_x, TILE_Y: tl.constexpr, TILE_X: tl.constexpr, BLOCK_M: tl.constexpr):
    """Coordinates of the tile's points, row by row, and whether they exist."""
    index = tl.arange(0, BLOCK_M)
    y = start_y + index // TILE_X
    x = start_x + index % TILE_X
    inside = (index < TILE_Y * TILE_X) & (y >= 0) & (y < stop_y) & (x >= 0) & (x < stop_x)
    return y, x, inside


@triton.jit
def signed(q, SIGN: tl.constexpr):
    """Queries with the sign of the scale, which the kernels take without one."""
    if SIGN == 1:
        result = q
    else:
        result = (q * SIGN).to(q.dtype)
    return result


@triton.jit
def numbered(begin, BLOCK: tl.constexpr, WIDE: tl.constexpr):
    """Row and column of the BLOCK numbers from ``begin`` on, a multiple of BLOCK, in a rectangle WIDE columns wide."""
    index = tl.arange(0, BLOCK)
    if BLOCK % WIDE == 0:
        y = begin // WIDE + index // WIDE
        x = index % WIDE
    elif WIDE % BLOCK == 0:
        y = begin // WIDE + tl.zeros([BLOCK], tl.int32)
        x = begin % WIDE + index
    else:
        y = (begin + index) // WIDE
        x = (begin + index) % WIDE
    return y, x


@triton.jit
def seen_rows(
    own_y, own_in, partner_y, end_y, length_y,
    SIZE_Y: tl.constexpr, STEP_Y: tl.constexpr, WINDOWED: tl.constexpr, BY_KEYS: tl.constexpr,
):  # fmt: skip
    """Whether own points (rows) and partners (columns) meet along the vertical axis."""
    if WINDOWED:
        seen = own_in[:, None] & (partner_y < end_y)[None, :]
    elif BY_KEYS:
        low = tl.where(partner_y < end_y, first_key(partner_y, length_y, SIZE_Y, STEP_Y), NOWHERE)[None, :]
        key = tl.where(own_in, own_y, -1)[:, None]
        seen = (key >= low) & (key < low + SIZE_Y)
    else:
        low = tl.where(own_in, first_key(own_y, length_y, SIZE_Y, STEP_Y), NOWHERE)[:, None]
        seen = (partner_y[None, :] >= low) & (partner_y[None, :] < low + SIZE_Y)
    return seen


@triton.jit
def seen_columns(
    own_x, partner_x, end_x, length_x,
    SIZE_X: tl.constexpr, STEP_X: tl.constexpr, WINDOWED: tl.constexpr, BY_KEYS: tl.constexpr,
):  # fmt: skip
    """The same along the horizontal axis; own points that do not exist are left to ``seen_rows``."""
    if WINDOWED:
        seen = (own_x >= 0)[:, None] & (partner_x < end_x)[None, :]
    elif BY_KEYS:
        low = tl.where(partner_x < end_x, first_key(partner_x, length_x, SIZE_X, STEP_X), NOWHERE)[None, :]
        seen = (own_x[:, None] >= low) & (own_x[:, None] < low + SIZE_X)
    else:
        low = first_key(own_x, length_x, SIZE_X, STEP_X)[:, None]
        seen = (partner_x[None, :] >= low) & (partner_x[None, :] < low + SIZE_X)
    return seen


@triton.jit
def tile_count(length, SIDE: tl.constexpr, SIZE: tl.constexpr, STEP: tl.constexpr, WINDOWED: tl.constexpr):
    """Number of tiles that cover a group along one axis."""
    if WINDOWED:
        count = (length + (SIZE - STEP) % SIZE + SIZE - 1) // SIZE * ((SIZE + SIDE - 1) // SIDE)
    else:
        count = (length + SIDE - 1) // SIDE
    return count


@triton.jit
def relation_of(
    tile, group, total, dilation, length, edge, tail, period, relations,
    SIDE: tl.constexpr, SIZE: tl.constexpr, STEP: tl.constexpr, WINDOWED: tl.constexpr,
):  # fmt: skip
    """Number of a tile's relation to its partners along one axis; see ``plan.Relations``."""
    count = tile_count(length, SIDE, SIZE, STEP, WINDOWED)
    inner = tl.where(tile < count - tail, edge + (tile - edge) % period, edge + period + tile - (count - tail))
    is_short = (total % dilation > 0) & (group >= total % dilation)
    return tl.where(tile < edge, tile, inner) + tl.where(is_short, relations, 0)


@triton.jit
def tile_of(
    relation, total, dilation, edge, tail, period, relations,
    SIDE: tl.constexpr, SIZE: tl.constexpr, STEP: tl.constexpr, WINDOWED: tl.constexpr,
):  # fmt: skip
    """A tile that has the relation, and the length of its group: the inverse of ``relation_of``."""
    is_short = relation >= relations
    length = group_length(total, tl.where(is_short, total % dilation, 0), dilation)
    inner = relation - tl.where(is_short, relations, 0)
    count = tile_count(length, SIDE, SIZE, STEP, WINDOWED)
    return tl.where(inner < edge + period, inner, count - tail + inner - edge - period), length


@triton.jit
def members_of(
    relation, total, dilation, edge, tail, period, relations,
    SIDE: tl.constexpr, SIZE: tl.constexpr, STEP: tl.constexpr, WINDOWED: tl.constexpr,
):  # fmt: skip
    """All tiles that have a relation along one axis.

    (first group, number of groups, their length, first tile in each of them, number of tiles, points from one to the
    next of these tiles).
    """
    long = total % dilation
    is_short = relation >= relations
    group = tl.where(is_short, long, 0)
    groups = tl.where(is_short | (long == 0), dilation - group, long)
    tile, length = tile_of(relation, total, dilation, edge, tail, period, relations, SIDE, SIZE, STEP, WINDOWED)
    inner = relation - tl.where(is_short, relations, 0)
    count = tile_count(length, SIDE, SIZE, STEP, WINDOWED)
    turns = (count - tail - tile + period - 1) // period
    turns = tl.where((inner < edge) | (inner >= edge + period), 1, turns)  # or none, if the tile is empty
    return group, groups, length, tile, turns, SIZE if WINDOWED else period * SIDE


@triton.jit
def place_of(number, groups_y, groups_x, tiles_y, tiles_x):
    """Number of a tile -> (image, group row, group column, tile row, tile column)."""
    column, rest = number % tiles_x, number // tiles_x
    row, rest = rest % tiles_y, rest // tiles_y
    member_x, rest = rest % groups_x, rest // groups_x
    return rest // groups_y, rest % groups_y, member_x, row, column


@triton.jit
def next_place(image, member_y, member_x, row, column, groups_y, groups_x, tiles_y, tiles_x):
    """The place of the next number, without a division."""
    column, row = carry(column + 1, row, tiles_x)
    row, member_x = carry(row, member_x, tiles_y)
    member_x, member_y = carry(member_x, member_y, groups_x)
    member_y, image = carry(member_y, image, groups_y)
    return image, member_y, member_x, row, column


@triton.jit
def carry(low, high, base):
    """Two digits of a number, the lower of which may have reached its base."""
    over = low == base
    return tl.where(over, 0, low), high + over.to(tl.int32)


@triton.jit
def load_picture(
    picture_ptr, own_y, own_column, partner_y, part, seen,
    SIZE_Y: tl.constexpr, TILE_X: tl.constexpr, WIDE: tl.constexpr, CHUNK: tl.constexpr, BY_KEYS: tl.constexpr,
):  # fmt: skip
    """Bias and horizontal mask of a block, -inf where the vertical mask ``seen`` is not set.

    ``partner_y``, ``part`` (first columns) and the columns of ``seen`` are those of the block's chunks.
    """
    BLOCK_M: tl.constexpr = seen.shape[0]
    CHUNKS: tl.constexpr = seen.shape[1]
    if BY_KEYS:
        entry = own_y[:, None] - partner_y[None, :] + SIZE_Y - 1
    else:
        entry = partner_y[None, :] - own_y[:, None] + SIZE_Y - 1
    offset = (entry * TILE_X + own_column[:, None]) * WIDE + part[None, :]
    pointers = picture_ptr + offset[:, :, None] + tl.arange(0, CHUNK)[None, None, :]
    values = tl.load(pointers, mask=seen[:, :, None], other=float("-inf"))
    return tl.reshape(values, [BLOCK_M, CHUNKS * CHUNK])


@triton.jit
def pair_scores(
    own, partners, picture_ptr, begin, own_y, own_x, own_column, own_in, partner_y, partner_x,
    first_y, end_y, end_x, length_y, length_x,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr, WINDOWED: tl.constexpr,
    HAS_BIAS: tl.constexpr, TILE_X: tl.constexpr, WIDE: tl.constexpr, CHUNK: tl.constexpr, BLOCK_N: tl.constexpr,
    PRECISION: tl.constexpr, BY_KEYS: tl.constexpr,
):  # fmt: skip
    """Products of own points and partners, plus bias over scale; -inf where they do not meet.

    Times the scale, these are the logits. The product starts from the picture: that takes no instruction of its own.
    """
    if HAS_BIAS:
        chunk_y, part = numbered(begin // CHUNK, BLOCK_N // CHUNK, WIDE // CHUNK)
        chunk_y += first_y
        seen = seen_rows(own_y, own_in, chunk_y, end_y, length_y, SIZE_Y, STEP_Y, WINDOWED, BY_KEYS)
        picture = load_picture(
            picture_ptr, own_y, own_column, chunk_y, part * CHUNK, seen, SIZE_Y, TILE_X, WIDE, CHUNK, BY_KEYS
        )
        scores = tl.dot(own, tl.trans(partners), picture, input_precision=PRECISION)
    else:
        seen = seen_rows(own_y, own_in, partner_y, end_y, length_y, SIZE_Y, STEP_Y, WINDOWED, BY_KEYS)
        seen = seen & seen_columns(own_x, partner_x, end_x, length_x, SIZE_X, STEP_X, WINDOWED, BY_KEYS)
        scores = tl.where(seen, tl.dot(own, tl.trans(partners), input_precision=PRECISION), float("-inf"))
    return scores

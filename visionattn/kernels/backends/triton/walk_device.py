"""Parts that the walking kernels share: a program keeps one relation of tiles to their partners, and walks over them.

All partners of a tile are one block. What the tiles of a relation share is computed once per program: the bias and the
mask of all pairs, which stay in registers, and where the points of a tile and its partners lie from its corner on.
Tiles are numbered: those of a group row by row, then groups, then images; a program has a range of them.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.device import LOG2E
from visionattn.kernels.backends.triton.tiles import (
    members_of,
    numbered,
    own_points,
    partner_bounds,
    seen_columns,
    seen_rows,
    tile_bounds,
)


@triton.jit
def walk(
    table_ptr, images, heads, height, width, dilation_y, dilation_x,
    edge_y, tail_y, period_y, relations_y, edge_x, tail_x, period_x, relations_x, all_relations, chunks, per_chunk,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_Y: tl.constexpr, STEP_X: tl.constexpr, HAS_BIAS: tl.constexpr,
    TILE_Y: tl.constexpr, TILE_X: tl.constexpr, WIDE: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    BY_KEYS: tl.constexpr,
):  # fmt: skip
    """What a program walks over.

    (head, first number, number after the last, group of the first tile, groups, tiles per group, points from one tile
    to the next: each (y, x); own points and partners from the map's corner on: rows, columns, whether they exist; the
    picture (own, partners): base-2 bias, -inf where two do not meet; first partner minus first own point: y, x).
    """
    pid = tl.program_id(0)
    head = pid % heads
    begin = pid // heads % chunks * per_chunk
    rest = pid // heads // chunks
    group_y, groups_y, length_y, tile_y, tiles_y, step_y = members_of(
        rest // all_relations, height, dilation_y, edge_y, tail_y, period_y, relations_y, TILE_Y, SIZE_Y, STEP_Y, False
    )
    group_x, groups_x, length_x, tile_x, tiles_x, step_x = members_of(
        rest % all_relations, width, dilation_x, edge_x, tail_x, period_x, relations_x, TILE_X, SIZE_X, STEP_X, False
    )
    start_y, stop_y = tile_bounds(tile_y, length_y, TILE_Y, SIZE_Y, STEP_Y, False)
    start_x, stop_x = tile_bounds(tile_x, length_x, TILE_X, SIZE_X, STEP_X, False)
    first_y, end_y = partner_bounds(tile_y, start_y, stop_y, length_y, TILE_Y, SIZE_Y, STEP_Y, False, BY_KEYS)
    first_x, end_x = partner_bounds(tile_x, start_x, stop_x, length_x, TILE_X, SIZE_X, STEP_X, False, BY_KEYS)
    own_y, own_x, own_in = own_points(start_y, start_x, stop_y, stop_x, TILE_Y, TILE_X, BLOCK_M)
    partner_y, partner_x = numbered(0, BLOCK_N, WIDE)
    partner_y, partner_x = first_y + partner_y, first_x + partner_x
    partner_in = (partner_y < end_y) & (partner_x < end_x)
    seen = seen_rows(own_y, own_in, partner_y, end_y, length_y, SIZE_Y, STEP_Y, False, BY_KEYS)
    seen = seen & seen_columns(own_x, partner_x, end_x, length_x, SIZE_X, STEP_X, False, BY_KEYS)
    if HAS_BIAS:
        apart_y, apart_x = partner_y[None, :] - own_y[:, None], partner_x[None, :] - own_x[:, None]
        if BY_KEYS:
            apart_y, apart_x = -apart_y, -apart_x
        entry = (head * (2 * SIZE_Y - 1) + apart_y + SIZE_Y - 1) * (2 * SIZE_X - 1) + apart_x + SIZE_X - 1
        bias = tl.load(table_ptr + entry, mask=seen, other=0.0).to(tl.float32) * LOG2E
        picture = tl.where(seen, bias, float("-inf"))
    else:
        picture = tl.where(seen, 0.0, float("-inf"))
    items = images * groups_y * groups_x * tiles_y * tiles_x
    items = tl.where((stop_y <= start_y) | (stop_x <= start_x), 0, items)
    return (
        head, begin, tl.minimum(begin + per_chunk, items), group_y, group_x, groups_y, groups_x, tiles_y, tiles_x,
        step_y * dilation_y, step_x * dilation_x, own_y * dilation_y, own_x * dilation_x, own_in,
        partner_y * dilation_y, partner_x * dilation_x, partner_in, picture, first_y - start_y, first_x - start_x,
    )  # fmt: skip

"""Pictures of bias and horizontal mask, one for each relation in which a tile can stand to its partners.

``picture[head, relation, difference of rows, own column, partner column]`` is the bias over the scale of the
logits, or -inf where the two
columns do not meet. A tile's relation says how its columns stand to those of its partners: all tiles of the interior
share one. The vertical axis needs no relation: a row of a block takes the picture's rows by its own difference of rows.
"""

import triton
import triton.language as tl

from visionattn.kernels.backends.triton.tiles import partner_bounds, seen_columns, tile_bounds, tile_of


@triton.jit
def draw(
    pid, table_ptr, picture_ptr, heads, width, dilation_x, edge, tail, period, relations, all_relations,
    inverse_scale, SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_X: tl.constexpr, WINDOWED: tl.constexpr,
    TILE_X: tl.constexpr, WIDE: tl.constexpr, OWN: tl.constexpr, BLOCK: tl.constexpr, BY_KEYS: tl.constexpr,
):  # fmt: skip
    """Draw the columns of one head, relation and difference of rows."""
    ROWS: tl.constexpr = 2 * SIZE_Y - 1
    entry_y = pid % ROWS
    relation = pid // ROWS % all_relations
    head = pid // ROWS // all_relations
    tile, length = tile_of(relation, width, dilation_x, edge, tail, period, relations, TILE_X, SIZE_X, STEP_X, WINDOWED)
    start, stop = tile_bounds(tile, length, TILE_X, SIZE_X, STEP_X, WINDOWED)
    first, end = partner_bounds(tile, start, stop, length, TILE_X, SIZE_X, STEP_X, WINDOWED, BY_KEYS)
    table_ptr += (head * ROWS + entry_y) * (2 * SIZE_X - 1)
    picture_ptr += pid.to(tl.int64) * (TILE_X * WIDE)
    own = tl.arange(0, OWN)
    own_x = start + own
    own_in = (own < TILE_X) & (own_x >= 0) & (own_x < stop)
    for begin in range(0, WIDE, BLOCK):
        column = begin + tl.arange(0, BLOCK)
        partner_x = first + column
        seen = own_in[:, None] & seen_columns(own_x, partner_x, end, length, SIZE_X, STEP_X, WINDOWED, BY_KEYS)
        difference = partner_x[None, :] - own_x[:, None]
        entry_x = (-difference if BY_KEYS else difference) + SIZE_X - 1
        bias = tl.load(table_ptr + entry_x, mask=seen, other=0.0).to(tl.float32) * inverse_scale
        there = (own < TILE_X)[:, None] & (column < WIDE)[None, :]
        place = picture_ptr + own[:, None] * WIDE + column[None, :]
        tl.store(place, tl.where(seen, bias, float("-inf")), mask=there)


@triton.jit
def picture_kernel(
    table_ptr, of_queries_ptr, of_keys_ptr, heads, width, dilation_x, split,
    q_edge, q_tail, q_period, q_relations, q_all, k_edge, k_tail, k_period, k_relations, k_all, inverse_scale,
    SIZE_Y: tl.constexpr, SIZE_X: tl.constexpr, STEP_X: tl.constexpr, WINDOWED: tl.constexpr,
    TILE: tl.constexpr, WIDE_Q: tl.constexpr, WIDE_K: tl.constexpr, OWN: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """The first ``split`` programs draw query tiles with their keys, the others key tiles with their queries."""
    pid = tl.program_id(0)
    if pid < split:
        draw(
            pid, table_ptr, of_queries_ptr, heads, width, dilation_x, q_edge, q_tail, q_period, q_relations, q_all,
            inverse_scale, SIZE_Y, SIZE_X, STEP_X, WINDOWED, TILE, WIDE_Q, OWN, BLOCK, False,
        )  # fmt: skip
    else:
        draw(
            pid - split, table_ptr, of_keys_ptr, heads, width, dilation_x, k_edge, k_tail, k_period, k_relations,
            k_all, inverse_scale, SIZE_Y, SIZE_X, STEP_X, WINDOWED, TILE, WIDE_K, OWN, BLOCK, True,
        )  # fmt: skip

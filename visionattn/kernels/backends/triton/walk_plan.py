"""How a neighborhood's map is cut into tiles that are one block with all their partners: plain integers, no Triton."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

from visionattn.kernels.backends.triton.axis import Axis
from visionattn.kernels.backends.triton.layout import power_of_two, span

LONGEST_SIDE = 16


@dataclass(frozen=True)
class Walk:
    """One walking kernel: the tile, the block (own points, partners), and how it is launched.

    ``programs`` is per multiprocessor; each walks over as many tiles as that leaves to it.
    """

    tile: tuple[int, int]
    block_m: int
    block_n: int
    num_warps: int
    num_stages: int
    programs: int
    registers: int | None = None


def walk_tile(y: Axis, x: Axis, points: int, partners: int, by_keys: bool) -> tuple[int, int] | None:
    """The tile of at most ``points`` points and ``partners`` partners with which a map has the fewest tiles, if any."""
    found = []
    for side_y, side_x in product(_sides(y), _sides(x)):
        if side_y * side_x <= points:
            area = span(y, side_y, by_keys) * span(x, side_x, by_keys)
            if area <= partners:
                found.append((y.tiles(side_y) * x.tiles(side_x), area, abs(side_y - side_x), (side_y, side_x)))
    return min(found)[-1] if found else None


def _sides(axis: Axis) -> range:
    """Sides of a tile: whole strides."""
    return range(axis.step, min(axis.longest, max(LONGEST_SIDE, axis.step)) + 1, axis.step)


def walks(y: Axis, x: Axis, by_keys: bool) -> list[Walk]:
    """The walks worth timing over neighborhoods of 16-bit maps with heads of up to 32 channels.

    By the compiler's reports for sm_90: with 16 points four warps share the partners; a limit of registers lets twice
    as many programs run at once, and what is then spilled is loaded again in the loop, not stored. Where a block has 32
    points, warps would repeat each other's work.
    """
    found = []
    if tile := walk_tile(y, x, 16, 128, by_keys):
        base = Walk(tile, 16, 128, 4, 2, 8, 128)
        found += [base, replace(base, num_stages=3), replace(base, programs=4), replace(base, registers=None)]
        found += [Walk(tile, 16, 128, 2, 2, 12, 168), Walk(tile, 16, 128, 2, 3, 8)]
    tile = walk_tile(y, x, 64, 128, by_keys)
    if tile and power_of_two(tile[0] * tile[1]) == 64:
        found += [Walk(tile, 64, 128, 4, stages, 4) for stages in (2, 3)]
    return found

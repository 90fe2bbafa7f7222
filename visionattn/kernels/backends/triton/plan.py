"""How a map is cut into tiles for the Triton kernels: plain integers, no torch, no Triton.

Legend: L length of an axis, d dilation, Lg length of one dilation group, S size of the window or kernel, T side of a
tile.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

from visionattn.kernels.backends.triton.axis import Axis
from visionattn.kernels.backends.triton.layout import best_tile, power_of_two
from visionattn.kernels.backends.triton.walk_plan import Walk, walks


@dataclass(frozen=True)
class Plan:
    """Tile and block sizes of one call. ``tile`` (rows, columns) is used for query tiles and for key tiles alike.

    The forward and the gradient of queries load ``num_stages`` blocks ahead, the gradients of keys and of the table
    load one. A walk takes the place of these kernels in the backward: that over queries of the gradients of queries and
    of the table, that over keys of the gradient of keys.
    """

    tile: tuple[int, int]
    block_m: int
    block_n: int
    num_warps: int
    num_stages: int
    query_walk: Walk | None = None
    key_walk: Walk | None = None


@lru_cache(maxsize=4096)
def default_plan(
    y: Axis, x: Axis, bytes_per_value: int, widest: int, backward: bool = False, warpgroups: bool = True
) -> Plan:
    """The plan that every call uses, the same in every process, so that a resumed run repeats its bits.

    64 queries meet 32 keys at a time in 16-bit types, half of them in fp32, whose exact products have no tensor cores.
    The forward of heads wider than 64 takes 128 queries where that is less work, because what limits it is the loading
    of keys, and 64 keys where warpgroups multiply from shared memory. Three stages where they fit: on an H200, at
    DiNAT-T's first stage, the forward took 98 µs with three and 126 with one, the gradient of queries 102 and 116; the
    gradients of keys (154 and 144) and of the table (139 and 137) gained nothing.
    No kernel takes more than 99 KiB of shared memory, the limit of consumer cards, and only the fp32 gradient of keys
    with heads of 33 to 64 channels spills registers: 24 bytes for compute capability 8.0.
    """
    full, wide = bytes_per_value == 4, widest > 64
    most = 32 if full else 128 if wide and not backward else 64
    tile = best_tile(y, x, most, 2 * widest * bytes_per_value)
    block_m = max(power_of_two(tile[0] * tile[1]), 16)
    block_n = 16 if full and wide else 64 if block_m == 128 and warpgroups else 32
    warps = 8 if (full and widest > 32) or (wide and (backward or block_m == 128)) else 4
    return Plan(tile, block_m, block_n, warps if block_m * block_n >= 512 else 2, 1 if full or wide else 3)


def candidates(y: Axis, x: Axis, bytes_per_value: int, widest: int, shared_memory: int) -> list[Plan]:
    """Plans worth timing on a device with ``shared_memory`` bytes per program, the default ones first, then walks.

    Then at most twenty with tiles of 16 to 128 queries, 32 or 64 keys, one or three stages. The bound: keys and values
    of one block, ``num_stages`` deep, the queries and a block's bias must fit. A warp takes 16 rows, or there are four.
    """
    plans = [default_plan(y, x, bytes_per_value, widest, backward) for backward in (False, True)]
    base, walking = plans[1], []
    if not y.windowed and bytes_per_value == 2 and widest <= 32:
        walking += [replace(base, query_walk=walk) for walk in walks(y, x, by_keys=False)]
        walking += [replace(base, key_walk=walk) for walk in walks(y, x, by_keys=True)]
    for points in (64, 32, 128, 16):
        tile = best_tile(y, x, points, 2 * widest * bytes_per_value)
        block_m = max(power_of_two(tile[0] * tile[1]), 16)
        for block_n, stages, warps in product((32, 64), (1, 3), {max(block_m // 16, 1), 4}):
            need = bytes_per_value * widest * (block_m + 2 * stages * block_n) + 4 * block_m * block_n
            if need <= shared_memory:
                plans.append(Plan(tile, block_m, block_n, warps, stages))
    tiled = list(dict.fromkeys(plans))[:20]
    return [*tiled[:2], *walking, *tiled[2:]]

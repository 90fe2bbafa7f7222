"""How a map is cut into tiles for the Triton kernels: plain integers, no torch, no Triton.

Legend: L length of an axis, d dilation, Lg length of one dilation group, S size of the window or kernel, T side of a
tile.
"""

from dataclasses import dataclass
from functools import lru_cache

FUSED_WINDOW_POINTS = 64
FUSED_ROW_BYTES = 256


@dataclass(frozen=True)
class Axis:
    """One axis of the geometry. ``step`` is the shift of a window's lines, or a neighborhood's stride."""

    length: int
    size: int
    step: int
    dilation: int
    windowed: bool

    @property
    def longest(self) -> int:
        """Length of the longest dilation group."""
        return -(-self.length // self.dilation)

    @property
    def classes(self) -> int:
        """Number of different group lengths: two where the dilation does not divide the length."""
        return 1 if self.length % self.dilation == 0 else 2

    @property
    def offset(self) -> int:
        """How far the first tile starts before the map: windows are cut at the border, tiles are not."""
        return (self.size - self.step) % self.size if self.windowed else 0

    def tiles(self, side: int) -> int:
        """Number of tiles of ``side`` that cover the longest group."""
        return -(-(self.longest + self.offset) // side)

    def first_key(self, query: int, length: int) -> int:
        """First visible key of a query, as coordinates in a group of ``length``; negative for some cut windows."""
        if self.windowed:
            return (query + self.size - self.step) // self.size * self.size + self.step - self.size
        leader = min(query // self.step * self.step + self.step // 2, length - 1)
        return min(max(leader - self.size // 2, 0), length - self.size)

    def key_span(self, side: int) -> int:
        """The most keys that a tile of ``side`` queries sees along this axis."""
        if self.windowed:
            return self.size
        return max(self._key_span(side, length) for length in self._lengths())

    def query_span(self, side: int) -> int:
        """The most queries along this axis that see some key of a tile of ``side`` keys."""
        if self.windowed:
            return self.size
        return max(self._query_span(side, length) for length in self._lengths())

    def _lengths(self) -> set[int]:
        return {self.longest, -(-(self.length - self.dilation + 1) // self.dilation)}

    def _key_span(self, side: int, length: int) -> int:
        spans = [
            self.first_key(min(start + side, length) - 1, length) - self.first_key(start, length) + self.size
            for start in range(0, length, side)
        ]
        return max(spans)

    def _query_span(self, side: int, length: int) -> int:
        firsts = [self.first_key(query, length) for query in range(length)]
        spans = [1]
        for start in range(0, length, side):
            stop = min(start + side, length)
            viewers = [query for query, first in enumerate(firsts) if first < stop and first + self.size > start]
            if viewers:
                spans.append(viewers[-1] - viewers[0] + 1)
        return max(spans)


@dataclass(frozen=True)
class Plan:
    """Tile and block sizes of one call. ``tile`` (rows, columns) is used for query tiles and for key tiles alike."""

    tile: tuple[int, int]
    block_m: int
    block_n: int
    num_warps: int
    num_stages: int

    @property
    def blocks(self) -> int:
        """Blocks of ``block_m`` points in one tile."""
        return -(-self.tile[0] * self.tile[1] // self.block_m)


@lru_cache(maxsize=4096)
def spans(y: Axis, x: Axis, tile: tuple[int, int]) -> tuple[int, int, int, int]:
    """(key rows, key columns, query rows, query columns) that a tile needs at most."""
    return y.key_span(tile[0]), x.key_span(tile[1]), y.query_span(tile[0]), x.query_span(tile[1])


def power_of_two(number: int) -> int:
    """The smallest power of two that is at least ``number``."""
    return 1 << max(number - 1, 0).bit_length()


def tile_side(axis: Axis, limit: int) -> int:
    """A window is its own tile; a neighborhood's tile is whole strides, so that no stride group straddles two tiles."""
    if axis.windowed:
        return axis.size
    side = min(limit, power_of_two(axis.longest))
    return max(side // axis.step * axis.step, 1)


@lru_cache(maxsize=4096)
def default_plan(y: Axis, x: Axis, bytes_per_value: int, widest: int) -> Plan:
    """The plan that every call uses, the same in every process, so that a resumed run repeats its bits.

    Chosen from the compiler's reports for sm_90: 64 queries by 32 keys in 16-bit types; half of that in fp32, whose
    exact products have no tensor cores; eight warps for heads wider than 64. A window that fits one block is handled
    as one, 64 by 64. No kernel takes more than 99 KiB of shared memory (the limit of consumer cards), and only the
    fp32 gradient of queries with heads wider than 64 spills registers (some 200 bytes).
    """
    full = bytes_per_value == 4
    one_block = fits_one_block(y, x, bytes_per_value, widest)
    most_m = 32 if full and not one_block else 64
    tile = (tile_side(y, most_m // 8), tile_side(x, 8))
    key_rows, key_columns, _, _ = spans(y, x, tile)
    most_n = 64 if one_block and not full else 16 if full and widest > 64 else 32
    block_m = min(max(power_of_two(tile[0] * tile[1]), 16), most_m)
    block_n = min(max(power_of_two(key_rows * key_columns), 16), most_n)
    warps = 8 if widest > 64 or (full and one_block) else 4
    return Plan(tile, block_m, block_n, num_warps=warps if block_m * block_n >= 512 else 2, num_stages=1 if full else 2)


def fits_one_block(y: Axis, x: Axis, bytes_per_value: int, widest: int) -> bool:
    """Whether a single program makes all gradients of a window: its points in one block, its rows in shared memory."""
    return y.windowed and y.size * x.size <= FUSED_WINDOW_POINTS and bytes_per_value * widest <= FUSED_ROW_BYTES


def candidates(y: Axis, x: Axis, bytes_per_value: int, widest: int, shared_memory: int) -> list[Plan]:
    """At most twelve plans worth timing on a device with ``shared_memory`` bytes per program.

    The bound: keys and values of one block, ``num_stages`` deep, and the queries must fit; two to eight warps, because
    fewer leave the tensor cores idle and more split a 64x64 block below one instruction per warp.
    """
    base = default_plan(y, x, bytes_per_value, widest)
    plans = [base]
    for block_n in (32, 64):
        for warps in (2, 4, 8):
            for stages in (1, 2, 3):
                need = bytes_per_value * widest * (base.block_m + 2 * stages * block_n)
                plan = Plan(base.tile, base.block_m, block_n, warps, stages)
                if need <= shared_memory and plan not in plans and base.block_m * block_n >= 512 * warps:
                    plans.append(plan)
    return plans[:12]

"""How the tiles of an axis stand to their partners: plain integers, no torch, no Triton.

The same numbers as in ``tiles.py``, which computes them in the kernels; see there for the words.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import gcd

from visionattn.kernels.backends.triton.axis import Axis

MOST_CHUNK = 32
TILE_COST = 5000
"""Cost of a program beside its blocks, in pairs of query and key, by the instructions of sm_90."""
BYTES_PER_PAIR = 4
"""How much of keys and values the cache delivers in the time of a pair, on an H200."""


@dataclass(frozen=True)
class Relations:
    """The relations in which the tiles of an axis stand to their partners, in groups of one length.

    The first ``edge`` tiles and the last ``tail`` ones each have a relation of their own, and those between take turns
    in ``period`` relations. ``count`` is the number of all; a second class of group lengths has as many again.
    """

    edge: int
    tail: int
    period: int
    count: int
    classes: int

    @property
    def numbers(self) -> tuple[int, int, int, int, int]:
        """The kernels' arguments: edge, tail, period, relations of a class, of all classes."""
        return self.edge, self.tail, self.period, self.count, self.count * self.classes


def parts(axis: Axis, side: int) -> int:
    """Tiles that cover a window."""
    return -(-axis.size // side)


def count(axis: Axis, side: int, length: int) -> int:
    """Number of tiles that cover a group of ``length``."""
    if axis.windowed:
        return -(-(length + axis.offset) // axis.size) * parts(axis, side)
    return -(-length // side)


def bounds(axis: Axis, side: int, length: int, tile: int) -> tuple[int, int, int]:
    """Points [start, stop) of a tile, and where its window starts, or again the start; some tiles are empty."""
    if not axis.windowed:
        return tile * side, min(tile * side + side, length), tile * side
    window, part = divmod(tile, parts(axis, side))
    corner = window * axis.size - axis.offset
    start = corner + part * side
    return start, min(start + side, corner + axis.size, length), corner


def view(axis: Axis, side: int, length: int, tile: int, by_keys: bool) -> tuple[int, int, tuple[tuple[int, int], ...]]:
    """Partners [first, end) of a tile and, for each of its points, the run of those it meets, from the tile's start."""
    start, stop, corner = bounds(axis, side, length, tile)
    own = range(max(start, 0), stop)
    if axis.windowed:
        runs = [(max(corner, 0), min(corner + axis.size, length)) for _ in own]
    elif by_keys:
        runs = [_viewers(axis, length, key) for key in own]
    else:
        runs = [(axis.first_key(query, length), axis.first_key(query, length) + axis.size) for query in own]
    if not runs:
        return 0, 0, ()
    first, end = min(run[0] for run in runs), max(run[1] for run in runs)
    shifted = ((own[0] - start, len(own)), *((run[0] - start, run[1] - start) for run in runs))
    return first - start, end - start, shifted


@lru_cache(maxsize=65536)
def _viewers(axis: Axis, length: int, key: int) -> tuple[int, int]:
    """Queries [first, end) whose run holds a key: runs move on with their queries, so these are consecutive."""
    near = range(max(key - 2 * axis.size, 0), min(key + 2 * axis.size, length))
    holding = [
        query for query in near if axis.first_key(query, length) <= key < axis.first_key(query, length) + axis.size
    ]
    return (holding[0], holding[-1] + 1) if holding else (key, key)


@lru_cache(maxsize=4096)
def views(axis: Axis, side: int, by_keys: bool) -> tuple[tuple[tuple[int, int, tuple[tuple[int, int], ...]], ...], ...]:
    """The views of all tiles, for each length of a group, the longer first."""
    lengths = sorted({axis.longest, axis.length // axis.dilation}, reverse=True)
    return tuple(
        tuple(view(axis, side, length, tile, by_keys) for tile in range(count(axis, side, length)))
        for length in lengths
    )


@lru_cache(maxsize=4096)
def relations(axis: Axis, side: int, by_keys: bool) -> Relations:
    """The fewest relations that tell all tiles of an axis apart."""
    classes = views(axis, side, by_keys)
    period = parts(axis, side) if axis.windowed else axis.step // gcd(axis.step, side)
    edge = tail = 0
    for tiles in classes:
        last = len(tiles) - period
        alike = [tiles[tile] == tiles[tile + period] for tile in range(last)]
        low = high = last // 2
        while low > 0 and alike[low - 1]:
            low -= 1
        while high < last and alike[high]:
            high += 1
        edge, tail = max(edge, low), max(tail, last - high)
    fewest = min(map(len, classes))
    if fewest < edge + period + tail:
        longest = max(map(len, classes))
        return Relations(longest, 0, 1, longest, len(classes))
    return Relations(edge, tail, period, edge + period + tail, len(classes))


def span(axis: Axis, side: int, by_keys: bool) -> int:
    """The most partners that a tile has along this axis."""
    return max(end - first for tiles in views(axis, side, by_keys) for first, end, _ in tiles)


def width(columns: int) -> tuple[int, int]:
    """How wide a rectangle of ``columns`` is laid out, and in chunks of how many.

    At most a fifteenth is added for the sake of larger chunks.
    """
    best = -(-columns // 4) * 4
    chunk = MOST_CHUNK
    while -(-columns // chunk) * chunk > best * 16 // 15:
        chunk //= 2
    return -(-columns // chunk) * chunk, chunk


def members(axis: Axis, side: int, by_keys: bool = False) -> int:
    """The most tiles of all groups that share a relation along an axis."""
    found = relations(axis, side, by_keys)
    longest = axis.length % axis.dilation
    groups = (longest, axis.dilation - longest) if longest else (axis.dilation,)
    alike = [len(tiles) - found.edge - found.tail for tiles in views(axis, side, by_keys)]
    return max(n * max(-(-inner // found.period), 1) for n, inner in zip(groups, alike, strict=True))


def best_tile(y: Axis, x: Axis, points: int, key_bytes: int) -> tuple[int, int]:
    """The tile of at most ``points`` queries with which a map takes the least work.

    ``key_bytes``: of a key and its value.
    """
    sides = range(1, points + 1) if y.windowed else [1 << power for power in range(points.bit_length())]
    tiles = {(tile_side(y, points // side), tile_side(x, side)) for side in sides}
    return min(sorted(tiles, key=lambda tile: (-tile[1], tile[0])), key=lambda tile: _work(y, x, tile, key_bytes))


def tile_side(axis: Axis, limit: int) -> int:
    """Side of a tile of at most ``limit``: the whole of a short group or window; else whole strides, if they fit."""
    side = min(limit, axis.size if axis.windowed else axis.longest)
    if axis.windowed or axis.step > side:
        return side
    return side // axis.step * axis.step


def _work(y: Axis, x: Axis, tile: tuple[int, int], key_bytes: int) -> int:
    keys = span(y, tile[0], by_keys=False) * width(span(x, tile[1], by_keys=False))[0]
    queries = max(power_of_two(tile[0] * tile[1]), 16)
    return y.tiles(tile[0]) * x.tiles(tile[1]) * (keys * (queries + key_bytes // BYTES_PER_PAIR) + TILE_COST)


def power_of_two(number: int) -> int:
    """The smallest power of two that is at least ``number``."""
    return 1 << max(number - 1, 0).bit_length()

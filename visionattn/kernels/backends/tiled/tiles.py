"""Tiles of one axis: runs of consecutive queries of one dilation group.

Each tile comes with the run of keys that any of its queries sees.

A map's tiles are the products of its rows' and its columns' tiles. Made from ``AxisRule.spans`` alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from visionattn.kernels.geometry import AxisRule


@dataclass(frozen=True)
class Shape:
    """The relative geometry of a tile, which many tiles share.

    Query i of ``queries`` sees the keys ``low[i] <= j < high[i]`` of ``keys``. Key j lies ``j + lead - i`` coordinates
    after query i, inside the dilation group.
    """

    queries: int
    keys: int
    lead: int
    low: tuple[int, ...]
    high: tuple[int, ...]


@dataclass(frozen=True)
class Tile:
    """Queries at positions query, query + step, ... and keys at positions key, key + step, ... of the axis."""

    query: int
    key: int
    step: int
    shape: Shape

    def query_positions(self) -> range:
        return range(self.query, self.query + self.shape.queries * self.step, self.step)

    def key_positions(self) -> range:
        return range(self.key, self.key + self.shape.keys * self.step, self.step)


@lru_cache(maxsize=256)
def axis_tiles(rule: AxisRule, length: int, width: int) -> tuple[Tile, ...]:
    """The tiles of an axis, group by group: one per window, or about ``width`` neighborhood queries each."""
    _, _, start, extent = (span.tolist() for span in rule.spans(length))
    tiles: list[Tile] = []
    for group in range(min(rule.dilation, length)):
        positions = range(group, length, rule.dilation)
        starts, extents = [start[p] for p in positions], [extent[p] for p in positions]
        cuts = _window_cuts(starts) if rule.is_window else _even_cuts(len(starts), width, rule.stride)
        for first, last in pairwise(cuts):
            tiles.append(_tile(rule, group, first, starts[first:last], extents[first:last]))
    return tuple(tiles)


def _window_cuts(starts: list[int]) -> list[int]:
    changes = [i for i in range(1, len(starts)) if starts[i] != starts[i - 1]]
    return [0, *changes, len(starts)]


def _even_cuts(length: int, width: int, stride: int) -> list[int]:
    """Cuts at multiples of ``stride``, pieces as equal as that allows and about ``width`` long."""
    steps = -(-length // stride)
    pieces = -(-steps // max(1, width // stride))
    return [min(length, piece * steps // pieces * stride) for piece in range(pieces)] + [length]


def _tile(rule: AxisRule, group: int, first: int, starts: list[int], extents: list[int]) -> Tile:
    begin = min(starts)
    end = max(start + extent for start, extent in zip(starts, extents, strict=True))
    low = tuple(start - begin for start in starts)
    high = tuple(start - begin + extent for start, extent in zip(starts, extents, strict=True))
    shape = Shape(len(starts), end - begin, begin - first, low, high)
    return Tile(group + first * rule.dilation, group + begin * rule.dilation, rule.dilation, shape)

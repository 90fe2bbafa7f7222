"""Index tables of the ``tiled`` backend: how a map becomes tiles of one size, and how tiles become a map again.

Legend: T tiles of a map, Q queries and K keys of a tile (padded to the largest), N heads, D width. Tables depend on
the geometry and the map's size alone and are cached; the bias enters in ``additive`` and ``fold``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import embedding

from visionattn.kernels.backends.tiled.tiles import Shape, Tile, axis_tiles
from visionattn.kernels.geometry import AxisRule, Geometry
from visionattn.kernels.signature import stats_dtype

TILE = 7
"""Neighborhood queries of a tile, per axis: best for kernel 7 (smaller: many products; larger: masked work)."""


@dataclass(frozen=True)
class AxisPlan:
    """The tiles of one axis, and what tiles of one shape share.

    Positions of the tiles' queries ``(t, Q)`` and keys ``(t, K)`` are padded with a tile's own last one. Each distinct
    shape of a tile (s) has the visible pairs ``(s, Q, K)`` and their bias index ``(s, Q, K)``; each tile has the number
    of its shape ``(t,)``.
    """

    rule: AxisRule
    tiles: tuple[Tile, ...]
    query: Tensor
    query_valid: Tensor
    key: Tensor
    shape_of: Tensor
    visible: Tensor
    index: Tensor


def axis_plan(rule: AxisRule, length: int, device: torch.device) -> AxisPlan:
    """The plan of an axis of ``length`` positions."""
    tiles = axis_tiles(rule, length, TILE)
    bundles = bundle_windows(tiles) if rule.is_window else [(tile,) for tile in tiles]
    shapes = [tuple(tile.shape for tile in bundle) for bundle in bundles]
    distinct = list(dict.fromkeys(shapes))
    query = [[p for tile in bundle for p in tile.query_positions()] for bundle in bundles]
    key = [[p for tile in bundle for p in tile.key_positions()] for bundle in bundles]
    queries, keys = max(map(len, query)), max(map(len, key))
    visible, index = zip(*(_pairs(shape, queries, keys, rule.size) for shape in distinct), strict=True)
    return AxisPlan(
        rule,
        tiles,
        query=torch.tensor([_padded(run, queries) for run in query], device=device),
        query_valid=torch.tensor([[i < len(run) for i in range(queries)] for run in query], device=device),
        key=torch.tensor([_padded(run, keys) for run in key], device=device),
        shape_of=torch.tensor([distinct.index(shape) for shape in shapes], device=device),
        visible=torch.stack(visible).to(device),
        index=torch.stack(index).to(device),
    )


def bundle_windows(tiles: tuple[Tile, ...]) -> list[tuple[Tile, ...]]:
    """Windows that the border cuts share a tile where they fit into one: as many tiles as if the map were rolled."""
    size = max(tile.shape.queries for tile in tiles)
    bundles: list[tuple[Tile, ...]] = [(tile,) for tile in tiles if tile.shape.queries == size]
    rest: tuple[Tile, ...] = ()
    for tile in tiles:
        if tile.shape.queries == size:
            continue
        if sum(other.shape.queries for other in rest) + tile.shape.queries > size:
            bundles.append(rest)
            rest = ()
        rest = (*rest, tile)
    return [*bundles, rest] if rest else bundles


def _padded(positions: list[int], size: int) -> list[int]:
    return positions + [positions[-1]] * (size - len(positions))


def _pairs(shapes: tuple[Shape, ...], queries: int, keys: int, size: int) -> tuple[Tensor, Tensor]:
    """Visibility and bias index of the pairs of a tile made of ``shapes``; padding queries see what the last sees."""
    visible = torch.zeros(queries, keys, dtype=torch.bool)
    index = torch.zeros(queries, keys, dtype=torch.int64)
    first_query = first_key = 0
    for shape in shapes:
        area = slice(first_query, first_query + shape.queries), slice(first_key, first_key + shape.keys)
        i, j = torch.arange(shape.queries)[:, None], torch.arange(shape.keys)[None]
        low, high = torch.tensor(shape.low)[:, None], torch.tensor(shape.high)[:, None]
        visible[area] = (j >= low) & (j < high)
        index[area] = (j + shape.lead - i + size - 1).clamp(0, 2 * size - 2)
        first_query, first_key = area[0].stop, area[1].stop
    visible[first_query:], index[first_query:] = visible[first_query - 1], index[first_query - 1]
    return visible, index


class Plan:
    """The tables of a map, and the moves between map and tiles that they define."""

    def __init__(self, rows: AxisPlan, cols: AxisPlan, height: int, width: int) -> None:
        self.rows, self.cols, self.height, self.width = rows, cols, height, width
        self.query = _product(rows.query * width, cols.query)
        self.key = _product(rows.key * width, cols.key)
        self.tiles, self.queries = self.query.shape
        self.logits_per_head = self.query.numel() * self.key.shape[1]
        valid = _product(rows.query_valid.long() - 1, cols.query_valid.long() - 1) == 0
        self.padding = None if valid.all() else ~valid[:, None, :, None]
        slots = torch.arange(valid.numel(), device=valid.device)
        self.slot = torch.empty_like(slots[: height * width])
        self.slot[self.query[valid]] = slots[valid.flatten()]
        self.shape_of = (rows.shape_of[:, None] * len(cols.visible) + cols.shape_of).flatten()
        self.num_shapes = len(rows.visible) * len(cols.visible)
        self.all_visible = bool(rows.visible.all() and cols.visible.all())

    # ---- map -> tiles
    def gather_queries(self, x: Tensor) -> Tensor:
        """Gather the queries: ``(b, H, W, N, D) -> (b, T, N, Q, D)``."""
        return _gather(x, self.query)

    def gather_keys(self, x: Tensor) -> Tensor:
        """Gather the keys: ``(b, H, W, N, D) -> (b, T, N, K, D)``."""
        return _gather(x, self.key)

    def gather_grads(self, x: Tensor) -> Tensor:
        """As gather_queries, but zero where a tile's query is padding."""
        tiles = _gather(x, self.query)
        return tiles if self.padding is None else tiles.masked_fill_(self.padding, 0)

    # ---- tiles -> map
    def scatter_queries(self, tiles: Tensor) -> Tensor:
        """(b, T, N, Q, D) -> (b, H, W, N, D); every token is the query of exactly one tile."""
        batch, _, heads, queries, depth = tiles.shape
        tile, query = self.slot // queries, self.slot % queries
        image = torch.arange(batch, device=tiles.device)[:, None, None] * self.tiles
        head = torch.arange(heads, device=tiles.device)
        index = ((image + tile[:, None]) * heads + head) * queries + query[:, None]
        return embedding(index, tiles.reshape(-1, depth)).view(batch, self.height, self.width, heads, depth)

    def sum_keys(self, tiles: Tensor) -> Tensor:
        """(b, T, N, K, D) -> (b, H, W, N, D): tiles added where they overlap, columns first, then rows, in order."""
        if self.rows.rule.is_window:
            return self.scatter_queries(tiles)  # a window's keys are its queries, and windows do not overlap
        batch, _, heads, _, depth = tiles.shape
        kinds = torch.float32 if tiles.dtype in (torch.float16, torch.bfloat16) else tiles.dtype
        shape = (batch, len(self.rows.tiles), len(self.cols.tiles), heads, self.rows.key.shape[1], -1, depth)
        tiles = tiles.view(shape)
        strips = tiles.new_zeros((batch, shape[1], heads, shape[4], self.width, depth), dtype=kinds)
        for number, tile in enumerate(self.cols.tiles):
            strips[..., _slice(tile), :] += tiles[:, :, number, :, :, : tile.shape.keys]
        out = tiles.new_zeros((batch, self.height, self.width, heads, depth), dtype=kinds)
        by_head = out.permute(0, 3, 1, 2, 4)
        for number, tile in enumerate(self.rows.tiles):
            by_head[:, :, _slice(tile)] += strips[:, number, :, : tile.shape.keys]
        return out

    # ---- bias
    def additive(self, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """What is added to the logits (T or 1, N or 1, Q, K): the bias, and -inf for keys that are not seen."""
        if bias is None and self.all_visible:
            return None
        rows, cols = self.rows, self.cols
        visible = rows.visible[:, None, :, None, :, None] & cols.visible[None, :, None, :, None, :]
        if bias is None:
            values = torch.zeros((1, *visible.shape), dtype=dtype, device=visible.device)
        else:
            values = bias.to(dtype)[:, rows.index[:, None, :, None, :, None], cols.index[None, :, None, :, None, :]]
        values = values.masked_fill_(~visible, float("-inf")).flatten(5, 6).flatten(3, 4).flatten(1, 2).transpose(0, 1)
        return values.contiguous() if self.num_shapes == 1 else values.index_select(0, self.shape_of)

    def no_gradient(self, q: Tensor) -> Tensor:
        """Zeros (T, N, Q, K), in the type in which the gradient of ``additive`` is summed."""
        shape = (self.tiles, q.shape[3], self.queries, self.key.shape[1])
        return q.new_zeros(shape, dtype=stats_dtype(q.dtype))

    def fold(self, grad: Tensor) -> Tensor:
        """(T, N, Q, K), the gradient of ``additive`` -> gradient of the bias table (N, 2 * rows - 1, 2 * cols - 1)."""
        rows, cols = self.rows, self.cols
        shape = (rows.query.shape[1], cols.query.shape[1], rows.key.shape[1], cols.key.shape[1])
        to_rows = torch.nn.functional.one_hot(rows.index.flatten(1), 2 * rows.rule.size - 1).to(grad.dtype)
        to_cols = torch.nn.functional.one_hot(cols.index.flatten(1), 2 * cols.rule.size - 1).to(grad.dtype)
        table = grad.new_zeros((grad.shape[1], 2 * rows.rule.size - 1, 2 * cols.rule.size - 1))
        for number in range(self.num_shapes):
            members = grad[self.shape_of == number].sum(0).view(-1, *shape)
            pairs = members.permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)
            row, col = divmod(number, len(cols.visible))
            table += to_rows[row].mT @ pairs @ to_cols[col]
        return table


def plan_for(q: Tensor, geometry: Geometry) -> Plan:
    """The cached plan of q's map."""
    return _cached_plan(geometry, q.shape[1], q.shape[2], q.device)


@lru_cache(maxsize=64)
def _cached_plan(geometry: Geometry, height: int, width: int, device: torch.device) -> Plan:
    with torch.inference_mode(False):
        rows, cols = axis_plan(geometry.rows, height, device), axis_plan(geometry.cols, width, device)
        return Plan(rows, cols, height, width)


def _product(rows: Tensor, cols: Tensor) -> Tensor:
    """(t, m) and (u, n) -> (t * u, m * n), sums of all pairs."""
    return (rows[:, None, :, None] + cols[None, :, None, :]).flatten(2, 3).flatten(0, 1)


def _gather(x: Tensor, index: Tensor) -> Tensor:
    """Gather ``(b, H, W, N, D)`` at (T, L) flat positions ``-> (b, T, N, L, D)``."""
    batch, height, width, heads, depth = x.shape
    image = torch.arange(batch, device=x.device)[:, None, None, None] * (height * width)
    head = torch.arange(heads, device=x.device)[:, None]
    return embedding((image + index[:, None]) * heads + head, x.reshape(-1, depth))


def _slice(tile: Tile) -> slice:
    return slice(tile.key, tile.key + (tile.shape.keys - 1) * tile.step + 1, tile.step)

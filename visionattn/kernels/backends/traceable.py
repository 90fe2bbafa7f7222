"""Backend ``traceable``: tiles into one dense attention, in plain torch operators and nothing else.

It computes what ``tiled`` computes, and its graph can leave PyTorch: it has no registered op, no table made in Python
and no branch on a size. ONNX, torch.export and AOTInductor take it operator by operator, with symbols for batch, height
and width. It is differentiable as any torch code. ``tiled`` is faster where torch runs it.

Legend: B batch, H W map, N heads, D E head widths; on one axis L positions in T tiles of Q queries and K keys.

    q (B, H, W, N, D) -> (B, T, N, Q, D);  k -> (B, T, N, K, D);  logits (B, T, N, Q, K)
    out tiles -> out (B, H, W, N, E)

Work and memory are those of ``tiled``: a window's tile is the window, a neighborhood's 7 x 7 queries with the rectangle
of keys that any of them sees. The two windows that the border cuts where lines are shifted share a tile. Where windows
are known to tile the map, tokens are moved by one permutation; elsewhere they are gathered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from visionattn.kernels.decay import distances, split
from visionattn.kernels.dispatch import never
from visionattn.kernels.geometry import AxisRule, Geometry, certainly
from visionattn.kernels.op import Backend

_TILE = 7
Normalize = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class AxisTiles:
    """The tiles of one axis. Positions beyond the axis are replaced by some that the axis has.

    Attributes:
        query: positions of the queries, ``(T, Q)``.
        key: positions of the keys, ``(T, K)``.
        visible: whether a query sees a key, ``(T, Q, K)``.
        index: into the bias table, ``(T or 1, Q, K)``.
        tile: the tile whose query each position is, ``(L,)``.
        inside: which of its queries, ``(L,)``.
        tiled: count, size and dilation of windows that tile the axis in order, with every key visible; None: gather.
    """

    query: Tensor
    key: Tensor
    visible: Tensor
    index: Tensor
    tile: Tensor
    inside: Tensor
    tiled: tuple[int, int, int] | None = None


def axis_tiles(rule: AxisRule, length: int, device: torch.device) -> AxisTiles:
    """The tiles of an axis of ``length`` positions; see ``geometry.py`` for the rules."""
    return _windows(rule, length, device) if rule.is_window else _neighborhoods(rule, length, device)


def _windows(rule: AxisRule, length: int, device: torch.device) -> AxisTiles:
    """Windows of the axis rolled by ``-shift``, which the last one's two parts share without seeing each other."""
    size, dilation, shift = rule.size, rule.dilation, rule.shift
    members = (length + dilation - 1) // dilation
    unshifted = certainly(shift == 0)
    one = unshifted and certainly(size >= length)  # then neither size nor window need be known numbers
    count = 1 if one else (members + size - 1) // size
    total = count * size
    group, offset = torch.arange(dilation, device=device)[:, None, None], torch.arange(size, device=device)
    rolled = torch.arange(count, device=device)[:, None] * size + offset
    coordinate = rolled if unshifted else torch.where(rolled + shift < total, rolled + shift, rolled + shift - total)
    position = (coordinate * dilation + group).flatten(0, 1)
    visible = (position < length)[:, None, :].expand(-1, size, -1)
    if not unshifted:
        first = ((coordinate < shift) & (group >= 0)).flatten(0, 1)
        visible = visible & (first[:, None, :] == first[:, :, None])
    place = torch.arange(members, device=device)[:, None]
    place = place if unshifted else torch.where(place < shift, place - shift + total, place - shift)
    window, inside = (torch.zeros_like(place), place) if one else (place // size, place % size)
    tile, inside = _per_position(group[:, 0, 0], window, inside, count, length)
    position = position.clamp(max=length - 1)
    index = offset[None, :] - offset[:, None] + size - 1
    in_order = unshifted and certainly(total * dilation == length)
    tiled = (count, size, dilation) if in_order else None
    return AxisTiles(position, position, visible, index[None], tile, inside, tiled)


def _neighborhoods(rule: AxisRule, length: int, device: torch.device) -> AxisTiles:
    size, dilation, stride = rule.size, rule.dilation, rule.stride
    members = (length + dilation - 1) // dilation
    count = (members + _TILE - 1) // _TILE
    group = torch.arange(dilation, device=device)[:, None, None]
    coordinate = torch.arange(count, device=device)[:, None] * _TILE + torch.arange(_TILE, device=device)
    start, _ = rule.runs(coordinate, rule.group_length(length, group))
    key = start[..., :1] + torch.arange(_TILE + size + stride - 2, device=device)
    from_start = key[..., None, :] - start[..., None]
    place = torch.arange(members, device=device)[:, None]
    tile, inside = _per_position(group[:, 0, 0], place // _TILE, place % _TILE, count, length)
    return AxisTiles(
        query=(coordinate * dilation + group).clamp(0, length - 1).flatten(0, 1),
        key=(key * dilation + group).clamp(0, length - 1).flatten(0, 1),
        visible=((from_start >= 0) & (from_start < size)).flatten(0, 1),
        index=(key[..., None, :] - coordinate[..., None] + size - 1).clamp(0, 2 * size - 2).flatten(0, 1),
        tile=tile,
        inside=inside,
    )


def _per_position(group: Tensor, window: Tensor, inside: Tensor, count: int, length: int) -> tuple[Tensor, Tensor]:
    """Tile and place in it of every position, from those of the members (M, 1) of the groups (d,).

    Both are made by one broadcast sum, so that torch.export gives them one size; ``expand`` asks whether d is 1.
    """
    return (group * count + window).flatten()[:length], (group * 0 + inside).flatten()[:length]


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    scale: float,
    normalize: Normalize | None = None,
) -> Tensor:
    """Attention on a map; see ``op.py`` for the arguments.

    ``normalize`` takes the place of the softmax: it gets logits, hugely negative where a query does not see a key, and
    the number of keys that each query sees, which broadcasts with them.
    """
    rows = axis_tiles(geometry.rows, q.shape[1], q.device)
    cols = axis_tiles(geometry.cols, q.shape[2], q.device)
    query = _gather(q[:, :, :, None], rows.query, cols.query, rows, cols)[0]
    key, value = (_gather(x[:, :, :, None], rows.key, cols.key, rows, cols)[0] for x in (k, v))
    tiles = _attend(query, key, value, bias, rows, cols, scale, geometry.decay, normalize)
    return _scatter(tiles, rows, cols, q.shape[1:3])


def attend_packed(qkv: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """The same for q, k and v in one tensor (B, H, W, 3, N, D), moved together where their tiles agree."""
    rows = axis_tiles(geometry.rows, qkv.shape[1], qkv.device)
    cols = axis_tiles(geometry.cols, qkv.shape[2], qkv.device)
    if geometry.is_window:  # a tile's keys are its queries
        query, key, value = _gather(qkv, rows.query, cols.query, rows, cols)
    else:
        (query,) = _gather(qkv[:, :, :, :1], rows.query, cols.query, rows, cols)
        key, value = _gather(qkv[:, :, :, 1:], rows.key, cols.key, rows, cols)
    return _scatter(_attend(query, key, value, bias, rows, cols, scale), rows, cols, qkv.shape[1:3])


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None,
    rows: AxisTiles,
    cols: AxisTiles,
    scale: float,
    decay: int = 0,
    normalize: Normalize | None = None,
) -> Tensor:
    apart: Tensor | None = None
    if decay:
        (query, of_queries), (key, of_keys) = split(query, decay), split(key, decay)
        apart = distances(of_queries, of_keys)
    logits = (query * scale) @ key.mT
    if apart is not None:
        logits = logits - apart.to(logits.dtype)
    added = _added(bias, rows, cols, logits.dtype)
    logits = logits if added is None else logits + added
    return (logits.softmax(-1) if normalize is None else normalize(logits, _seen(rows, cols))) @ value


def _seen(rows: AxisTiles, cols: AxisTiles) -> Tensor:
    """How many keys a query sees, ``(T, 1, Q, 1)``; at least 1, which a query beside the map is given."""
    down, across = rows.visible.sum(-1), cols.visible.sum(-1)
    seen = down[:, None, :, None] * across[None, :, None, :]
    return seen.flatten(2).flatten(0, 1).clamp(min=1)[:, None, :, None]


def _added(bias: Tensor | None, rows: AxisTiles, cols: AxisTiles, dtype: torch.dtype) -> Tensor | None:
    """What is added to the logits, ``(T or 1, N or 1, Q, K)``: the bias, and a huge negative number for unseen keys.

    That number is finite: a tile beside the map has no visible key at all, and gets some result, which is not read.
    """
    table = None if bias is None else _bias(bias.to(dtype), rows.index, cols.index)
    if rows.tiled and cols.tiled:
        return table
    visible = rows.visible[:, None, :, None, :, None] & cols.visible[None, :, None, :, None, :]
    down, across, high, wide, keys_down, keys_across = visible.shape
    visible = visible.reshape(down * across, 1, high * wide, keys_down * keys_across)
    values = torch.zeros((), dtype=dtype, device=visible.device) if table is None else table
    return torch.where(visible, values, torch.finfo(dtype).min / 2)


def _gather(x: Tensor, at_rows: Tensor, at_cols: Tensor, rows: AxisTiles, cols: AxisTiles) -> tuple[Tensor, ...]:
    """Tiles of maps ``(B, H, W, M, N, D)`` at (R, r) rows and (S, s) columns: M times ``(B, R * S, N, r * s, D)``."""
    batch, _, width, maps, heads, depth = x.shape
    if rows.tiled and cols.tiled:
        (down, high, apart), (across, wide, beside) = rows.tiled, cols.tiled
        cells = x.reshape(batch, down, high, apart, across, wide, beside, maps, heads, depth)
        tiles = cells.permute(7, 0, 3, 1, 6, 4, 8, 2, 5, 9)
        return tiles.reshape(maps, batch, apart * down * beside * across, heads, high * wide, depth).unbind(0)
    (down, high), (across, wide) = at_rows.shape, at_cols.shape
    index = at_rows[:, None, :, None] * width + at_cols[None, :, None, :]
    tiles = x.flatten(1, 2).index_select(1, index.flatten())
    tiles = tiles.reshape(batch, down * across, high * wide, maps, heads, depth)
    return tiles.permute(3, 0, 1, 4, 2, 5).unbind(0)


def _scatter(tiles: Tensor, rows: AxisTiles, cols: AxisTiles, size: torch.Size) -> Tensor:
    """Scatter the tiles to the map: ``(B, T, N, Q, E) -> (B, H, W, N, E)``."""
    batch, _, heads, queries, depth = tiles.shape
    if rows.tiled and cols.tiled:
        (down, high, apart), (across, wide, beside) = rows.tiled, cols.tiled
        cells = tiles.reshape(batch, apart, down, beside, across, heads, high, wide, depth)
        return cells.permute(0, 2, 6, 1, 4, 7, 3, 5, 8).reshape(batch, *size, heads, depth)
    across, wide = cols.query.shape
    tile = rows.tile[:, None] * across + cols.tile[None]
    index = tile * queries + rows.inside[:, None] * wide + cols.inside[None]
    flat = tiles.transpose(2, 3).flatten(1, 2).index_select(1, index.flatten())
    return flat.reshape(batch, rows.tile.shape[0], cols.tile.shape[0], heads, depth)


def _bias(bias: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Gather the table ``(N, ., .)`` at (R, r, K) and (S, s, L) ``-> (R * S, N, r * s, K * L)``."""
    (down, high, keys_down), (across, wide, keys_across) = rows.shape, cols.shape
    heads = bias.shape[0]
    table = bias.index_select(1, rows.flatten()).index_select(2, cols.flatten())
    table = table.view(heads, down, high, keys_down, across, wide, keys_across).permute(1, 4, 0, 2, 5, 3, 6)
    return table.reshape(down * across, heads, high * wide, keys_down * keys_across)


WINDOW = Backend("traceable", attend, never, attend_packed, plain=True)
NEIGHBORHOOD = Backend("traceable", attend, never, attend_packed, plain=True)

"""Backend ``traceable``: tiles gathered into one dense attention, in plain torch operators and nothing else.

It computes what ``tiled`` computes, and its graph can leave PyTorch: it has no registered op, no table made in Python
and no branch on a size. ONNX, torch.export and AOTInductor take it operator by operator, with symbols for batch, height
and width. It is differentiable as any torch code. ``tiled`` is faster where torch runs it.

Legend: B batch, H W map, N heads, D E head widths; on one axis L positions in T tiles of Q queries and K keys.

    q (B, H, W, N, D) -> (B, T, N, Q, D);  k -> (B, T, N, K, D);  logits (B, T, N, Q, K)
    out tiles -> out (B, H, W, N, E)

Work and memory are those of ``tiled``: a window's tile is the window, a neighborhood's 7 x 7 queries with the rectangle
of keys that any of them sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from visionattn.kernels.geometry import AxisRule, Geometry, certainly
from visionattn.kernels.op import Backend

_TILE = 7


@dataclass(frozen=True)
class AxisTiles:
    """The tiles of one axis. Positions beyond the axis are replaced by some that the axis has.

    Attributes:
        query: positions of the queries, ``(T, Q)``.
        key: positions of the keys, ``(T, K)``.
        visible: whether a query sees a key, ``(T, Q or 1, K)``.
        index: into the bias table, ``(T or 1, Q, K)``.
        slot: of each position among the T * Q queries, ``(L,)``.
    """

    query: Tensor
    key: Tensor
    visible: Tensor
    index: Tensor
    slot: Tensor


def axis_tiles(rule: AxisRule, length: int, device: torch.device) -> AxisTiles:
    """The tiles of an axis of ``length`` positions; see ``geometry.py`` for the rules."""
    return _windows(rule, length, device) if rule.is_window else _neighborhoods(rule, length, device)


def _windows(rule: AxisRule, length: int, device: torch.device) -> AxisTiles:
    size, dilation = rule.size, rule.dilation
    lead = 0 if certainly(rule.shift == 0) else (size - rule.shift) % size
    members = (length + dilation - 1) // dilation
    one = certainly(size >= length) and certainly(lead == 0)  # then neither size nor window need be known numbers
    count = 1 if one else (members + lead + size - 1) // size
    offset, group = torch.arange(size, device=device), torch.arange(dilation, device=device)
    coordinate = torch.arange(count, device=device)[:, None] * size + offset - lead
    position = coordinate * dilation + group[:, None, None]
    real = ((coordinate >= 0) & (position < length)).flatten(0, 1)
    position = position.clamp(0, length - 1).flatten(0, 1)
    index = offset[None, :] - offset[:, None] + size - 1
    inside = torch.arange(members, device=device)[:, None] + lead
    window, offset_in_window = (0, inside) if one else (inside // size, inside % size)
    slot = ((group * count + window) * size + offset_in_window).flatten()[:length]
    return AxisTiles(position, position, real[:, None], index[None], slot)


def _neighborhoods(rule: AxisRule, length: int, device: torch.device) -> AxisTiles:
    size, dilation, stride = rule.size, rule.dilation, rule.stride
    members = (length + dilation - 1) // dilation
    count = (members + _TILE - 1) // _TILE
    group = torch.arange(dilation, device=device)[:, None, None]
    coordinate = torch.arange(count, device=device)[:, None] * _TILE + torch.arange(_TILE, device=device)
    start, _ = rule.runs(coordinate, rule.group_length(length, group))
    key = start[..., :1] + torch.arange(_TILE + size + stride - 2, device=device)
    from_start = key[..., None, :] - start[..., None]
    inside = torch.arange(members, device=device)[:, None]
    slot = (group[:, 0, 0] * count + inside // _TILE) * _TILE + inside % _TILE
    return AxisTiles(
        query=(coordinate * dilation + group).clamp(0, length - 1).flatten(0, 1),
        key=(key * dilation + group).clamp(0, length - 1).flatten(0, 1),
        visible=((from_start >= 0) & (from_start < size)).flatten(0, 1),
        index=(key[..., None, :] - coordinate[..., None] + size - 1).clamp(0, 2 * size - 2).flatten(0, 1),
        slot=slot.flatten()[:length],
    )


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """Attention on a map; see ``op.py`` for the arguments."""
    rows = axis_tiles(geometry.rows, q.shape[1], q.device)
    cols = axis_tiles(geometry.cols, q.shape[2], q.device)
    key, value = _gather(k, rows.key, cols.key), _gather(v, rows.key, cols.key)
    return _attend(_gather(q, rows.query, cols.query), key, value, bias, rows, cols, scale)


def attend_packed(qkv: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """The same for q, k and v in one tensor (B, H, W, 3, N, D), gathered together where their tiles agree."""
    heads = qkv.shape[4]
    rows = axis_tiles(geometry.rows, qkv.shape[1], qkv.device)
    cols = axis_tiles(geometry.cols, qkv.shape[2], qkv.device)
    if geometry.is_window:  # a tile's keys are its queries
        query, key, value = _gather(qkv.flatten(3, 4), rows.key, cols.key).split(heads, 2)
    else:
        query = _gather(qkv.select(3, 0), rows.query, cols.query)
        key, value = _gather(qkv[:, :, :, 1:].flatten(3, 4), rows.key, cols.key).split(heads, 2)
    return _attend(query, key, value, bias, rows, cols, scale)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, rows: AxisTiles, cols: AxisTiles, scale: float
) -> Tensor:
    logits = (query * scale) @ key.mT
    if bias is not None:
        logits = logits + _bias(bias.to(query.dtype), rows.index, cols.index)
    visible = rows.visible[:, None, :, None, :, None] & cols.visible[None, :, None, :, None, :]
    visible = _merged(visible)[:, None]
    # a tile beside the map has no visible key at all: it gets some finite result, which is not read
    weights = logits.masked_fill(~visible, torch.finfo(logits.dtype).min).softmax(-1)
    return _scatter(weights @ value, rows, cols)


def _merged(x: Tensor) -> Tensor:
    """Merge the axes of rows and columns: ``(R, S, r, s, K, L) -> (R * S, r * s, K * L)``."""
    down, across, high, wide, keys_down, keys_across = x.shape
    return x.reshape(down * across, high * wide, keys_down * keys_across)


def _gather(x: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Gather ``(B, H, W, N, D)`` at (R, r) rows and (S, s) columns ``-> (B, R * S, N, r * s, D)``."""
    (down, high), (across, wide) = rows.shape, cols.shape
    batch, _, _, heads, depth = x.shape
    x = x.index_select(1, rows.flatten()).index_select(2, cols.flatten())
    x = x.view(batch, down, high, across, wide, heads, depth).permute(0, 1, 3, 5, 2, 4, 6)
    return x.reshape(batch, down * across, heads, high * wide, depth)


def _scatter(tiles: Tensor, rows: AxisTiles, cols: AxisTiles) -> Tensor:
    """Scatter the tiles to the map: ``(B, T, N, Q, E) -> (B, H, W, N, E)``."""
    (down, high), (across, wide) = rows.query.shape, cols.query.shape
    batch, _, heads, _, depth = tiles.shape
    tiles = tiles.view(batch, down, across, heads, high, wide, depth).permute(0, 1, 4, 2, 5, 3, 6)
    tiles = tiles.reshape(batch, down * high, across * wide, heads, depth)
    return tiles.index_select(1, rows.slot).index_select(2, cols.slot)


def _bias(bias: Tensor, rows: Tensor, cols: Tensor) -> Tensor:
    """Gather the table ``(N, ., .)`` at (R, r, K) and (S, s, L) ``-> (R * S, N, r * s, K * L)``."""
    (down, high, keys_down), (across, wide, keys_across) = rows.shape, cols.shape
    heads = bias.shape[0]
    table = bias.index_select(1, rows.flatten()).index_select(2, cols.flatten())
    table = table.view(heads, down, high, keys_down, across, wide, keys_across).permute(1, 4, 0, 2, 5, 3, 6)
    return table.reshape(down * across, heads, high * wide, keys_down * keys_across)


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Never: returns ""."""
    return ""


WINDOW = Backend("traceable", attend, refuses, attend_packed)
NEIGHBORHOOD = Backend("traceable", attend, refuses, attend_packed)

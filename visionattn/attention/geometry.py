"""Padding and relative-position tables: the only such code of the mixers.

Who sees whom is decided by ``visionattn.kernels``; here are the two things that remain for a mixer to do, so that every
size of map works: enlarge a map, and cut or resize a position table.

Shapes: B batch, H W map, C channels, N heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def pair(value: int | tuple[int, int] | list[int]) -> tuple[int, int]:
    """``7`` -> ``(7, 7)``; a pair stays as it is."""
    if isinstance(value, int):
        return value, value
    height, width = value
    return int(height), int(width)


def pad_to(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Zeros at the bottom and the right of ``(B, H, W, C)`` until it has ``size``; a map that is large enough stays
    as it is.
    """
    pad_h, pad_w = max(size[0] - x.shape[1], 0), max(size[1] - x.shape[2], 0)
    return F.pad(x, (0, 0, 0, pad_w, 0, pad_h)) if pad_h or pad_w else x


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``size``."""
    return (size + multiple - 1) // multiple * multiple


def position_table(num_heads: int, window: tuple[int, int]) -> nn.Parameter:
    """A learned relative-position bias ``(N, 2*wh-1, 2*ww-1)``: entry ``[:, dy+wh-1, dx+ww-1]`` for key minus query
    = (dy, dx).
    """
    table = nn.Parameter(torch.zeros(num_heads, 2 * window[0] - 1, 2 * window[1] - 1))
    nn.init.trunc_normal_(table, std=0.02)
    return table


def crop_table(table: Tensor, window: tuple[int, int]) -> Tensor:
    """The middle of a table: the offsets that still occur when the window shrinks to a small map."""
    full_h, full_w = (table.shape[1] + 1) // 2, (table.shape[2] + 1) // 2
    if (full_h, full_w) == tuple(window):
        return table
    top, left = full_h - window[0], full_w - window[1]
    return table[:, top : top + 2 * window[0] - 1, left : left + 2 * window[1] - 1]


def dense_table(table: Tensor) -> Tensor:
    """A relative-position table ``(N, 2*wh-1, 2*ww-1)`` written out for each pair of tokens of a window:
    ``(N, wh*ww, wh*ww)``, queries first.
    """
    rows, columns = (
        side - 1 + torch.arange(side, device=table.device)[None] - torch.arange(side, device=table.device)[:, None]
        for side in ((table.shape[1] + 1) // 2, (table.shape[2] + 1) // 2)
    )
    pairs = table[:, rows[:, None, :, None], columns[None, :, None, :]]
    return pairs.flatten(3).flatten(1, 2)


def to_windows(x: Tensor, window: tuple[int, int]) -> Tensor:
    """``(B, H, W, C) -> (B, windows, wh * ww, C)``, both row by row; for tokens that are no longer on the map alone.

    H and W are multiples of the window. What stays on the map needs no such copy: see :mod:`visionattn.kernels`.
    """
    b, h, w, c = x.shape
    cells = x.view(b, h // window[0], window[0], w // window[1], window[1], c).transpose(2, 3)
    return cells.reshape(b, -1, window[0] * window[1], c)


def from_windows(windows: Tensor, window: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The inverse of :func:`to_windows` for a map of ``size``."""
    b, c = windows.shape[0], windows.shape[-1]
    cells = windows.reshape(b, size[0] // window[0], size[1] // window[1], *window, c).transpose(2, 3)
    return cells.reshape(b, *size, c)

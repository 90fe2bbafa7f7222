"""Padding and relative-position tables: the only such code of the mixers.

Who sees whom is decided by ``visionattn.kernels``; here is what remains for a mixer to do, so that every size of map
works, with sizes that are numbers as well as with the symbols that ``torch.compile`` and ``torch.export`` put in their
place: nothing here asks a symbol what it stands for, because the answer would bind the graph to the sizes it was
traced with.

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


def certainly(statement: bool | torch.SymBool) -> bool:
    """Whether a statement about sizes holds; False where that depends on what a symbol stands for."""
    if not torch.compiler.is_compiling() and isinstance(statement, bool):
        return statement
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # takes a second to import

    return statically_known_true(statement)


def fit(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Zeros at the bottom and the right of ``(B, H, W, C)`` until it has ``size``; what exceeds ``size`` is cut off."""
    pad_h, pad_w = size[0] - x.shape[1], size[1] - x.shape[2]
    if certainly(pad_h == 0) and certainly(pad_w == 0):
        return x
    return F.pad(x, (0, 0, 0, pad_w, 0, pad_h))


def pad_image(image: Tensor, multiple: int) -> Tensor:
    """Zeros at the bottom and the right of ``(B, C, H, W)`` until ``multiple`` divides H and W."""
    pad_h, pad_w = (round_up(side, multiple) - side for side in image.shape[2:])
    if certainly(pad_h == 0) and certainly(pad_w == 0):
        return image
    return F.pad(image, (0, pad_w, 0, pad_h))


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of ``multiple`` that is at least ``size``."""
    return (size + multiple - 1) // multiple * multiple


def at_least(size: int, least: int) -> int:
    """The larger of two sizes."""
    return torch.sym_max(size, least)  # type: ignore[return-value]


def exceeds(size: int, limit: int) -> int:
    """1 where ``size`` is larger than ``limit``, else 0, as a number to calculate with."""
    return torch.sym_min(torch.sym_max(size - limit, 0), 1)  # type: ignore[return-value]


def position_table(num_heads: int, window: tuple[int, int]) -> nn.Parameter:
    """A learned relative-position bias ``(N, 2*wh-1, 2*ww-1)``: entry ``[:, dy+wh-1, dx+ww-1]`` for key minus query
    = (dy, dx).
    """
    table = nn.Parameter(torch.zeros(num_heads, 2 * window[0] - 1, 2 * window[1] - 1))
    nn.init.trunc_normal_(table, std=0.02)
    return table


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
    """``(B, H, W, C) -> (B, rows, columns, wh * ww, C)``, for tokens that are no longer on the map alone.

    H and W are multiples of the window. What stays on the map needs no such copy: see :mod:`visionattn.kernels`.
    """
    b, h, w, c = x.shape
    cells = x.view(b, h // window[0], window[0], w // window[1], window[1], c)
    return cells.transpose(2, 3).flatten(3, 4)


def from_windows(windows: Tensor, window: tuple[int, int]) -> Tensor:
    """The inverse of :func:`to_windows`."""
    b, rows, columns, _, c = windows.shape
    cells = windows.unflatten(3, window).transpose(2, 3)
    copy = cells.clone(memory_format=torch.contiguous_format)  # nobody is asked whether it is contiguous
    return copy.view(b, rows * window[0], columns * window[1], c)

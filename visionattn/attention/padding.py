"""Padding and relative-position tables: the only such code of the mixers.

:mod:`visionattn.kernels` decides which keys a query sees. A mixer pads and crops the map, so that every size works.
Sizes may be numbers or the symbols of ``torch.compile`` and ``torch.export``. No function here branches on the value of
a symbol: that would bind the graph to the sizes it was traced with.

Shapes: B batch, H W map, C channels, N heads, R S rows and columns of a table, K tokens of a window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.kernels.geometry import certainly

if TYPE_CHECKING:
    from jaxtyping import Float


def fit(x: Float[Tensor, "B H W C"], size: tuple[int, int]) -> Float[Tensor, "B {size[0]} {size[1]} C"]:
    """Zeros at the bottom and the right of ``(B, H, W, C)`` until it has ``size``; what exceeds ``size`` is cut off."""
    pad_h, pad_w = size[0] - x.shape[1], size[1] - x.shape[2]
    if certainly(pad_h == 0) and certainly(pad_w == 0):
        return x
    # made contiguous first: a padded view has other strides in a traced graph than outside of it
    return F.pad(x.contiguous(), (0, 0, 0, pad_w, 0, pad_h))


def surround(x: Float[Tensor, "B H W *_"], front: tuple[int, int], back: tuple[int, int]) -> Float[Tensor, "B h w *_"]:
    """Zeros around a map: ``front`` rows and columns before it, ``back`` ones after it."""
    return F.pad(x.contiguous(), (*(0, 0) * (x.dim() - 3), front[1], back[1], front[0], back[0]))


def pad_image(image: Float[Tensor, "B C H W"], multiple: int) -> Float[Tensor, "B C _ _"]:
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
    if isinstance(size, int) and isinstance(least, int):
        return max(size, least)
    larger: int = max(size, least) if torch.jit.is_tracing() else torch.sym_max(size, least)
    return larger


def at_most(size: int, most: int) -> int:
    """The smaller of two sizes."""
    if isinstance(size, int) and isinstance(most, int):
        return min(size, most)
    smaller: int = min(size, most) if torch.jit.is_tracing() else torch.sym_min(size, most)
    return smaller


def exceeds(size: int, limit: int) -> int:
    """1 where ``size`` is larger than ``limit``, else 0, as a number to calculate with."""
    return at_most(at_least(size - limit, 0), 1)


def position_table(num_heads: int, window: tuple[int, int]) -> nn.Parameter:
    """A learned relative-position bias ``(N, 2*wh-1, 2*ww-1)``.

    Entry ``[:, dy+wh-1, dx+ww-1]`` belongs to key minus query = (dy, dx).
    """
    table = nn.Parameter(torch.zeros(num_heads, 2 * window[0] - 1, 2 * window[1] - 1))
    nn.init.trunc_normal_(table, std=0.02)
    return table


def dense_table(table: Float[Tensor, "N R S"]) -> Float[Tensor, "N K K"]:
    """A relative-position table written out for each pair of tokens of a window, queries first.

    Shape:
        ``(N, 2*wh-1, 2*ww-1) -> (N, wh*ww, wh*ww)``
    """
    rows, columns = (
        side - 1 + torch.arange(side, device=table.device)[None] - torch.arange(side, device=table.device)[:, None]
        for side in ((table.shape[1] + 1) // 2, (table.shape[2] + 1) // 2)
    )
    pairs = table[:, rows[:, None, :, None], columns[None, :, None, :]]
    return pairs.flatten(3).flatten(1, 2)


def to_windows(x: Float[Tensor, "B H W C"], window: tuple[int, int]) -> Float[Tensor, "B rows columns K C"]:
    """Copy the tokens of each window side by side, for attention to tokens that are not on the map.

    Attention on the map alone needs no such copy: see :mod:`visionattn.kernels`.

    Shape:
        ``(B, H, W, C) -> (B, rows, columns, wh * ww, C)``, H and W multiples of the window.
    """
    b, h, w, c = x.shape
    cells = x.view(b, h // window[0], window[0], w // window[1], window[1], c)
    return cells.transpose(2, 3).flatten(3, 4)


def from_windows(windows: Float[Tensor, "B rows columns K C"], window: tuple[int, int]) -> Float[Tensor, "B H W C"]:
    """The inverse of :func:`to_windows`."""
    b, rows, columns, _, c = windows.shape
    cells = windows.unflatten(3, window).transpose(2, 3)
    copy = cells.clone(memory_format=torch.contiguous_format)  # contiguity is not checked: its strides may be symbols
    return copy.view(b, rows * window[0], columns * window[1], c)

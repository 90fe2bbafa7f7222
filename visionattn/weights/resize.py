"""Relative-position tables for another window."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def resize_table(table: Tensor, sides: tuple[int, int]) -> Tensor:
    """A table ``(N, 2*wh-1, 2*ww-1)`` of N heads, stretched to other ``sides``; one that has them stays as it is.

    Bicubic interpolation without anti-aliasing, as the published Swin and DiNAT weights moved to larger windows.
    """
    if tuple(table.shape[-2:]) == tuple(sides):
        return table
    stretched = F.interpolate(table[None].float(), size=sides, mode="bicubic", align_corners=False)
    return stretched[0].to(table.dtype)

"""Random erasing (Zhong et al. 2017, arXiv 1708.04896) in two steps: drawn with the image, painted after normalization.

timm's :class:`RandomErasing` draws rectangles and noise. It writes into a stand-in that only records them, because the
image is still 8-bit then and the noise belongs to normalized pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from timm.data.random_erasing import RandomErasing
from torch import Tensor


class Erasure(NamedTuple):
    """One rectangle: rows top..bottom-1 and columns left..right-1 become ``pixels``, (C, h, w) or (C, 1, 1)."""

    top: int
    bottom: int
    left: int
    right: int
    pixels: Tensor


class Recorder:
    """A stand-in for one normalized image ``(C, H, W)`` that records what is written into it."""

    dtype = torch.float32

    def __init__(self, size: tuple[int, int], channels: int = 3) -> None:
        self._size = (channels, *size)
        self.erasures: list[Erasure] = []

    def size(self) -> tuple[int, int, int]:
        """Shape, as a tensor's."""
        return self._size

    def __setitem__(self, window: tuple[slice, slice, slice], pixels: Tensor) -> None:
        _, rows, columns = window
        self.erasures.append(Erasure(rows.start, rows.stop, columns.start, columns.stop, pixels))


def draw_erasures(erasing: RandomErasing | None, size: tuple[int, int], channels: int = 3) -> list[Erasure]:
    """What random erasing does to the next image of ``size`` (H, W); nothing without ``erasing``."""
    if erasing is None:
        return []
    recorder = Recorder(size, channels)
    erasing(recorder)
    return recorder.erasures

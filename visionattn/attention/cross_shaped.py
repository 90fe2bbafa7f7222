"""Cross-shaped strips, and the position encoding that goes with them: a small convolution of the values.

Shapes: B batch, H W map, C channels, N heads, D head width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from visionattn.attention.full import FullAttention
from visionattn.attention.local_encoding import LocalEncoding
from visionattn.attention.padding import round_up
from visionattn.attention.qkv import QKVAttention
from visionattn.kernels import window_attention
from visionattn.kernels.geometry import certainly

if TYPE_CHECKING:
    from jaxtyping import Float


class LocallyEnhancedAttention(FullAttention):
    """Full attention with locally-enhanced position encoding, as in the last stage of CSWin Transformer.

    Dong et al. 2021, arXiv 2107.00652.

    The position encoding is a depthwise 3x3 convolution of the values, added to what attention gives. Cost per query:
    ``2 * D * H * W`` multiply-adds and head, and 9 a channel for the convolution.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(self, dim: int, num_heads: int, index: int = 0, *, qkv_bias: bool = True, backend: str = "auto"):
        super().__init__(dim, num_heads, index, lepe=3, qkv_bias=qkv_bias, backend=backend)


class CrossShapedAttention(QKVAttention):
    """Attention in horizontal and vertical strips, each for half of the heads.

    Dong et al. 2021, *CSWin Transformer: A General Vision Transformer Backbone with Cross-Shaped Windows*, arXiv
    2107.00652.

    One half of the heads attends inside vertical strips (all rows, ``strip_size`` columns), the other half inside
    horizontal ones (``strip_size`` rows, all columns); one projection before and one after serve both. The position
    encoding is a depthwise 3x3 convolution of the values inside each strip: it sees zeros beyond the strip's border,
    even where the map goes on. Cost per query: ``2 * D * strip_size * H`` (or W) multiply-adds and head.

    Where the strips do not divide the map, queries, keys and values are enlarged with zeros along the strip's short
    side, one half of them (rounded down) before the map and the rest after it, and those zeros are attended to, as in
    the published detection and segmentation code. ``mask_padding=True`` puts the strips at the same positions, but cuts
    them at the border instead, so that no padding enters the result. On a map of exactly ``strip_size`` rows and
    columns every head attends to the whole map: this is the single branch that the published classification code has
    there.

    Args:
        dim: channels C.
        num_heads: heads N, an even number.
        index: ignored; all blocks are alike.
        strip_size: tokens along the short side of a strip.
        qkv_bias: bias in the q, k, v projection.
        mask_padding: never attend to padding.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``num_heads`` is odd, or ``strip_size`` is not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    padding_before = True

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        strip_size: int = 7,
        qkv_bias: bool = True,
        mask_padding: bool = False,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        if num_heads % 2:
            raise ValueError(f"half of the heads goes to each direction, so num_heads must be even, got {num_heads}")
        if strip_size < 1:
            raise ValueError(f"strip_size must be positive, got {strip_size}")
        self.strip_size = strip_size
        self.mask_padding = mask_padding
        self.backend = backend
        self.vertical, self.horizontal = LocalEncoding(dim // 2), LocalEncoding(dim // 2)

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        q, k, v = qkv.unbind(3)
        half = self.num_heads // 2
        down = self._branch(q[..., :half, :], k[..., :half, :], v[..., :half, :], self.vertical, 2)
        across = self._branch(q[..., half:, :], k[..., half:, :], v[..., half:, :], self.horizontal, 1)
        return torch.cat([down, across], dim=3)

    def _branch(self, q: Tensor, k: Tensor, v: Tensor, position: LocalEncoding, axis: int) -> Tensor:
        """Attention of some heads inside strips that lie side by side along ``axis`` (1: rows, 2: columns)."""
        size, strip = q.shape[axis], self.strip_size
        missing = round_up(size, strip) - size
        before, after = missing // 2, missing - missing // 2
        padded = _border(v, axis, before, after)
        encoded = position.inside_strips(padded, strip, axis)
        if self.mask_padding:
            attended = self._strips(q, k, v, axis, first=(strip - before) % strip)
            return attended + _border(encoded, axis, -before, -after)
        q, k = _border(q, axis, before, after), _border(k, axis, before, after)
        return _border(self._strips(q, k, padded, axis, first=0) + encoded, axis, -before, -after)

    def _strips(self, q: Tensor, k: Tensor, v: Tensor, axis: int, first: int) -> Tensor:
        """``first``: where the first line between two strips stands."""
        height, width = q.shape[1:3]
        window = (height, self.strip_size) if axis == 2 else (self.strip_size, width)
        shift = (0, first) if axis == 2 else (first, 0)
        return window_attention(q, k, v, window=window, shift=shift, backend=self.backend)

    def extra_repr(self) -> str:
        return f"strip_size={self.strip_size}, mask_padding={self.mask_padding}, num_heads={self.num_heads}"


def _border(x: Tensor, axis: int, before: int, after: int) -> Tensor:
    """Zeros before and after a map ``(B, H, W, N, D)`` along an axis; negative numbers cut off instead."""
    if certainly(before == 0) and certainly(after == 0):
        return x
    return F.pad(x, (0, 0, 0, 0, before, after) if axis == 2 else (0, 0, 0, 0, 0, 0, before, after))

"""Overlapping windows: queries of a window see keys beyond its borders.

Shapes: B batch, H W map, C channels, N heads, D head width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor
from torch.nn import functional as F

from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import fit, position_table, round_up, surround
from visionattn.attention.qkv import QKVAttention
from visionattn.kernels import neighborhood_attention

if TYPE_CHECKING:
    from jaxtyping import Float


class OverlappingWindowAttention(QKVAttention):
    """Attention of each window to itself and to a margin around it.

    Chen et al. 2022, *Activating More Pixels in Image Super-Resolution Transformer* (HAT), arXiv 2205.04437.

    Windows of M by M queries do not overlap; their keys do: a square of M + 2 * ``overlap`` tokens a side, zeros beyond
    the map, which take their share of the weights as published. So neighbors exchange tokens in every block and nothing
    is shifted. It is neighborhood attention whose neighborhoods are shared by runs of M queries. The bias per relative
    position covers all ``2 * (M + overlap) - 1`` offsets of an axis. Cost per query: ``2 * D * (M + 2 * overlap)**2``
    multiply-adds and head; the zeros before the map, one window, are computed and thrown away.

    A map that windows do not divide is enlarged with zeros at the bottom and the right, which are attended to; the
    published code mirrors such images. Its overlap is half a window, a quarter on each side.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        window_size: queries M along each side of a window.
        overlap: further keys on each side.
        bias: learn a relative-position bias.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``window_size`` is not positive, ``overlap`` is negative, or both give a single key.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    position_tables: ClassVar[tuple[str, ...]] = ("bias_table",)
    no_weight_decay_parameters: ClassVar[tuple[str, ...]] = position_tables

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        window_size: int = 8,
        overlap: int = 2,
        bias: bool = True,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        if window_size < 1 or overlap < 0 or window_size + 2 * overlap < 2:
            raise ValueError(
                f"window_size is positive, overlap is not negative and a window has two keys a side or more, "
                f"got window_size {window_size} and overlap {overlap}"
            )
        self.window_size, self.overlap, self.backend = window_size, overlap, backend
        self.padding_front = (round_up(overlap, window_size),) * 2
        side = window_size + overlap
        self.bias_table = position_table(num_heads, (side, side)) if bias else None

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        height, width = x.shape[1:3]
        x = fit(x, (round_up(height, self.window_size), round_up(width, self.window_size)))
        return fit(super().forward(x, context), (height, width))

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        (height, width), (top, left), margin = qkv.shape[1:3], self.padding_front, self.overlap
        attended = neighborhood_attention.packed(
            surround(qkv, self.padding_front, (margin, margin)),
            kernel_size=self.window_size + 2 * margin,
            stride=self.window_size,
            bias=None if self.bias_table is None else F.pad(self.bias_table, (margin,) * 4),
            backend=self.backend,
        )
        return attended[:, top : top + height, left : left + width]

    def extra_repr(self) -> str:
        return f"window_size={self.window_size}, overlap={self.overlap}, num_heads={self.num_heads}"

"""Window attention, every second block shifted."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import exceeds, fit, position_table, round_up
from visionattn.attention.qkv import QKVAttention
from visionattn.kernels import window_attention
from visionattn.kernels.geometry import as_pair

if TYPE_CHECKING:
    from jaxtyping import Float


class WindowAttention(QKVAttention):
    """Attention inside windows, every second block shifted.

    Liu et al. 2021, *Swin Transformer: Hierarchical Vision Transformer using Shifted Windows*, arXiv 2103.14030.

    The map is cut into windows of ``window_size`` tokens; a query attends to the keys of its own window, with a learned
    bias per relative position. Blocks with an odd ``index`` move the partition lines by half a window. Cost per query:
    ``2 * D * wh * ww`` multiply-adds and head.

    A map that is not larger than the window along an axis is one window there, without shift, as published. A map that
    windows do not divide is enlarged with zeros at the bottom and the right, and those tokens are attended to, as in
    the published detection and segmentation code (``mask_padding=True`` cuts the windows at the border instead, so that
    no padding enters the result).

    Differences from the published code: nothing is rolled, the shift moves the partition lines; tokens that the
    published code separates by adding -100 are never in one window here. timm 1.0.31 is the same function where windows
    divide the map, and in unshifted blocks everywhere. Elsewhere its shifted blocks roll the map before they enlarge
    it, so that its mask misses the seam: the first rows and columns attend to the last ones. Here the map is enlarged
    first, and opposite borders never meet. timm also keeps the window and the shift of the size a model was built for;
    here they follow the map.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: position of the block in its stage; odd blocks are shifted.
        window_size: tokens along each side of a window, one number or (height, width).
        shift: move the lines of odd blocks.
        bias: learn a relative-position bias (DaViT has none).
        shrink: a map smaller than the window is one smaller window; False: it is enlarged to a whole window, as DaViT
            and GC ViT do.
        qkv_bias: bias in the q, k, v projection.
        mask_padding: never attend to padding.
        backend: kernel backend by name, or "auto".

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
        window_size: int | tuple[int, int] = 7,
        shift: bool = True,
        bias: bool = True,
        shrink: bool = True,
        qkv_bias: bool = True,
        mask_padding: bool = False,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        self.window_size = as_pair("window_size", window_size)
        self.shifted = shift and index % 2 == 1
        self.shrink = shrink
        self.mask_padding = mask_padding
        self.backend = backend
        self.bias_table = position_table(num_heads, self.window_size) if bias else None

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        return fit(super().forward(self._enlarged(x), context), (x.shape[1], x.shape[2]))

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        return window_attention.packed(
            qkv,
            window=self.window_size,
            shift=self._shift(qkv.shape[1], qkv.shape[2]),
            bias=self.bias_table,
            backend=self.backend,
        )

    def _shift(self, height: int, width: int) -> tuple[int, int]:
        """Where the first line stands on each axis; an axis of one window is not shifted."""
        if not self.shifted:
            return 0, 0
        rows, columns = self.window_size
        return rows // 2 * exceeds(height, rows), columns // 2 * exceeds(width, columns)

    def _enlarged(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w C"]:
        """The map with the zeros that are attended to."""
        if self.mask_padding:
            return x
        return fit(x, (self._whole(x.shape[1], self.window_size[0]), self._whole(x.shape[2], self.window_size[1])))

    def _whole(self, size: int, window: int) -> int:
        """What a map is enlarged to along one axis. A window may exceed the map: the kernels cut it."""
        if not self.shrink:
            return round_up(size, window)
        return size + exceeds(size, window) * (-size % window)

    def extra_repr(self) -> str:
        return f"window_size={self.window_size}, shifted={self.shifted}, num_heads={self.num_heads}"

"""Neighborhood attention, dilated in some blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import at_least, fit, position_table, surround
from visionattn.attention.qkv import QKVAttention
from visionattn.kernels import neighborhood_attention
from visionattn.kernels.geometry import as_pair, certainly

if TYPE_CHECKING:
    from jaxtyping import Float


class NeighborhoodAttention(QKVAttention):
    """Attention of each token to its nearest neighbors, dilated and strided.

    Hassani et al. 2022, *Neighborhood Attention Transformer*, arXiv 2204.07143; dilation: Hassani and Shi 2022,
    *Dilated Neighborhood Attention Transformer*, arXiv 2209.15001; stride: Hassani et al. 2025, *Generalized
    Neighborhood Attention*, arXiv 2504.16922.

    Every query attends to exactly ``kernel_size`` squared keys: the square around it, moved inwards at the borders.
    With dilation d the map falls into d by d interleaved maps and each is treated so by itself. A learned bias per
    relative position, counted in steps of the dilation, is added. Cost per query: ``2 * D * kernel_size**2``
    multiply-adds and head.

    A map smaller than kernel size times dilation is enlarged with zeros at the bottom and the right, which are attended
    to: this is what the modules did that the published detection and segmentation figures come from.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: position of the block in its stage.
        kernel_size: keys along each side, one number or (height, width).
        dilation: one number for all blocks, or one per block, repeated over the stage: ``[1, 8]`` is 1, 8, 1, 8, ...
        stride: this many neighboring queries share one set of keys.
        bias: learn a relative-position bias.
        zero_padding: surround the map with zeros, instead of moving neighborhoods inwards.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``zero_padding`` with a stride: the zeros would move the runs of queries.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    no_weight_decay_parameters = position_tables = ("bias_table",)

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        kernel_size: int | tuple[int, int] = 7,
        dilation: int | Sequence[int] = 1,
        stride: int = 1,
        bias: bool = True,
        zero_padding: bool = False,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        self.kernel_size = as_pair("kernel_size", kernel_size)
        self.dilation = dilation if isinstance(dilation, int) else int(dilation[index % len(dilation)])
        self.stride = stride
        self.zero_padding, self.backend = zero_padding, backend
        if zero_padding and stride != 1:
            raise ValueError(f"zero_padding needs a stride of 1, got {stride}")
        rows, columns = (side // 2 * self.dilation for side in self.kernel_size)
        self.padding_front = (rows, columns) if zero_padding else (0, 0)
        self.bias_table = position_table(num_heads, self.kernel_size) if bias else None

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        if self.zero_padding:
            return super().forward(x, context)
        height, width = x.shape[1:3]
        reach = (self.kernel_size[0] * self.dilation, self.kernel_size[1] * self.dilation)
        x = fit(x, (at_least(height, reach[0]), at_least(width, reach[1])))
        return fit(super().forward(x, context), (height, width))

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        (height, width), (top, left) = qkv.shape[1:3], self.padding_front
        if self.zero_padding:
            qkv = surround(qkv, self.padding_front, (self._behind(0, height), self._behind(1, width)))
        attended = neighborhood_attention.packed(
            qkv,
            kernel_size=self.kernel_size,
            dilation=self.dilation,
            stride=self.stride,
            bias=self.bias_table,
            backend=self.backend,
        )
        return attended[:, top : top + height, left : left + width] if self.zero_padding else attended

    def _behind(self, axis: int, side: int) -> int:
        """Zeros after the map: for the keys of its last tokens, and for one token of each dilation group."""
        size = self.kernel_size[axis]
        return (size - 1 - size // 2) * self.dilation + at_least(self.dilation - side, 0)

    def extra_repr(self) -> str:
        geometry = f"kernel_size={self.kernel_size}, dilation={self.dilation}, stride={self.stride}"
        return f"{geometry}, num_heads={self.num_heads}"


def nearest(
    qkv: Float[Tensor, "B H W 3 N D"],
    kernel_size: tuple[int, int],
    bias: Float[Tensor, "N R S"] | None = None,
    backend: str = "auto",
) -> Float[Tensor, "B H W N D"]:
    """Attention of each token to its nearest neighbors, for mixers that go on with what comes out.

    A map smaller than the kernel is enlarged with keys and values of zeros at the bottom and the right, which are
    attended to; they are gone from the result.

    Args:
        qkv: queries, keys and values, already turned.
        kernel_size: keys along each side.
        bias: relative-position table ``(N, 2 * rows - 1, 2 * columns - 1)``.
        backend: kernel backend by name, or "auto".
    """
    height, width = qkv.shape[1:3]
    rows, columns = (at_least(kernel - side, 0) for kernel, side in zip(kernel_size, (height, width), strict=True))
    padded = not (certainly(rows == 0) and certainly(columns == 0))
    if padded:
        qkv = surround(qkv, (0, 0), (rows, columns))
    attended = neighborhood_attention.packed(qkv, kernel_size=kernel_size, bias=bias, backend=backend)
    return surround(attended, (0, 0), (-rows, -columns)) if padded else attended  # a copy: a view's strides are symbols

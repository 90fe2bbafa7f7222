"""Window attention without queries and keys: the controls that tell what content is worth.

Shapes: B batch, H W map, C channels, N heads, D head width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from visionattn.attention.gates import gated
from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import fit
from visionattn.attention.window import WindowAttention
from visionattn.kernels import window_attention
from visionattn.kernels.linear import Linear

if TYPE_CHECKING:
    from jaxtyping import Float


class ContentFreeAttention(WindowAttention):
    """Window attention whose weights do not depend on the image.

    With a bias they are the softmax of a learned number per head and relative position: position alone. Without one
    they are equal: each token gets the mean of its window. Windows, shifts and padding are those of
    :class:`WindowAttention` (Liu et al. 2021, arXiv 2103.14030), so that a comparison with it differs in queries and
    keys and in nothing else. Cost per query: ``D * wh * ww`` multiply-adds and head.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: position of the block in its stage; odd blocks are shifted.
        window_size: tokens along each side of a window, one number or (height, width).
        shift: move the lines of odd blocks.
        bias: weigh by position; False: equal weights.
        value_bias: bias in the projection of values.
        mask_padding: never attend to padding.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        window_size: int | tuple[int, int] = 7,
        shift: bool = True,
        bias: bool = True,
        value_bias: bool = True,
        mask_padding: bool = False,
        backend: str = "auto",
    ):
        super().__init__(
            dim,
            num_heads,
            index,
            window_size=window_size,
            shift=shift,
            bias=bias,
            mask_padding=mask_padding,
            backend=backend,
        )
        del self.qkv
        self.v = Linear(dim, dim, bias=value_bias)

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        enlarged = self._enlarged(x)
        b, h, w, c = enlarged.shape
        v = self.v(enlarged).view(b, h, w, self.num_heads, c // self.num_heads)
        nothing = v.new_zeros(b, h, w, self.num_heads, 1)
        heads = window_attention(
            nothing,
            nothing,
            v,
            window=self.window_size,
            shift=self._shift(h, w),
            bias=self.bias_table,
            backend=self.backend,
        )
        return fit(self.proj(gated(heads, context).reshape(b, h, w, c)), (x.shape[1], x.shape[2]))

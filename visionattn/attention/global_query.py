"""Window attention whose queries come from the whole image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.gates import gated
from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import fit, position_table, round_up
from visionattn.attention.qkv import head_width
from visionattn.attention.resizing import mean_cells
from visionattn.kernels import window_attention
from visionattn.kernels.geometry import as_pair, certainly
from visionattn.kernels.linear import Linear

if TYPE_CHECKING:
    from jaxtyping import Float


class GlobalQueryAttention(nn.Module):
    """Window attention whose queries are one small map of the whole image.

    Hatamizadeh et al. 2022, *Global Context Vision Transformers*, arXiv 2206.09959.

    The map is cut into windows; keys and values are those of the window, but the queries are one small map of the whole
    image, as large as a window, that the stage computes once (``StageContext.tokens``) and every window uses: token
    (y, x) of a window asks with token (y, x) of that map. A learned bias per relative position is added. Cost per
    query: ``2 * D * wh * ww`` multiply-adds and head, and no projection for the queries.

    A query map of another size than the window is resized by bicubic interpolation, and a map that windows do not
    divide is enlarged with zeros at the bottom and the right, which are attended to: both as in the published detection
    code (the classification code takes one size). Difference from the first published release, which mixed the images
    of a batch: every window asks with the query of its own image.

    In a stage that computes no global query the mean of the map over a window-sized grid takes its place, so that this
    mixer can stand anywhere.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        window_size: tokens along each side of a window, one number or (height, width).
        halvings: how often the stage halves its map on the way to the query map: 3 from 56 to 7. Declaring it makes a
            :class:`visionattn.backbones.GCViTStage` compute the query map.
        qkv_bias: bias in the k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W; ``context.tokens`` is ``(B, h, w, C)``, any h and w.
    """

    gates_heads = True
    no_weight_decay_parameters = position_tables = ("bias_table",)

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        window_size: int | tuple[int, int] = 7,
        halvings: int = 0,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__()
        head_width(dim, num_heads)
        self.num_heads = num_heads
        self.window_size = as_pair("window_size", window_size)
        self.halvings = halvings
        self.backend = backend
        self.kv = Linear(dim, 2 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)
        self.bias_table = position_table(num_heads, self.window_size)

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        height, width = x.shape[1:3]
        query = self.query(x, context)
        x = fit(x, (round_up(height, self.window_size[0]), round_up(width, self.window_size[1])))
        b, h, w, c = x.shape
        k, v = self.kv(x).view(b, h, w, 2, self.num_heads, c // self.num_heads).unbind(3)
        rows, columns = h // self.window_size[0], w // self.window_size[1]
        if not (certainly(rows == 1) and certainly(columns == 1)):
            query = query.repeat(1, rows, columns, 1)
        q = query.reshape(k.shape)
        y = window_attention(q, k, v, window=self.window_size, bias=self.bias_table, backend=self.backend)
        return self.proj(fit(gated(y, context).reshape(b, h, w, c), (height, width)))

    def query(self, x: Float[Tensor, "B H W C"], context: StageContext | None) -> Float[Tensor, "B h w C"]:
        """The query map ``(B, wh, ww, C)``."""
        if context is None or context.tokens is None:
            return mean_cells(x, self.window_size)
        height, width = context.tokens.shape[1:3]
        if certainly(height == self.window_size[0]) and certainly(width == self.window_size[1]):
            return context.tokens
        tokens = context.tokens.permute(0, 3, 1, 2)
        return F.interpolate(tokens, self.window_size, mode="bicubic").permute(0, 2, 3, 1)

    def extra_repr(self) -> str:
        return f"window_size={self.window_size}, num_heads={self.num_heads}"

"""Grid attention: every query sees a regular grid that is spread over the whole map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from visionattn.attention.padding import position_table
from visionattn.attention.qkv import QKVAttention
from visionattn.kernels import window_attention
from visionattn.kernels.geometry import as_pair

if TYPE_CHECKING:
    from jaxtyping import Float


class GridAttention(QKVAttention):
    """Tu et al. 2022, *MaxViT: Multi-Axis Vision Transformer*, arXiv 2204.01697.

    The tokens that lie H/G rows and W/G columns apart form one sequence of G by G tokens and attend to each other, with
    a learned bias per relative position on that grid: attention in one window that is dilated over the whole map. Cost
    per query: ``2 * D * G**2`` multiply-adds and head, whatever the size of the map.

    The published code needs H and W to be multiples of G. Here the distance is rounded up, to ceil(H/G) and ceil(W/G);
    a sequence then has the tokens that the map has at these distances, at most G by G, and nothing is padded. Where G
    divides the map this is the published attention.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        grid_size: rows and columns G of the grid, one number or (height, width).
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

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
        grid_size: int | tuple[int, int] = 7,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        self.grid_size = as_pair("grid_size", grid_size)
        self.backend = backend
        self.bias_table = position_table(num_heads, self.grid_size)

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        (height, width), (rows, columns) = qkv.shape[1:3], self.grid_size
        dilation = ((height + rows - 1) // rows, (width + columns - 1) // columns)
        return window_attention.packed(
            qkv, window=self.grid_size, dilation=dilation, bias=self.bias_table, backend=self.backend
        )

    def extra_repr(self) -> str:
        return f"grid_size={self.grid_size}, num_heads={self.num_heads}"

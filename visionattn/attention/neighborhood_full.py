"""Full attention whose values are what neighborhood attention gave.

Shapes: B batch, H W map, T tokens of the map, M tokens of the map in training, N heads, D head width, R S sides of a
table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visionattn.attention.neighborhood import nearest
from visionattn.attention.padding import position_table
from visionattn.attention.qkv import QKVAttention, head_width
from visionattn.attention.resizing import cubic_resizing
from visionattn.attention.rotary import Rotary
from visionattn.kernels.geometry import as_pair, certainly
from visionattn.kernels.tokens import Places, for_tokens, token_attention

if TYPE_CHECKING:
    from jaxtyping import Float


class NeighborhoodFull(QKVAttention):
    """Neighborhood attention, and then attention of the whole map to what it gave, with the same queries and keys.

    Fu et al. 2024, *SegMAN: Omni-scale Context Modeling with State Space Models and Local Attention for Semantic
    Segmentation*, arXiv 2412.11890: its last stage.

    Queries and keys are turned by the row and the column of their token. The first attention has a learned bias for
    each relative position, the second one for each pair of tokens. A depthwise convolution of the values is added. Cost
    per query: ``2 * D * (kernel_size**2 + H * W)`` multiply-adds and head.

    Weight decay leaves the biases alone; the published code decays them.

    The pairs are those of the map in training, 7 by 7. On other maps their square matrix is resized by bicubic
    interpolation as if it were an image, which is what the published segmentation code does; the published
    classification code takes one size alone. A map smaller than the kernel is enlarged with zeros for the first
    attention; the published code refuses it. :mod:`visionattn.analysis` shows both attentions, as twice the heads.

    Args:
        dim: channels C.
        num_heads: heads N, of a width that 4 divides.
        index: ignored; all blocks are alike.
        kernel_size: keys of the first attention along each side, one number or (height, width).
        map_size: rows and columns of the map in training, one number or (height, width), for which the biases of pairs
            are stored; None: no such biases.
        bias: learn the biases of relative positions.
        lepe: side of the kernel of the convolution of the values; None: no convolution.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto"; the second attention takes it where ``token_attention`` has it.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, the heads' width none of 4, or a side of ``map_size``
            not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    no_weight_decay_parameters = position_tables = ("bias_table", "pair_bias")

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        kernel_size: int | tuple[int, int] = 7,
        map_size: int | tuple[int, int] | None = 7,
        bias: bool = True,
        lepe: int | None = 5,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        rotary = Rotary(head_width(dim, num_heads), axial=True)
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, lepe=lepe, rotary=rotary)
        self.kernel_size, self.backend = as_pair("kernel_size", kernel_size), backend
        self.bias_table = position_table(num_heads, self.kernel_size) if bias else None
        self.map_size = None if map_size is None else as_pair("map_size", map_size)
        self.pair_bias: nn.Parameter | None = None
        if self.map_size is not None:
            if min(self.map_size) < 1:
                raise ValueError(f"the sides of map_size must be positive, got {self.map_size}")
            tokens = self.map_size[0] * self.map_size[1]
            self.pair_bias = nn.Parameter(torch.zeros(num_heads, tokens, tokens))

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        height, width = grid = qkv.shape[1], qkv.shape[2]
        values = nearest(qkv, self.kernel_size, self.bias_table, self.backend)
        q, k = qkv[:, :, :, :2].flatten(1, 2).unbind(2)
        bias = None if self.pair_bias is None else self._for_pairs(self.pair_bias, height * width)
        own, places = for_tokens(self.backend), Places(grid, grid)
        out = token_attention(q, k, values.flatten(1, 2), bias=bias, backend=own, places=places)
        return out.unflatten(1, grid)

    @staticmethod
    def _for_pairs(bias: Float[Tensor, "N M M"], tokens: int) -> Float[Tensor, "N {tokens} {tokens}"]:
        stored = bias.shape[1]
        if certainly(tokens == stored):
            return bias
        resizing = cubic_resizing(tokens, stored, bias)
        return resizing @ bias @ resizing.T

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, map_size={self.map_size}, num_heads={self.num_heads}"

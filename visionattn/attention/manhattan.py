"""Attention that decays with the Manhattan distance, whole or row by row and then column by column.

Shapes: B batch, H W map, C channels, N heads, D head width, R S rows and columns of a table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from visionattn.attention.qkv import QKVAttention, head_width
from visionattn.attention.rotary import Rotary
from visionattn.kernels import window_attention

if TYPE_CHECKING:
    from jaxtyping import Float


class ManhattanAttention(QKVAttention):
    """Manhattan self-attention: full attention whose logits fall with rows plus columns between query and key.

    Fan et al. 2023, *RMT: Retentive Networks Meet Vision Transformers*, arXiv 2309.11523.

    Head n of N has the fixed decay ``log(1 - 2**-(first_decay + decay_range * n / N))``, which is multiplied with the
    distance and added to the logits. Queries and keys are turned by their position on the flattened map (rotary
    position), and a depthwise convolution of the values is added. Cost per query: ``2 * D * H * W`` multiply-adds and
    head.

    ``decomposed``: the values first pass through attention along rows, and the result through attention along columns,
    both with the same queries and keys: ``2 * D * (H + W)``. The decays of the two multiply, so a key at (dy, dx) is
    still weakened by the Manhattan distance.

    The published code has one linear layer each for queries, keys and values, and scales the keys; the function is the
    same. The paper multiplies the weights after the softmax by the decay; the code adds its logarithm before.

    Args:
        dim: channels C.
        num_heads: heads N, of an even width.
        index: ignored; all blocks are alike.
        decomposed: along rows, then along columns.
        first_decay: of the first head, as above.
        decay_range: by how much the exponent grows over the heads.
        lepe: side of the kernel of the convolution of the values; None: no convolution.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, the heads' width is odd, or ``first_decay`` is not
            positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        decomposed: bool = False,
        first_decay: float = 2.0,
        decay_range: float = 6.0,
        lepe: int | None = 5,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        rotary = Rotary(head_width(dim, num_heads))
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, lepe=lepe, rotary=rotary)
        if min(first_decay, first_decay + decay_range) <= 0:
            raise ValueError(
                "decays need positive exponents for all heads, "
                f"got first_decay {first_decay} and decay_range {decay_range}"
            )
        self.decomposed, self.first_decay, self.decay_range = decomposed, first_decay, decay_range
        self.backend = backend

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        height, width = qkv.shape[1:3]
        if not self.decomposed:
            bias = self.bias((height, width), qkv.device)
            return window_attention.packed(qkv, window=(height, width), bias=bias, backend=self.backend)
        q, k, v = qkv.unbind(3)
        for window in ((1, width), (height, 1)):
            v = window_attention(q, k, v, window=window, bias=self.bias(window, qkv.device), backend=self.backend)
        return v

    def bias(self, window: tuple[int, int], device: torch.device) -> Float[Tensor, "N R S"]:
        """The decays of a window as a table by key minus query, in float32."""
        heads = torch.arange(self.num_heads, dtype=torch.float32, device=device)
        decay = torch.log(1 - 2 ** (-self.first_decay - self.decay_range * heads / self.num_heads))
        down, across = ((torch.arange(2 * side - 1, device=device) - (side - 1)).abs() for side in window)
        return decay[:, None, None] * (down[:, None] + across[None, :])

    def extra_repr(self) -> str:
        return (
            f"decomposed={self.decomposed}, first_decay={self.first_decay}, decay_range={self.decay_range}, "
            f"num_heads={self.num_heads}"
        )

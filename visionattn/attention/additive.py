"""Additive mixing: queries and keys are gated and added, never multiplied with each other.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from visionattn.attention.mixer import StageContext
from visionattn.kernels.linear import Linear

if TYPE_CHECKING:
    from jaxtyping import Float


class _Gates(nn.Module):
    """A gate of one channel for each place, then a gate of one place for each channel: ``(B, C, H, W)`` to the same."""

    def __init__(self, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm, self.act = nn.BatchNorm2d(dim), nn.ReLU()
        self.place = nn.Conv2d(dim, 1, 1, bias=False)
        self.channel = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        x = x * self.place(self.act(self.norm(self.conv(x)))).sigmoid()
        return x * self.channel(x.mean((2, 3), keepdim=True)).sigmoid()


class AdditiveMixing(nn.Module):
    """Convolutional additive token mixing: the sum of gated queries and gated keys weighs the values.

    Zhang et al. 2024, *CAS-ViT: Convolutional Additive Self-attention Vision Transformers for Efficient Mobile
    Applications*, arXiv 2408.03703.

    Queries and keys each get a gate per place (from a depthwise convolution) and then a gate per channel (from the mean
    of the map); a depthwise convolution of their sum is multiplied with the values, and another one mixes the result.
    There is no softmax, no matrix and no head: what a token learns of the whole map, it learns by the means. Nothing
    normalizes the product. Cost per token: ``3 * C**2`` multiply-adds and those of four depthwise 3x3 convolutions.

    Args:
        dim: channels C.
        num_heads: ignored; there are none.
        index: ignored; all blocks are alike.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(self, dim: int, num_heads: int = 1, index: int = 0):
        super().__init__()
        self.qkv = Linear(dim, 3 * dim, bias=False)
        self.query_gates, self.key_gates = _Gates(dim), _Gates(dim)
        self.conv, self.proj = (nn.Conv2d(dim, dim, 3, padding=1, groups=dim) for _ in range(2))

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        q, k, v = self.qkv(x).permute(0, 3, 1, 2).chunk(3, dim=1)
        mixed = self.conv(self.query_gates(q) + self.key_gates(k)) * v
        return self.proj(mixed).permute(0, 2, 3, 1)

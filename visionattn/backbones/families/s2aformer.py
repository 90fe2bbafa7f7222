"""The stem and the block of S2AFormer.

Xu et al. 2025, *S2AFormer: Strip Self-Attention for Efficient Vision Transformer*, arXiv 2505.22195. No code was
published. Where the paper's text leaves a choice open, the docstring says "our choice".

Shapes: B batch, H W map or image, C channels.
"""

from __future__ import annotations

from typing import Any

from timm.layers import DropPath
from torch import Tensor, nn

from visionattn.backbones.block import Block
from visionattn.backbones.families.davit import ConvPosition
from visionattn.kernels.linear import Linear
from visionattn.kernels.norm import LayerNorm


class ThreeConvStem(nn.Module):
    """Three 3x3 convolutions, the first of stride 2, and the patch embedding of the first stage: one more of stride 2.

    Our choice: batch norm and GELU after each of the three, C / 2 channels, a layer norm after the embedding.

    Args:
        in_chans: channels of the image.
        dim: channels C of the map.

    Shape:
        ``(B, in_chans, H, W) -> (B, ceil(H / 4), ceil(W / 4), C)``
    """

    stride = 4

    def __init__(self, in_chans: int, dim: int):
        super().__init__()
        half = dim // 2
        self.conv1, self.norm1 = nn.Conv2d(in_chans, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.norm2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.norm3 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.act = nn.GELU()
        self.embedding, self.norm = nn.Conv2d(half, dim, 3, stride=2, padding=1), LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        x = self.act(self.norm1(self.conv1(image)))
        x = self.act(self.norm2(self.conv2(x)))
        x = self.act(self.norm3(self.conv3(x)))
        return self.norm(self.embedding(x).permute(0, 2, 3, 1))


class LocalInteraction(nn.Module):
    """``x + drop(conv(norm(x)))``: restores local detail after attention.

    Our choice of layers, all of C channels: a pointwise convolution, a depthwise 3x3 convolution, GELU, a pointwise
    convolution.

    Args:
        dim: channels C.
        drop_path: probability of leaving the branch out for a sample.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def __init__(self, dim: int, *, drop_path: float = 0.0):
        super().__init__()
        self.norm = LayerNorm(dim)
        self.mix, self.conv = Linear(dim, dim), nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.act, self.proj = nn.GELU(), Linear(dim, dim)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        local = self.conv(self.mix(self.norm(x)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return x + self.drop_path(self.proj(self.act(local)))


class HybridPerceptionBlock(Block):
    """Four residual branches: a depthwise convolution, the mixer, local interaction, the feed-forward network.

    These are the paper's equations. Drop path leaves out the last three.

    Args:
        dim: channels C.
        mixer: token mixer, already built.
        **kwargs: the other arguments of :class:`visionattn.backbones.Block`, but ``branches`` and ``position``.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def __init__(self, dim: int, mixer: nn.Module, **kwargs: Any):
        branches = {"position1": ConvPosition, "mixer": None, "position2": LocalInteraction, "ffn": None}
        super().__init__(dim, mixer, branches=branches, **kwargs)

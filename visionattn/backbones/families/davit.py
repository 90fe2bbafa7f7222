"""DaViT's downsampling and position encoding.

The downsampling is a norm before a strided convolution; the encoding is a residual depthwise convolution. The stem is
``OverlapStem``.

Ding et al. 2022, *DaViT: Dual Attention Vision Transformers*, arXiv 2204.03645.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from visionattn.attention.padding import fit, round_up
from visionattn.backbones.block import NormFactory
from visionattn.kernels.convolution import convolve
from visionattn.kernels.depthwise import on_map
from visionattn.kernels.norm import LayerNorm


class NormConvDownsample(nn.Module):
    """A norm, then a 2x2 convolution of stride 2 with bias. Odd maps get a row or column of zeros after the norm.

    Args:
        dim_in: channels that come in.
        dim: channels that go out.
        norm: norm factory, called with ``dim_in``.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / 2), ceil(W / 2), dim)``
    """

    stride = 2

    def __init__(self, dim_in: int, dim: int, *, norm: NormFactory = LayerNorm):
        super().__init__()
        self.norm = norm(dim_in)
        self.conv = nn.Conv2d(dim_in, dim, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        x = fit(self.norm(x), (round_up(x.shape[1], 2), round_up(x.shape[2], 2)))
        return convolve(self.conv, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ConvPosition(nn.Module):
    """``x + depthwise convolution(x)``; zeros at the border tell tokens where they are: Chu et al. 2021, 2102.10882.

    Args:
        dim: channels C.
        kernel_size: odd side of the kernel.
        drop_path: ignored; a position is never left out.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def __init__(self, dim: int, *, kernel_size: int = 3, drop_path: float = 0.0):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        return on_map(self.conv, x, add=True)

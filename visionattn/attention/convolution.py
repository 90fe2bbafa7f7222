"""Mixers without attention, as controls: what does the attention buy?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.mixer import StageContext

if TYPE_CHECKING:
    from jaxtyping import Float


class DepthwiseConvolution(nn.Module):
    """One depthwise convolution with zeros at the border.

    Trockman and Kolter 2022, *Patches Are All You Need?*, arXiv 2201.09792; Liu et al. 2022, *A ConvNet for the
    2020s*, arXiv 2201.03545. Cost per token: ``C * kernel_size**2`` multiply-adds.

    Args:
        dim: channels C.
        num_heads: ignored; a convolution has none.
        index: ignored; all blocks are alike.
        kernel_size: odd side of the kernel.

    Raises:
        ValueError: ``kernel_size`` is even.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(self, dim: int, num_heads: int = 1, index: int = 0, *, kernel_size: int = 7):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd to keep the size of the map, got {kernel_size}")
        self.conv = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        return self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Pooling(nn.Module):
    """The mean of the neighbors minus the token itself; it has no parameters.

    Yu et al. 2021, *MetaFormer Is Actually What You Need for Vision*, arXiv 2111.11418. Tokens outside the map are not
    counted.

    Args:
        dim: ignored.
        num_heads: ignored.
        index: ignored.
        pool_size: odd side of the square that is averaged.

    Raises:
        ValueError: ``pool_size`` is even.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(self, dim: int = 0, num_heads: int = 1, index: int = 0, *, pool_size: int = 3):
        super().__init__()
        if pool_size % 2 == 0:
            raise ValueError(f"pool_size must be odd to keep the size of the map, got {pool_size}")
        self.pool_size = pool_size

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        pooled = F.avg_pool2d(
            x.permute(0, 3, 1, 2), self.pool_size, stride=1, padding=self.pool_size // 2, count_include_pad=False
        )
        return pooled.permute(0, 2, 3, 1) - x


class ConvolutionPair(nn.Module):
    """Two full 3x3 convolutions, each followed by a batch norm, with a GELU between.

    The convolutional block of *FasterViT*, Hatamizadeh et al. 2023, arXiv 2306.06189. Cost per token: ``18 * C**2``
    multiply-adds. It declares ``own_norms``: a :class:`visionattn.backbones.CarrierStage` adds a residual around it and
    nothing else.

    Args:
        dim: channels C.
        num_heads: ignored; a convolution has none.
        index: ignored; all blocks are alike.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    own_norms = True

    def __init__(self, dim: int, num_heads: int = 1, index: int = 0):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(dim, dim, 3, padding=1), nn.BatchNorm2d(dim)
        self.act = nn.GELU()
        self.conv2, self.norm2 = nn.Conv2d(dim, dim, 3, padding=1), nn.BatchNorm2d(dim)

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        x = self.act(self.norm1(self.conv1(x.permute(0, 3, 1, 2))))
        return self.norm2(self.conv2(x)).permute(0, 2, 3, 1)

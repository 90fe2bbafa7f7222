"""Layers of backbones with batch norms, and an overlapping downsampling that norms first: FasterViT.

Hatamizadeh et al. 2023, *FasterViT: Fast Vision Transformers with Hierarchical Attention*, arXiv 2306.06189.

Shapes: B batch, H W map or image, C channels.
"""

from __future__ import annotations

from torch import Tensor, nn


class BatchNormStem(nn.Module):
    """Two 3x3 convolutions of stride 2 without bias, each followed by a batch norm and a ReLU.

    Args:
        in_chans: channels of the image.
        dim: channels C of the map.
        hidden_dim: channels between the convolutions.
    Shape:
        ``(B, in_chans, H, W) -> (B, ceil(H / 4), ceil(W / 4), C)``
    """

    stride = 4

    def __init__(self, in_chans: int, dim: int, *, hidden_dim: int = 64):
        super().__init__()
        self.conv1 = nn.Conv2d(in_chans, hidden_dim, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden_dim, eps=1e-4)
        self.conv2 = nn.Conv2d(hidden_dim, dim, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(dim, eps=1e-4)
        self.act = nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        x = self.act(self.norm1(self.conv1(image)))
        return self.act(self.norm2(self.conv2(x))).permute(0, 2, 3, 1)


class ConvBatchNormDownsample(nn.Module):
    """A 3x3 convolution of stride 2 without bias, a batch norm and a ReLU: the stem's step once more, as residual
    networks between their stages (He et al. 2015, arXiv 1512.03385). No published backbone of this package has it; small
    ones that are trained from nothing learn shapes faster with it.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / 2), ceil(W / 2), dim)``
    """

    stride = 2

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(dim)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x.permute(0, 3, 1, 2)))).permute(0, 2, 3, 1)


class NormOverlapDownsample(nn.Module):
    """A layer norm, then a 3x3 convolution of stride 2 without bias.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / 2), ceil(W / 2), dim)``
    """

    stride = 2

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(dim_in, eps=1e-6)
        self.conv = nn.Conv2d(dim_in, dim, 3, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class MapBatchNorm(nn.BatchNorm2d):
    """Batch norm of channels-last maps.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

"""SHViT's block parts and downsampling: everything but the attention is convolutions with batch norms.

Yun and Ro 2024, *SHViT: Single-Head Vision Transformer with Memory Efficient Macro Design*, arXiv 2401.16456.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from timm.layers import SqueezeExcite
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.conv_norm import ConvBatchNorm


class NormalizedConvPosition(nn.Module):
    """``x`` plus a depthwise 3x3 convolution with batch norm, which starts as nothing.

    Args:
        dim: channels C.
        drop_path: ignored; a position is never left out.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def __init__(self, dim: int, *, drop_path: float = 0.0):
        super().__init__()
        self.conv = ConvBatchNorm(dim, dim, 3, groups=dim, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)


class NormalizedFeedForward(nn.Module):
    """Two pointwise convolutions with batch norms and a ReLU between; the second norm starts at zero.

    Args:
        in_features: channels C.
        hidden_features: channels between the layers.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def __init__(self, in_features: int, hidden_features: int):
        super().__init__()
        self.fc1 = ConvBatchNorm(in_features, hidden_features)
        self.fc2 = ConvBatchNorm(hidden_features, in_features, zero=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.relu(self.fc1(x)))


class SHViTDownsample(nn.Module):
    """A wide strided bottleneck with squeeze-and-excitation (Hu et al. 2017, arXiv 1709.01507), amid residual layers.

    Before it and after it come a residual depthwise convolution and a residual feed-forward network. The positions of
    these four start with factors of one, unlike those of blocks, as published; the last norm of each network starts at
    zero.

    Args:
        dim_in: channels that come in.
        dim: channels that go out.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / 2), ceil(W / 2), dim)``
    """

    stride = 2

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        wide = 4 * dim_in
        self.position1 = ConvBatchNorm(dim_in, dim_in, 3, groups=dim_in)
        self.ffn1 = NormalizedFeedForward(dim_in, 2 * dim_in)
        self.expand, self.depthwise = ConvBatchNorm(dim_in, wide), ConvBatchNorm(wide, wide, 3, stride=2, groups=wide)
        self.gate, self.reduce = SqueezeExcite(wide, 0.25), ConvBatchNorm(wide, dim)
        self.position2, self.ffn2 = ConvBatchNorm(dim, dim, 3, groups=dim), NormalizedFeedForward(dim, 2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.position1(x)
        x = x + self.ffn1(x)
        x = F.relu(self.depthwise(F.relu(self.expand(x))))
        x = self.reduce(self.gate(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        x = x + self.position2(x)
        return x + self.ffn2(x)

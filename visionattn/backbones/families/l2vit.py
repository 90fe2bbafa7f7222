"""L2ViT's local branch beside linear attention.

Zheng 2025, *The Linear Attention Resurrection in Vision Transformer*, arXiv 2501.16182.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from timm.layers import DropPath
from torch import Tensor, nn

from visionattn.kernels.norm import LayerNorm


class LocalConcentration(nn.Module):
    """``x + drop(local(norm(x)))``: gathers what linear attention spreads too thinly.

    The local branch is a depthwise convolution, GELU, a batch norm and another depthwise convolution, in this order.

    Args:
        dim: channels C.
        kernel_size: odd side of both kernels.
        drop_path: probability of leaving the branch out for a sample.

    Raises:
        ValueError: ``kernel_size`` is even.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def __init__(self, dim: int, *, kernel_size: int = 7, drop_path: float = 0.0):
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd to keep the size of the map, got {kernel_size}")
        self.norm = LayerNorm(dim)
        self.conv1, self.conv2 = (
            nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim) for _ in range(2)
        )
        self.act, self.bn = nn.GELU(), nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        local = self.bn(self.act(self.conv1(self.norm(x).permute(0, 3, 1, 2))))
        return x + self.drop_path(self.conv2(local).permute(0, 2, 3, 1))

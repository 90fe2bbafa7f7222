"""A convolution and its batch norm on channels-last maps, for mixers, blocks and layers that are made of such pairs.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from jaxtyping import Float


class ConvBatchNorm(nn.Module):
    """A convolution without bias, then a batch norm: Ioffe and Szegedy 2015, arXiv 1502.03167.

    Args:
        dim_in: channels that come in.
        dim: channels C that go out.
        kernel_size: odd side of the kernel; the map is padded with zeros by half of it.
        stride: of the convolution.
        groups: of the convolution; ``dim_in``: depthwise.
        zero: the norm starts with factors of zero, so that a residual branch that ends here starts as nothing.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / stride), ceil(W / stride), C)``
    """

    def __init__(
        self, dim_in: int, dim: int, kernel_size: int = 1, *, stride: int = 1, groups: int = 1, zero: bool = False
    ):
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim, kernel_size, stride, kernel_size // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(dim)
        if zero:
            nn.init.zeros_(self.norm.weight)

    def forward(self, x: Float[Tensor, "B H W dim_in"]) -> Float[Tensor, "B h w C"]:
        return self.norm(self.conv(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)

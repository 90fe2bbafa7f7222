"""Locally-enhanced position encoding: a depthwise convolution of the values, added to what attention gives.

Shapes: B batch, H W map, N heads, E width of a head's values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float


class LocalEncoding(nn.Conv2d):
    """Locally-enhanced position encoding (LePE) of Dong et al. 2021, CSWin Transformer, arXiv 2107.00652.

    A depthwise convolution with zeros beyond the border. Cost: ``kernel_size**2`` multiply-adds a channel and token.

    Args:
        dim: channels, ``N * E``.
        kernel_size: odd side of the kernel.

    Raises:
        ValueError: ``kernel_size`` is not a positive odd number.

    Shape:
        ``(B, H, W, N, E) -> (B, H, W, N, E)``, any H and W.
    """

    def __init__(self, dim: int, kernel_size: int = 3):
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"the kernel of a position encoding has a positive odd side, got {kernel_size}")
        super().__init__(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)

    def forward(self, input: Float[Tensor, "B H W N E"]) -> Float[Tensor, "B H W N E"]:
        encoded = super().forward(input.flatten(3).permute(0, 3, 1, 2))
        return encoded.permute(0, 2, 3, 1).reshape(input.shape)

    def inside_strips(self, v: Float[Tensor, "B H W N E"], strip: int, axis: int) -> Float[Tensor, "B H W N E"]:
        """The same inside each strip: it sees zeros beyond the strip's border, even where the map goes on.

        Horizontal strips (axis 1) become images of a larger batch without moving anything; for vertical ones (axis 2)
        the map is turned first, and the kernel is turned with it.

        Args:
            v: values, whose size along ``axis`` is a multiple of ``strip``.
            strip: tokens along the short side of a strip.
            axis: the axis along which the strips lie side by side.
        """
        weight = self.weight
        x = v.flatten(3)
        if axis == 2:
            x, weight = x.transpose(1, 2), weight.transpose(2, 3)
        images = x.flatten(0, 1).unflatten(0, (-1, strip)).permute(0, 3, 1, 2)
        y = F.conv2d(images, weight, self.bias, padding=self.kernel_size[0] // 2, groups=self.groups)
        y = y.permute(0, 2, 3, 1).flatten(0, 1).unflatten(0, x.shape[:2])
        return (y.transpose(1, 2) if axis == 2 else y).reshape(v.shape)

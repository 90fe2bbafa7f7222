"""A stem whose patches overlap.

Shapes: B batch, H W map or image, C channels.
"""

from __future__ import annotations

from torch import Tensor, nn

from visionattn.attention.geometry import pad_image


class OverlapStem(nn.Module):
    """One convolution wider than its stride, then a norm: Dong et al. 2021, CSWin Transformer, arXiv 2107.00652.

    As published there, a 7x7 convolution of stride 4 begins two pixels before the image. Images that the stride does
    not divide are enlarged with zeros at the bottom and the right.

    Args:
        in_chans: channels of the image.
        dim: channels C of the map.
        kernel_size: side of a patch.
        stride: distance between patches.
        padding: zeros around the image.
    Shape:
        ``(B, in_chans, H, W) -> (B, ceil(H / stride), ceil(W / stride), C)``
    """

    def __init__(self, in_chans: int, dim: int, *, kernel_size: int = 7, stride: int = 4, padding: int = 2):
        super().__init__()
        self.stride = stride
        self.conv1 = nn.Conv2d(in_chans, dim, kernel_size, stride=stride, padding=padding)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(self.conv1(pad_image(image, self.stride)).permute(0, 2, 3, 1))

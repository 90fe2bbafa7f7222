"""A stem whose patches overlap.

Shapes: B batch, H W map or image, C channels.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


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
        missing_h, missing_w = -image.shape[2] % self.stride, -image.shape[3] % self.stride
        if missing_h or missing_w:
            image = F.pad(image, (0, missing_w, 0, missing_h))
        return self.norm(self.conv1(image).permute(0, 2, 3, 1))

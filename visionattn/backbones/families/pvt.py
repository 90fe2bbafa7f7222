"""The downsampling and the position encoding of the first Pyramid Vision Transformer.

Wang et al. 2021, *Pyramid Vision Transformer: A Versatile Backbone for Dense Prediction without Convolutions*, arXiv
2102.12122.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from visionattn.attention.padding import fit, round_up
from visionattn.attention.resizing import resized_map
from visionattn.kernels.convolution import convolve
from visionattn.kernels.geometry import certainly
from visionattn.kernels.norm import LayerNorm


class PatchDownsample(nn.Module):
    """A 2x2 convolution of stride 2, then a norm; zeros at the bottom and the right make the map even.

    Args:
        dim_in: channels that come in.
        dim: channels that go out.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / 2), ceil(W / 2), dim)``
    """

    stride = 2

    def __init__(self, dim_in: int, dim: int):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(dim_in, dim, 2, stride=2), LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = fit(x, (round_up(x.shape[1], 2), round_up(x.shape[2], 2)))
        return self.norm(convolve(self.conv, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class AbsolutePosition(nn.Module):
    """Adds a learned vector to each place of the map, resized bilinearly to maps of other sizes, as published.

    Args:
        dim: channels C.
        map_size: rows and columns that are stored, those of the map in training.

    Raises:
        ValueError: ``map_size`` is not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    no_weight_decay_parameters = position_tables = ("table",)

    def __init__(self, dim: int, *, map_size: int):
        super().__init__()
        if map_size < 1:
            raise ValueError(f"map_size must be positive, got {map_size}")
        self.table = nn.Parameter(torch.empty(map_size, map_size, dim))
        nn.init.trunc_normal_(self.table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[1], x.shape[2]
        same = all(certainly(own == wanted) for own, wanted in zip(self.table.shape, size, strict=False))
        return x + (self.table if same else resized_map(self.table, size))

    @staticmethod
    def stretched(table: Tensor, own: Tensor) -> Tensor:
        """The stored map for another size, when weights are loaded."""
        return resized_map(table, (own.shape[0], own.shape[1]))

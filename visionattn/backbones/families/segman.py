"""What SegMAN's larger encoders alone have: a layer scale with a bias.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

import torch
from timm.layers import LayerScale
from torch import Tensor, nn


class BiasedLayerScale(LayerScale):
    """A learned factor and a learned number added for each channel.

    Fu et al. 2024, *SegMAN*, arXiv 2412.11890, whose code writes it as a depthwise 1x1 convolution; without the added
    number: Touvron et al. 2021, arXiv 2103.17239.

    Args:
        dim: channels C.
        init_values: the factors at the start; what is added starts from zero.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def __init__(self, dim: int, init_values: float = 1e-6):
        super().__init__(dim, init_values=init_values)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma + self.bias

"""Squeeze-and-excitation of bfloat16 maps on a CPU: means without a copy of the map, and one pass for the factors.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

import torch
from timm.layers.squeeze_excite import SEModule
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.kernels.backends.cpp import layers
from visionattn.kernels.eager import autocast_disabled, differentiates, has_hooks, reduced, runs_own_code


class SqueezeExcite(SEModule):
    """A factor per channel, from the means of all channels by two small layers (Hu et al. 2017, arXiv 1709.01507).

    timm's module with its parameters. In bfloat16 torch's mean of a map on a CPU first writes all of it in float32; its
    pooling sums in float32 as well and does not. In inference the factors stay in float32.

    Shape:
        ``(B, C, H, W) -> (B, C, H, W)``
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (reduced(x) and runs_own_code(x)):
            out: Tensor = super().forward(x)
            return out
        if self._own(x):
            with autocast_disabled(x.device):
                hidden = self.act(_between(self.fc1, layers.channel_means(x)))
                factors = self.gate(_between(self.fc2, hidden))
            return layers.scale_channels(x, factors)
        means = F.avg_pool2d(x, x.shape[2:])
        return x * self.gate(self.fc2(self.act(self.bn(self.fc1(means)))))

    def _own(self, x: Tensor) -> bool:
        """Whether this is inference on a map that the C++ library takes."""
        parts = self.fc1, self.bn, self.act, self.fc2, self.gate
        weights = self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias
        return (
            x.dtype == torch.bfloat16
            and x.shape[1] % 16 == 0
            and x.numel() > 0
            and x.is_contiguous(memory_format=torch.channels_last)
            and not differentiates(x, *weights)
            and all(weight is None or weight.dtype == torch.float32 for weight in weights)
            and isinstance(self.bn, nn.Identity)
            and not any(has_hooks(part) for part in parts)
            and not layers.unavailable()
        )


def _between(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A 1x1 convolution of one token of each image, ``(B, C) -> (B, E)``."""
    return F.linear(x, layer.weight.flatten(1), layer.bias)

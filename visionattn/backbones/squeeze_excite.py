"""Squeeze-and-excitation whose means a CPU takes without a copy of the map.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from timm.layers.squeeze_excite import SEModule
from torch import Tensor
from torch.nn import functional as F

from visionattn.kernels.eager import reduced, runs_own_code


class SqueezeExcite(SEModule):
    """A factor per channel, from the means of all channels by two small layers (Hu et al. 2017, arXiv 1709.01507).

    timm's module with its parameters. In bfloat16 torch's mean of a map on a CPU first writes all of it in float32; its
    pooling sums in float32 as well and does not.

    Shape:
        ``(B, C, H, W) -> (B, C, H, W)``
    """

    def forward(self, x: Tensor) -> Tensor:
        if not (reduced(x) and runs_own_code(x)):
            out: Tensor = super().forward(x)
            return out
        means = F.avg_pool2d(x, x.shape[2:])
        return x * self.gate(self.fc2(self.act(self.bn(self.fc1(means)))))

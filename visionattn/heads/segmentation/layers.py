"""The pieces that the decoders share.

Shapes: B batch, C channels, H W map.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.kernels.geometry import certainly


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch norm, ReLU. The map keeps its size."""

    def __init__(self, dim_in: int, dim: int, kernel_size: int = 1):
        super().__init__(
            nn.Conv2d(dim_in, dim, kernel_size, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(dim),
            nn.ReLU(inplace=True),
        )
        nn.init.kaiming_normal_(self[0].weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]


class Classify(nn.Sequential):
    """Dropout of whole channels, then a 1x1 convolution to the classes."""

    def __init__(self, dim: int, num_classes: int, drop_rate: float):
        super().__init__(nn.Dropout2d(drop_rate), nn.Conv2d(dim, num_classes, 1))
        nn.init.normal_(self[1].weight, std=0.01)  # type: ignore[arg-type]
        nn.init.zeros_(self[1].bias)  # type: ignore[arg-type]


def resize(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, pixel centres aligned (``align_corners=False``), to the size (H, W)."""
    (height, width), (rows, columns) = x.shape[-2:], size
    if certainly(height == rows) and certainly(width == columns):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear")  # type: ignore[arg-type]

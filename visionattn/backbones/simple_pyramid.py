"""Maps of four strides from one, for networks whose maps all have the same stride.

Shapes: B batch, C channels, H W map.
"""

from __future__ import annotations

from typing import Any

from timm.layers import LayerNorm2d
from torch import Tensor, nn


class SimplePyramid(nn.Module):
    """Maps of four strides from the last map of a plain vision transformer (Li et al. 2022, arXiv 2203.16527).

    Args:
        channels: of the map.
        stride: of the map.

    Shape:
        ``(B, C, H, W)`` -> ``(B, C/4, 4H, 4W)``, ``(B, C/2, 2H, 2W)``, ``(B, C, H, W)``, ``(B, C, H/2, W/2)``
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        self.levels = nn.ModuleList(
            [
                nn.Sequential(_double(channels, half), LayerNorm2d(half), nn.GELU(), _double(half, quarter)),
                _double(channels, half),
                nn.Identity(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        )
        widths, strides = (quarter, half, channels, channels), (stride / 4, stride / 2, stride, 2 * stride)
        self.feature_info: list[dict[str, Any]] = [
            {"num_chs": width, "reduction": int(s) if s == int(s) else s, "module": f"pyramid.levels.{i}"}
            for i, (width, s) in enumerate(zip(widths, strides, strict=True))
        ]

    def forward(self, x: Tensor) -> list[Tensor]:
        """The maps."""
        return [level(x) for level in self.levels]


def _double(channels: int, out: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, out, 2, 2)

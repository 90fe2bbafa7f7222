"""torchvision's feature pyramid with finer levels, and the levels on top of it.

Shapes: B batch, C channels, H W map.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool, LastLevelP6P7

ON_TOP = {"none": 0, "pool": 1, "p6_input": 1, "p6p7": 2, "p6p7_input": 2}
"""What comes on top of the backbone's coarsest map, and how many levels that is."""


def block_on_top(extra: str, width: int, channels: int, relu: bool = True) -> ExtraFPNBlock | None:
    """What makes the levels on top of the others.

    Args:
        extra: a key of :data:`ON_TOP`.
        width: channels of the backbone's coarsest map.
        channels: of the pyramid.
        relu: between two convolutions.
    """
    if extra == "none":
        return None
    if extra == "pool":
        return LastLevelMaxPool()
    if extra == "p6_input":
        return LastLevelP6(width, channels)
    block = (LastLevelP6P7 if relu else _WithoutReLU)(width if extra == "p6p7_input" else channels, channels)
    block.use_P5 = extra == "p6p7"  # torchvision guesses it from the widths
    return block


class _WithoutReLU(LastLevelP6P7):
    """Two convolutions one after the other, as mmdetection has them."""

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        p6 = self.p6(p[-1] if self.use_P5 else c[-1])
        return [*p, p6, self.p7(p6)], [*names, "p6", "p7"]


class LastLevelP6(ExtraFPNBlock):
    """One level more: a convolution of the backbone's coarsest map, started as torchvision starts its own."""

    def __init__(self, width: int, channels: int):
        super().__init__()
        self.p6 = _started(nn.Conv2d(width, channels, 3, 2, 1))

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        return [*results, self.p6(x[-1])], [*names, "p6"]


class FinerPyramidNetwork(FeaturePyramidNetwork):
    """torchvision's feature pyramid with levels finer than any map of the backbone.

    EfficientViT (Liu et al. 2023, arXiv 2305.07027) detects in this way, and SHViT (Yun and Ro 2024, arXiv 2401.16456)
    takes it over: the sum at the finest map is doubled by a transposed convolution of 2 x 2 pixels, that map by the
    next, without norms or activations; a convolution of 3 x 3 follows on each, as on the other levels.

    Without finer levels it is torchvision's pyramid, weights, names and numbers. ``finer`` and ``finer_layers`` count
    from coarse to fine; the published code counts its transposed convolutions so and the convolutions behind them from
    fine to coarse.

    Args:
        widths: channels of the backbone's maps.
        channels: of every level.
        on_top: makes the levels on top.
        finer: number of finer levels.
    """

    def __init__(self, widths: list[int], channels: int, on_top: ExtraFPNBlock | None = None, finer: int = 0):
        super().__init__(widths, channels, extra_blocks=on_top)
        self.finer = nn.ModuleList(_doubling(channels) for _ in range(finer))
        self.finer_layers = nn.ModuleList(_started(nn.Conv2d(channels, channels, 3, padding=1)) for _ in range(finer))

    def forward(self, x: dict[str, Tensor]) -> OrderedDict[str, Tensor]:
        """Maps from fine to coarse, named "0", "1", ... and as the block on top names its own."""
        maps, sums = list(x.values()), list[Tensor]()
        for block, map_ in zip(reversed(self.inner_blocks), reversed(maps), strict=True):
            lateral = block(map_)
            sums.append(lateral + F.interpolate(sums[-1], size=lateral.shape[-2:]) if sums else lateral)
        layers = [*reversed(self.layer_blocks), *self.finer_layers]
        for double in self.finer:
            sums.append(double(sums[-1]))
        results = [layer(y) for layer, y in zip(layers, sums, strict=True)][::-1]
        names = [str(i) for i in range(len(results))]
        if self.extra_blocks is not None:
            results, names = self.extra_blocks(results, maps, names)
        return OrderedDict(zip(names, results, strict=True))


def _started(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution, with weights as torchvision starts those of a pyramid."""
    assert conv.bias is not None
    nn.init.kaiming_uniform_(conv.weight, a=1)
    nn.init.zeros_(conv.bias)
    return conv


def _doubling(channels: int) -> nn.ConvTranspose2d:
    """A map of twice the height and width, started as the published code does it."""
    conv = nn.ConvTranspose2d(channels, channels, 2, 2)
    assert conv.bias is not None
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(conv.bias)
    return conv

"""The convolutional parts of MaxViT: stem, inverted bottleneck, and the stage that puts them together.

The bottleneck stands before each pair of attentions. Tu et al. 2022, *MaxViT: Multi-Axis Vision
Transformer*, arXiv 2204.01697.

Shapes: B batch, H W map or image, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.mixer import MixerFactory, StageContext
from visionattn.backbones.squeeze_excite import SqueezeExcite
from visionattn.backbones.stage import BlockFactory, Stage
from visionattn.kernels.folding import SameConv, conv_gelu, pointwise
from visionattn.kernels.linear import convolution_layout

_GELU = partial(nn.GELU, approximate="tanh")
_BatchNorm = partial(nn.BatchNorm2d, eps=1e-3)


class MBConv(nn.Module):
    """Inverted bottleneck with squeeze-and-excitation, normed first.

    A residual branch of batch norm, 1x1 convolution to ``expansion * C`` channels, depthwise 3x3 convolution, gate per
    channel, 1x1 convolution back to C. With stride 2 the depthwise convolution strides, and the shortcut is a 2x2 mean
    (of the tokens that are there, at the border of an odd map) and, where the width changes, a 1x1 convolution.

    Args:
        dim_in: channels that come in.
        dim: channels C that go out.
        stride: 1 or 2.
        expansion: width inside, in multiples of C.
        drop_path: probability of leaving the branch out for a sample.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / stride), ceil(W / stride), C)``
    """

    def __init__(self, dim_in: int, dim: int, *, stride: int = 2, expansion: int = 4, drop_path: float = 0.0):
        super().__init__()
        self.stride = stride
        hidden = expansion * dim
        self.shortcut = nn.Conv2d(dim_in, dim, 1) if dim_in != dim else None
        self.norm = _BatchNorm(dim_in)
        self.expand = nn.Conv2d(dim_in, hidden, 1, bias=False)
        self.norm1, self.act1 = _BatchNorm(hidden), _GELU()
        self.depthwise = SameConv(hidden, hidden, stride=stride, groups=hidden, bias=False)
        self.norm2, self.act2 = _BatchNorm(hidden), _GELU()
        self.gate = SqueezeExcite(hidden, rd_channels=dim // 4, act_layer=nn.SiLU)
        self.project = nn.Conv2d(hidden, dim, 1)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, context: StageContext | None = None) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        y = pointwise(self.expand, x, before=self.norm, norm=self.norm1, activation=self.act1)
        y = pointwise(self.project, self.gate(conv_gelu(self.depthwise, y, self.act2, self.norm2)))
        if self.stride == 2:
            x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        if self.shortcut is not None:
            x = pointwise(self.shortcut, x)
        return (x + self.drop_path(y)).permute(0, 2, 3, 1)


class MaxViTStem(nn.Module):
    """Two 3x3 convolutions, the first of stride 2, and the strided bottleneck that opens the first stage.

    That bottleneck is never dropped in training (its drop-path probability is 0, it is the first layer).

    Args:
        in_chans: channels of the image.
        dim: channels C of the first stage.
        width: channels between the convolutions.

    Shape:
        ``(B, in_chans, H, W) -> (B, ceil(H / 4), ceil(W / 4), C)``
    """

    stride = 4

    def __init__(self, in_chans: int, dim: int, *, width: int = 64):
        super().__init__()
        self.conv1 = SameConv(in_chans, width, stride=2)
        self.norm1, self.act1 = _BatchNorm(width), _GELU()
        self.conv2 = SameConv(width, width)
        self.down = MBConv(width, dim)

    def forward(self, image: Tensor) -> Tensor:
        image = convolution_layout(self, image)
        y = conv_gelu(self.conv1, image, self.act1, self.norm1)
        return self.down(self.conv2(y).permute(0, 2, 3, 1))


class MaxViTStage(Stage):
    """``depth`` times a bottleneck and two blocks: attention in windows, then on a grid (the mixers take turns).

    The first bottleneck is the downsampling layer; in the first stage it belongs to the stem.

    Args:
        downsample: called as ``downsample(dim_in, dim, stride=, drop_path=)`` for every bottleneck.
        **kwargs: see :class:`Stage`.
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        num_heads: int,
        mixer: MixerFactory,
        block: BlockFactory,
        drop_path: Sequence[float],
        *,
        downsample: Callable[..., nn.Module] = MBConv,
        **kwargs: Any,
    ):
        opening = partial(downsample, stride=2, drop_path=drop_path[0])
        super().__init__(
            dim_in, dim, num_heads, mixer, block, drop_path, downsample=opening, blocks_per_depth=2, **kwargs
        )
        pairs = list(self.blocks)
        self.blocks = nn.ModuleList(pairs[:2])
        for unit, rate in enumerate(drop_path[1:], start=1):
            self.blocks.append(downsample(dim, dim, stride=1, drop_path=rate))
            self.blocks.extend(pairs[2 * unit : 2 * unit + 2])

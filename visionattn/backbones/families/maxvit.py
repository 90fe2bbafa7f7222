"""The convolutional parts of MaxViT: its stem, the inverted bottleneck before each pair of attentions, and the stage
that puts them together.

Tu et al. 2022, *MaxViT: Multi-Axis Vision Transformer*, arXiv 2204.01697.

Shapes: B batch, H W map or image, C channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from timm.layers import DropPath
from timm.layers.squeeze_excite import SEModule
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.kernels.linear import convolution_gelu, linear, linear_gelu, one_pass, unwatched
from visionattn.attention.mixer import MixerFactory, StageContext
from visionattn.backbones.stage import BlockFactory, Stage

_GELU = partial(nn.GELU, approximate="tanh")
_BatchNorm = partial(nn.BatchNorm2d, eps=1e-3)


class SameConv(nn.Conv2d):
    """A 3x3 convolution padded as TensorFlow's "same", ``(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))``.

    With stride 2 an even map gets its zeros at the bottom and the right alone, an odd one on all sides.
    """

    def __init__(self, dim_in: int, dim: int, *, stride: int = 1, groups: int = 1, bias: bool = True):
        super().__init__(dim_in, dim, 3, stride=stride, padding=int(stride == 1), groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self._convolved(x, self.weight, self.bias)

    def normed_gelu(self, x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
        """The convolution, a batch norm as it is outside of training, and a GELU (tanh), in one pass if possible."""
        scale, shift = _affine(norm)
        weight = self.weight * scale[:, None, None, None]
        bias = shift if self.bias is None else self.bias * scale + shift
        parts = one_pass(x, weight, bias)
        if parts is None:
            return F.gelu(self._convolved(x, weight, bias), approximate="tanh")
        x, kernel, summand = parts
        if self.stride[0] == 2:  # a row and a column of zeros in the kernel cost less than around the map
            kernel = F.pad(kernel, (1 - x.shape[3] % 2, 0, 1 - x.shape[2] % 2, 0))
        return convolution_gelu(x, kernel, summand, self.stride, self.groups, "tanh")

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.stride[0] == 1:
            return F.conv2d(x, weight, bias, padding=1, groups=self.groups)
        padded = F.pad(x, (x.shape[3] % 2, 1, x.shape[2] % 2, 1))
        rows, columns = ((size - 1) // 2 + 1 for size in x.shape[2:])
        y = F.conv2d(padded, weight, bias, stride=2, groups=self.groups)
        return y.narrow(2, 0, rows).narrow(3, 0, columns)  # all of it; a graph's symbols stay as short as a pooling's


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
        self.shortcut = nn.Conv2d(dim_in, dim, 1) if dim_in != dim else nn.Identity()
        self.norm = _BatchNorm(dim_in)
        self.expand = nn.Conv2d(dim_in, hidden, 1, bias=False)
        self.norm1, self.act1 = _BatchNorm(hidden), _GELU()
        self.depthwise = SameConv(hidden, hidden, stride=stride, groups=hidden, bias=False)
        self.norm2, self.act2 = _BatchNorm(hidden), _GELU()
        self.gate = SEModule(hidden, rd_channels=dim // 4, act_layer=nn.SiLU)
        self.project = nn.Conv2d(hidden, dim, 1)
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()

    def forward(self, x: Tensor, context: StageContext | None = None) -> Tensor:
        if unwatched(self):
            return self._inference(x)
        x = x.permute(0, 3, 1, 2)
        y = self.act1(self.norm1(self.expand(self.norm(x))))
        y = self.project(self.gate(self.act2(self.norm2(self.depthwise(y)))))
        if self.stride == 2:
            x = F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        return (self.shortcut(x) + self.drop_path(y)).permute(0, 2, 3, 1)

    def _inference(self, x: Tensor) -> Tensor:
        """The same with the norms inside the convolutions beside them, and the 1x1 convolutions as linear layers."""
        (scale, shift), (scale1, shift1) = map(_affine, (self.norm, self.norm1))
        expand = self.expand.weight.flatten(1)
        y = linear_gelu(
            x, scale1[:, None] * expand * scale, scale1 * (expand * shift).sum(1) + shift1, approximate="tanh"
        )
        y = self.gate(self.depthwise.normed_gelu(y.permute(0, 3, 1, 2), self.norm2)).permute(0, 2, 3, 1)
        y = linear(y, self.project.weight.flatten(1), self.project.bias)
        if self.stride == 2:
            x = F.avg_pool2d(x.permute(0, 3, 1, 2), 2, ceil_mode=True, count_include_pad=False).permute(0, 2, 3, 1)
        if isinstance(self.shortcut, nn.Conv2d):
            x = linear(x, self.shortcut.weight.flatten(1), self.shortcut.bias)
        return x + y


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Factor and summand of each channel that a batch norm is outside of training."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


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
        if unwatched(self):
            y = self.conv1.normed_gelu(image.contiguous(memory_format=torch.channels_last), self.norm1)
        else:
            y = self.act1(self.norm1(self.conv1(image)))
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

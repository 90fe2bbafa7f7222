"""The layers that change resolution: stems (image to first map) and downsampling layers (map to smaller map).

Every stem calls its first convolution ``conv1`` and states its ``stride``; every downsampling layer states its
``stride``. Images or maps that the stride does not divide are enlarged with zeros at the bottom and the right.

Shapes: B batch, H W map or image, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from visionattn.attention.padding import fit, pad_image, round_up
from visionattn.kernels.convolution import convolve
from visionattn.kernels.eager import reduced, runs_own_code
from visionattn.kernels.linear import Linear
from visionattn.kernels.norm import LayerNorm


class PatchStem(nn.Module):
    """Non-overlapping patches, projected and normalized: Liu et al. 2021, Swin Transformer, arXiv 2103.14030.

    Args:
        in_chans: channels of the image.
        dim: channels C of the map.
        patch_size: side of a patch, and the stride.
        norm: norm factory, called with ``dim``.

    Shape:
        ``(B, in_chans, H, W) -> (B, ceil(H / patch_size), ceil(W / patch_size), C)``
    """

    def __init__(self, in_chans: int, dim: int, *, patch_size: int = 4, norm: Callable[[int], nn.Module] = LayerNorm):
        super().__init__()
        self.stride = patch_size
        self.conv1 = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)
        self.norm = norm(dim)

    def forward(self, image: Tensor) -> Tensor:
        image = pad_image(image, self.stride)
        if reduced(image) and runs_own_code(image):  # the map then is as the norm wants it
            image = image.contiguous(memory_format=torch.channels_last)
        return self.norm(convolve(self.conv1, image).permute(0, 2, 3, 1))


class ConvStem(nn.Module):
    """Overlapping 3x3 convolutions of stride 2.

    Hassani et al. 2022, *Neighborhood Attention Transformer*, arXiv 2204.07143.

    As published there is neither an activation nor a norm between the convolutions.

    Args:
        in_chans: channels of the image.
        dim: channels C of the map.
        stride: 2 (one convolution) or 4 (two).

    Raises:
        ValueError: another stride.

    Shape:
        ``(B, in_chans, H, W) -> (B, ceil(H / stride), ceil(W / stride), C)``
    """

    def __init__(self, in_chans: int, dim: int, *, stride: int = 4):
        super().__init__()
        if stride not in (2, 4):
            raise ValueError(f"the stride of a ConvStem is 2 or 4, got {stride}")
        self.stride = stride
        hidden = dim // 2 if stride == 4 else dim
        self.conv1 = nn.Conv2d(in_chans, hidden, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(hidden, dim, 3, stride=2, padding=1) if stride == 4 else nn.Identity()
        self.norm = LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(convolve(self.conv2, convolve(self.conv1, image)).permute(0, 2, 3, 1))


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
        self.norm = LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        return self.norm(convolve(self.conv1, pad_image(image, self.stride)).permute(0, 2, 3, 1))


class StridedConvStem(nn.Module):
    """A row of 3x3 convolutions, each with a batch norm and an activation: Xiao et al. 2021, arXiv 2106.14881.

    The parts are named ``conv1``, ``norm1``, ``conv2``, ... in this order.

    Args:
        in_chans: channels of the image.
        dim: channels C of the map.
        divisors: the convolutions before the last one have C / divisor channels.
        strides: of the convolutions; None: 2 each.
        bias: bias in the convolutions.
        act_layer: activation factory, called without arguments.
        last_act: an activation after the last norm too.
        norm: factory of a norm of the map, called with ``dim``, after all that (``norm``); None: no such norm.
        whole: images are first enlarged with zeros to multiples of the stride. Without it each convolution sees the
            zeros at its own border alone.

    Raises:
        ValueError: a divisor does not divide C, or there are not as many strides as convolutions.

    Shape:
        ``(B, in_chans, H, W) -> (B, ceil(H / stride), ceil(W / stride), C)``, the stride the product of all
    """

    def __init__(
        self,
        in_chans: int,
        dim: int,
        *,
        divisors: Sequence[int] = (2,),
        strides: Sequence[int] | None = None,
        bias: bool = False,
        act_layer: Callable[[], nn.Module] = nn.ReLU,
        last_act: bool = True,
        norm: Callable[[int], nn.Module] | None = None,
        whole: bool = False,
    ):
        super().__init__()
        if any(divisor < 1 or dim % divisor for divisor in divisors):
            raise ValueError(f"every divisor of a stem must divide its width {dim}, got {list(divisors)}")
        widths = [in_chans, *(dim // divisor for divisor in divisors), dim]
        strides = [2] * (len(widths) - 1) if strides is None else list(strides)
        if len(strides) != len(widths) - 1:
            raise ValueError(f"a stem of {len(widths) - 1} convolutions has as many strides, got {strides}")
        self.depth, self.stride = len(strides), math.prod(strides)
        self.act, self.last_act = act_layer(), last_act
        for number, ((width, following), stride) in enumerate(zip(pairwise(widths), strides, strict=True), start=1):
            self.add_module(f"conv{number}", nn.Conv2d(width, following, 3, stride=stride, padding=1, bias=bias))
            self.add_module(f"norm{number}", nn.BatchNorm2d(following))
        self.norm, self.whole = nn.Identity() if norm is None else norm(dim), whole

    def forward(self, image: Tensor) -> Tensor:
        x = pad_image(image, self.stride) if self.whole else image
        for number in range(1, self.depth + 1):
            x = self.get_submodule(f"norm{number}")(self.get_submodule(f"conv{number}")(x))
            if number < self.depth or self.last_act:
                x = self.act(x)
        return self.norm(x.permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Four neighbors become one token: Liu et al. 2021, Swin Transformer, arXiv 2103.14030.

    The order within a 2x2 cell is (0,0), (1,0), (0,1), (1,1), as published; imported weights depend on it.

    Args:
        dim_in: channels that come in.
        dim: channels that go out.
        post_norm: norm the merged tokens instead of the four neighbors: Liu et al. 2021, Swin Transformer V2, arXiv
            2111.09883.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / 2), ceil(W / 2), dim)``
    """

    stride = 2

    def __init__(self, dim_in: int, dim: int, *, post_norm: bool = False):
        super().__init__()
        self.post_norm = post_norm
        self.norm = LayerNorm(dim if post_norm else 4 * dim_in)
        self.reduction = Linear(4 * dim_in, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = fit(x, (round_up(x.shape[1], 2), round_up(x.shape[2], 2)))
        b, h, w, c = x.shape
        cells = x.view(b, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).reshape(b, h // 2, w // 2, 4 * c)
        return self.norm(self.reduction(cells)) if self.post_norm else self.reduction(self.norm(cells))


class ConvDownsample(nn.Module):
    """A 3x3 convolution of stride 2, then a norm.

    Hassani et al. 2022, arXiv 2204.07143; with a bias: Dong et al. 2021, arXiv 2107.00652.

    Args:
        dim_in: channels that come in.
        dim: channels that go out.
        bias: bias in the convolution.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / 2), ceil(W / 2), dim)``
    """

    stride = 2

    def __init__(self, dim_in: int, dim: int, *, bias: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim, 3, stride=2, padding=1, bias=bias)
        self.norm = LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(convolve(self.conv, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class ConvBatchNormDownsample(nn.Module):
    """A 3x3 convolution of stride 2, a batch norm and an activation.

    Residual networks have such layers (He et al. 2015, arXiv 1512.03385); small backbones that are trained from scratch
    learn shapes faster with them. With a bias and without an activation: Zhang et al. 2024, CAS-ViT, arXiv 2408.03703.

    Args:
        dim_in: channels that come in.
        dim: channels that go out.
        bias: bias in the convolution.
        act_layer: activation factory, called without arguments.

    Shape:
        ``(B, H, W, dim_in) -> (B, ceil(H / 2), ceil(W / 2), dim)``
    """

    stride = 2

    def __init__(self, dim_in: int, dim: int, *, bias: bool = False, act_layer: Callable[[], nn.Module] = nn.ReLU):
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim, 3, stride=2, padding=1, bias=bias)
        self.norm = nn.BatchNorm2d(dim)
        self.act = act_layer()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(convolve(self.conv, x.permute(0, 3, 1, 2)))).permute(0, 2, 3, 1)

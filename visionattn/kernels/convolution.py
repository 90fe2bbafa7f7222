"""Convolutions of inference in bfloat16 on the CPU, whose weight oneDNN has packed once.

torch rounds the weight of a convolution in every call and has oneDNN bring it into another order: for one small image
that takes up to three times as long as the convolution. The packed weight is kept as that of a linear layer is
(``kernels/backends/cpp/packed.py``). Elsewhere, and in training, a convolution is torch's.

Shapes: B batch, H W map, C channels in, E channels out, h w the map that comes out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from visionattn.kernels.backends.cpp.packed import kept
from visionattn.kernels.eager import differentiates, has_hooks, reduced, runs_own_code

Pair = Sequence[int]
_AVAILABLE = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


class _Kernel(NamedTuple):
    """A packed weight.

    Attributes:
        packed: in oneDNN's order.
        sample: some of the weight's numbers, where they are.
        copy: what they were.
    """

    packed: Tensor
    sample: Tensor
    copy: Tensor


def convolve(layer: nn.Module, x: Tensor) -> Tensor:
    """``layer(x)``; that of a plain convolution by its packed weight where that is kept.

    Shape:
        ``(B, C, H, W) -> (B, E, h, w)``
    """
    found = _of_layer(layer, x)
    out: Tensor = layer(x) if found is None else found
    return out


def _of_layer(layer: nn.Module, x: Tensor) -> Tensor | None:
    if type(layer) is not nn.Conv2d or isinstance(layer.padding, str) or has_hooks(layer):
        return None
    if layer.padding_mode != "zeros" or layer.dilation != (1, 1):
        return None
    return with_packed(x, layer.weight, layer.bias, layer.stride, layer.padding, layer.groups)


def with_packed(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, groups: int, gelu: str | None = None
) -> Tensor | None:
    """The convolution, and GELU (``none`` or ``tanh``) after it if that is given; None where no weight is kept."""
    if not _AVAILABLE or not reduced(x) or not runs_own_code(x, weight, bias) or differentiates(x, weight, bias):
        return None
    if x.dim() != 4 or x.numel() == 0 or weight.dtype != torch.float32 or not torch.backends.mkldnn.enabled:
        return None
    x = x.to(torch.bfloat16)
    how = (list(padding), list(stride), [1, 1], groups)

    def pack(weight: Tensor) -> _Kernel:
        packed = torch.ops.aten.mkldnn_reorder_conv2d_weight(weight.to(x.dtype).to_mkldnn(), *how, list(x.shape))
        sample = weight.data.reshape(-1)[:: max(1, weight[0].numel() // 2) | 1]  # of each output, of inputs by turns
        return _Kernel(packed, sample, sample.clone())

    kernel = kept(weight, pack) if weight.is_contiguous() else None
    if kernel is not None and not torch.equal(kernel.sample, kernel.copy):
        kernel = kept(weight, pack, anew=True)
    if kernel is None:
        return None
    name, algorithm = ("none", "") if gelu is None else ("gelu", gelu)
    summand = None if bias is None else bias.to(x.dtype)
    out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, kernel.packed, summand, *how, name, [], algorithm)
    return out

"""Convolutions that are computed together with the norms and the GELU beside them where only the result counts.

Outside of training a batch norm is a factor and a summand per channel, which :func:`fold` puts into the convolution's
weights; oneDNN computes the GELU with the product.

Shapes: B batch, H W map, C channels in, E channels out.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.kernels.activation import activate
from visionattn.kernels.backends.triton import rows
from visionattn.kernels.convolution import with_packed
from visionattn.kernels.depthwise import depthwise
from visionattn.kernels.eager import has_hooks
from visionattn.kernels.geometry import certainly
from visionattn.kernels.linear import (
    convolution_gelu,
    fusable_inputs,
    has_own_product,
    is_inference,
    linear,
    linear_gelu,
)


class SameConv(nn.Conv2d):
    """A 3x3 convolution padded as TensorFlow's "same".

    With stride 2 an even map gets its zeros at the bottom and the right alone, an odd one on all sides.

    Args:
        dim_in: channels C.
        dim: channels E.
        stride: 1 or 2.
        groups: groups of channels.
        bias: learn a bias.

    Shape:
        ``(B, C, H, W) -> (B, E, ceil(H / stride), ceil(W / stride))``
    """

    def __init__(self, dim_in: int, dim: int, *, stride: int = 1, groups: int = 1, bias: bool = True):
        super().__init__(dim_in, dim, 3, stride=stride, padding=int(stride == 1), groups=groups, bias=bias)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not self.groups == self.in_channels == self.out_channels:
            return self._plain(input, weight, bias)
        rows, columns = input.shape[2:]
        strided, plain = self.stride[0] == 2, partial(self._plain, bias=bias)
        padding = (rows % 2, columns % 2) if strided else (1, 1)
        size = ((rows + 1) // 2, (columns + 1) // 2) if strided else (rows, columns)
        return depthwise(plain, input, weight, bias, padding, size, self.stride[0])

    def _plain(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.stride[0] == 1:
            return F.conv2d(input, weight, bias, padding=1, groups=self.groups)
        padded = F.pad(input, (input.shape[3] % 2, 1, input.shape[2] % 2, 1))
        rows, columns = ((size - 1) // 2 + 1 for size in input.shape[2:])
        y = F.conv2d(padded, weight, bias, stride=2, groups=self.groups)
        if certainly(y.shape[2] == rows) and certainly(y.shape[3] == columns):
            return y
        return y.narrow(2, 0, rows).narrow(3, 0, columns)  # all of it; a graph's symbols stay as short as a pooling's

    def gelu(self, x: Tensor, weight: Tensor, bias: Tensor | None, approximate: str) -> Tensor:
        """``gelu(convolution)`` with other weights than its own, in one pass if possible."""
        if self.stride[0] == 1:
            found = with_packed(x, weight, bias, (1, 1), (1, 1), self.groups, approximate)
            if found is not None:
                return found
        inputs = fusable_inputs(x, weight, bias)
        if inputs is None:
            return F.gelu(self._conv_forward(x, weight, bias), approximate=approximate)
        x, kernel, summand = inputs
        if self.stride[0] == 2:  # a row and a column of zeros in the kernel cost less than around the map
            kernel = F.pad(kernel, (1 - x.shape[3] % 2, 0, 1 - x.shape[2] % 2, 0))
        return convolution_gelu(x, kernel, summand, self.stride, self.groups, approximate)


def fold(
    layer: nn.Conv2d, before: nn.BatchNorm2d | None = None, norm: nn.BatchNorm2d | None = None
) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a convolution together with the batch norms beside it, as they are outside of training.

    Args:
        layer: the convolution; 1x1 if there is a norm before it.
        before: batch norm of its input.
        norm: batch norm of its output.
    """
    weight, bias = layer.weight, layer.bias
    if norm is not None:
        scale, shift = _affine(norm)
        weight = scale[:, None, None, None] * weight
    if before is not None:
        factor, summand = _affine(before)
        weight = weight * factor[:, None, None]
        added = (layer.weight.flatten(1) * summand).sum(1)
        bias = added if bias is None else bias + added
    if norm is not None:
        bias = shift if bias is None else scale * bias + shift
    return weight, bias


def pointwise(
    layer: nn.Conv2d,
    x: Tensor,
    *,
    before: nn.BatchNorm2d | None = None,
    norm: nn.BatchNorm2d | None = None,
    activation: nn.GELU | None = None,
) -> Tensor:
    """``activation(norm(layer(before(x))))`` with a 1x1 convolution; in inference one linear layer.

    In training the convolution is one where the CPU's products for it are own ones (``linear_bf16``).

    Shape:
        ``(B, C, H, W) -> (B, E, H, W)``, channels last in memory in inference.
    """
    modules = [module for module in (before, layer, norm, activation) if module is not None]
    if not is_inference(*modules):
        x = x if before is None else _normed(before, None, x)
        return _normed(norm, activation, _as_linear(layer, x))
    weight, bias = fold(layer, before, norm)
    tokens, weight = x.permute(0, 2, 3, 1), weight.flatten(1)
    if activation is None:
        return linear(tokens, weight, bias).permute(0, 3, 1, 2)
    return linear_gelu(tokens, weight, bias, activation.approximate).permute(0, 3, 1, 2)


def _normed(norm: nn.BatchNorm2d | None, activation: nn.GELU | None, x: Tensor) -> Tensor:
    """``activation(norm(x))``, each if there is one; in training on a GPU the two have one gradient."""
    plain = activation is None or (type(activation) is nn.GELU and not has_hooks(activation))
    if norm is not None and plain and not has_hooks(norm) and rows.batch_norms(norm, x):
        return rows.batch_norm(norm, x, "" if activation is None else activation.approximate)
    x = x if norm is None else activate(norm, x)
    return x if activation is None else activate(activation, x)


def _as_linear(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """``layer(x)`` with a 1x1 convolution; by the product of a linear layer where that is an own one."""
    tokens, weight = x.permute(0, 2, 3, 1), layer.weight.flatten(1)
    if has_hooks(layer) or not tokens.is_contiguous() or not has_own_product(tokens, weight, layer.bias):
        return activate(layer, x)
    return linear(tokens, weight, layer.bias).permute(0, 3, 1, 2)


def conv_gelu(layer: SameConv, x: Tensor, activation: nn.GELU, norm: nn.BatchNorm2d | None = None) -> Tensor:
    """``activation(norm(layer(x)))``; in inference one pass."""
    modules = [module for module in (layer, norm, activation) if module is not None]
    if not is_inference(*modules):
        return _normed(norm, activation, activate(layer, x))
    return layer.gelu(x, *fold(layer, norm=norm), activation.approximate)


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Factor and summand of each channel that a batch norm is outside of training."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale

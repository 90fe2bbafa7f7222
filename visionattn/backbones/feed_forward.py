"""The feed-forward network of a block, and those with a depthwise convolution inside.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from visionattn.kernels.activation import activate
from visionattn.kernels.depthwise import on_map
from visionattn.kernels.linear import Linear, feed_forward, linear_then


class FeedForward(nn.Module):
    """Two linear layers with an activation between.

    Vaswani et al. 2017, arXiv 1706.03762; with GELU (Hendrycks and Gimpel 2016, arXiv 1606.08415) in every published
    backbone here.

    Args:
        in_features: channels C.
        hidden_features: channels between the layers.
        act_layer: activation factory, called without arguments.

    Shape:
        ``(..., C) -> (..., C)``
    """

    def __init__(self, in_features: int, hidden_features: int, *, act_layer: Callable[[], nn.Module] = nn.GELU):
        super().__init__()
        self.fc1, self.act = Linear(in_features, hidden_features), act_layer()
        self.fc2 = Linear(hidden_features, in_features)

    def forward(self, x: Tensor) -> Tensor:
        return feed_forward(self.fc1, self.act, self.fc2, x)


class _WithConvolution(nn.Module):
    """Two linear layers, an activation, and a depthwise 3x3 convolution of a hidden map."""

    def __init__(
        self, in_features: int, hidden_features: int, *, act_layer: Callable[[], nn.Module] = nn.GELU, parts: int = 1
    ):
        super().__init__()
        self.fc1, self.act = Linear(in_features, parts * hidden_features), act_layer()
        self.conv = nn.Conv2d(hidden_features, hidden_features, 3, padding=1, groups=hidden_features)
        self.fc2 = Linear(hidden_features, in_features)

    def convolved(self, x: Tensor) -> Tensor:
        """The convolution of a map whose channels come last."""
        return on_map(self.conv, x)


class ConvFeedForward(_WithConvolution):
    """A linear layer, a depthwise 3x3 convolution, an activation, a linear layer.

    Wang et al. 2021, *PVT v2: Improved Baselines with Pyramid Vision Transformer*, arXiv 2106.13797.

    Args:
        in_features: channels C.
        hidden_features: channels between the layers.
        act_layer: activation factory, called without arguments.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(activate(self.act, self.convolved(self.fc1(x))))


class ResidualConvFeedForward(_WithConvolution):
    """Two linear layers; after the activation between them a depthwise 3x3 convolution is added to its own input.

    Fan et al. 2023, *RMT: Retentive Networks Meet Vision Transformers*, arXiv 2309.11523.

    Args:
        in_features: channels C.
        hidden_features: channels between the layers.
        act_layer: activation factory, called without arguments.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def forward(self, x: Tensor) -> Tensor:
        hidden = linear_then(self.fc1, self.act, x)
        return self.fc2(hidden + self.convolved(hidden))


class GatedConvFeedForward(_WithConvolution):
    """A linear layer to two halves; one is convolved depthwise, activated and multiplied with the other.

    Shi 2023, *TransNeXt: Robust Foveal Visual Perception for Vision Transformers*, arXiv 2311.17132 (ConvGLU). The
    halves have two thirds of the hidden channels each, rounded down, so that the size is about that of two layers.

    Args:
        in_features: channels C.
        hidden_features: channels between the layers of a network without a gate.
        act_layer: activation factory, called without arguments.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``
    """

    def __init__(self, in_features: int, hidden_features: int, *, act_layer: Callable[[], nn.Module] = nn.GELU):
        super().__init__(in_features, 2 * hidden_features // 3, act_layer=act_layer, parts=2)

    def forward(self, x: Tensor) -> Tensor:
        gate, values = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(activate(self.act, self.convolved(gate)) * values)


class ContextBroadcasting(nn.Module):
    """A feed-forward network whose result is averaged with its mean over all tokens: uniform attention.

    Hyeon-Woo et al. 2022, *Scratching Visual Transformer's Back with Uniform Attention*, arXiv 2210.08457.

    ``y = (ffn(x) + mean) / 2``. Around the second linear layer the place does not matter: the layer and the mean
    commute. No code was published. What was not to be had of the text is our choice: the scaled form is ``ffn(x) +
    scale * mean``, and its scales start at 0. Tokens that a stage adds around its map are counted.

    Args:
        in_features: channels C.
        hidden_features: channels between the layers.
        ffn: factory of the network, called with both.
        scaled: learn one factor on the mean per channel instead.

    Shape:
        ``(B, ..., C) -> (B, ..., C)``
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        ffn: Callable[..., nn.Module] = FeedForward,
        scaled: bool = False,
    ):
        super().__init__()
        self.ffn = ffn(in_features=in_features, hidden_features=hidden_features)
        self.scale = nn.Parameter(torch.zeros(in_features)) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        x = self.ffn(x)
        mean = x.mean(tuple(range(1, x.ndim - 1)), keepdim=True)
        return (x + mean) / 2 if self.scale is None else x + self.scale * mean

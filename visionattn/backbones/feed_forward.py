"""The feed-forward network of a block."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from visionattn.kernels.linear import Linear, linear_then


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
        return self.fc2(linear_then(self.fc1, self.act, x))

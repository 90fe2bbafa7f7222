"""Window attention by the cosine of queries and keys, with a continuous position bias.

Shapes: B batch, H W map, C channels, N heads, D head width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from visionattn.attention.continuous import ContinuousPositionBias
from visionattn.attention.padding import at_most
from visionattn.attention.window import WindowAttention
from visionattn.kernels import window_attention
from visionattn.kernels.geometry import as_pair
from visionattn.kernels.linear import Linear, linear
from visionattn.kernels.signature import stats_dtype

if TYPE_CHECKING:
    from jaxtyping import Float

_LARGEST_SCALE = 100.0
_SHORTEST = 1e-12


class CosineWindowAttention(WindowAttention):
    """Attention inside windows, every second block shifted, with logits that stay in bounds.

    Liu et al. 2021, *Swin Transformer V2: Scaling Up Capacity and Resolution*, arXiv 2111.09883.

    A logit is the cosine between query and key, times a learned factor of the head, at most 100, plus a position bias
    that a small network computes from the logarithm of the distance, so that the weights serve windows of every size.
    Windows, shifts and padding are those of :class:`WindowAttention`. Cost per query: ``2 * D * wh * ww``
    multiply-adds and head, and the network once for ``(2*wh-1) * (2*ww-1)`` distances.

    Differences from the published code: it drops the shift on both axes, and makes the window square, where the map is
    not larger than the window on one of them; here, as in timm, each axis is treated by itself, so that a long map
    keeps windows that exchange tokens. The two agree on square images. timm's shifted blocks let opposite borders of a
    map meet where windows do not divide it (its issue 2438); here they never do.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: position of the block in its stage; odd blocks are shifted.
        window_size: tokens along each side of a window, one number or (height, width). A smaller map is one window,
            and distances are then shares of that.
        trained_window: the window that distances are shares of, where the weights were trained with another one; None:
            the window itself.
        shift: move the lines of odd blocks.
        qkv_bias: biases in the projections of queries and values; keys have none.
        mask_padding: never attend to padding.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``window_size`` or ``trained_window`` is not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    no_weight_decay_parameters: ClassVar[tuple[str, ...]] = (
        "logit_scale",
        "bias.network.0.weight",
        "bias.network.2.weight",
    )
    position_tables: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        window_size: int | tuple[int, int] = 8,
        trained_window: int | tuple[int, int] | None = None,
        shift: bool = True,
        qkv_bias: bool = True,
        mask_padding: bool = False,
        backend: str = "auto",
    ):
        super().__init__(
            dim,
            num_heads,
            index,
            window_size=window_size,
            shift=shift,
            bias=False,
            qkv_bias=False,
            mask_padding=mask_padding,
            backend=backend,
        )
        if qkv_bias:
            self.qkv = _BiasedQueryValue(dim, 3 * dim)
        self.logit_scale = nn.Parameter(torch.full((num_heads,), math.log(10.0)))
        self.bias = ContinuousPositionBias(num_heads)
        self.trained_window = None if trained_window is None else as_pair("trained_window", trained_window)
        sides = (*self.window_size, *(self.trained_window or ()))
        if min(sides) < 1:
            raise ValueError(f"window_size and trained_window must be positive, got {window_size} and {trained_window}")

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        q, k, v = qkv.unbind(3)
        factor = self.logit_scale.clamp(max=math.log(_LARGEST_SCALE)).exp()[:, None]
        (rows, columns), (height, width) = self.window_size, qkv.shape[1:3]
        whole = self.trained_window or (at_most(rows, height), at_most(columns, width))
        return window_attention(
            direction(q, factor),
            direction(k),
            v,
            window=self.window_size,
            shift=self._shift(qkv.shape[1], qkv.shape[2]),
            bias=self.bias(self.window_size, whole),
            scale=1.0,
            backend=self.backend,
        )


def direction(x: Float[Tensor, "B H W N D"], factor: Float[Tensor, "N 1"] | None = None) -> Float[Tensor, "B H W N D"]:
    """Vectors of length 1, or of a head's ``factor``, in the type of ``x``; the length is taken in float32 at least.

    A vector of zeros, as padding has it, stays what it is and gets a finite gradient in every type.
    """
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=stats_dtype(x.dtype))
    unit = x / torch.where(length > _SHORTEST, length, 1.0)
    return (unit if factor is None else unit * factor).to(x.dtype)


class _BiasedQueryValue(Linear):
    """A projection to queries, keys and values ``(..., C) -> (..., 3 * C)`` without a bias of the keys."""

    def __init__(self, in_features: int, out_features: int):
        super().__init__(in_features, out_features, bias=False)
        self.q_bias, self.v_bias = (nn.Parameter(torch.zeros(in_features)) for _ in range(2))

    def forward(self, input: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W 3*C"]:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return linear(input, self.weight, bias)

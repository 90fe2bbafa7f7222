"""Gated positional self-attention: each head weighs content against a place beside the query.

Shapes: B batch, H W map, C channels, N heads, D head width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visionattn.attention.qkv import QKVAttention
from visionattn.kernels import window_attention
from visionattn.kernels.geometry import window_geometry
from visionattn.kernels.linear import Linear, linear
from visionattn.kernels.recording import RecordedMap, report
from visionattn.kernels.signature import stats_dtype

if TYPE_CHECKING:
    from jaxtyping import Float


class GatedPositionalAttention(QKVAttention):
    """Attention over the whole map that starts as a convolution and may learn to leave it.

    d'Ascoli et al. 2021, *ConViT: Improving Vision Transformers with Soft Convolutional Inductive Biases*, arXiv
    2103.10697.

    Each head has two softmaxes, one over queries times keys and one over a quadratic function of the offset, and a gate
    that weighs them, 0.73 for position at first. Values start as the input itself and heads as single taps of a square
    kernel, ``floor(sqrt(N))`` tokens a side; further heads start without a place.

    The softmax over position falls into one over rows and one over columns, so that its attention costs
    ``D * (H + W)`` multiply-adds a query and head instead of ``D * H * W``, and needs no matrix over all pairs. Cost of
    the other one: ``2 * D * H * W``.

    Differences from the published code: maps need not be square; the bias of the position's linear layer, which is the
    same for all keys and drops out of the softmax, does not exist; nor does the division by the sum of the weights,
    which is 1.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        locality: how narrow heads are about their places at first.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend of the attention to content by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, or ``locality`` is not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    no_weight_decay_parameters = ("gate", "place")

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        locality: float = 1.0,
        qkv_bias: bool = False,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        if locality <= 0:
            raise ValueError(f"locality must be positive, got {locality}")
        self.backend = backend
        self.qkv = _IdentityValue(dim, qkv_bias)
        self.gate = nn.Parameter(torch.ones(num_heads))
        self.place = nn.Parameter(locality * _taps(num_heads))

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        height, width = qkv.shape[1:3]
        content = window_attention.packed(qkv, window=(height, width), backend=self.backend)
        position = self._by_position(qkv[:, :, :, 2].to(content.dtype))
        gate = self.gate.sigmoid()[:, None]
        return ((1 - gate) * content + gate * position).to(content.dtype)

    def _by_position(self, v: Float[Tensor, "B H W N D"]) -> Float[Tensor, "B H W N D"]:
        """The values, weighed by their offset from the query."""
        across, down, squared = self.place.to(stats_dtype(self.place.dtype)).unbind(1)
        rows, columns = _logits(down, squared, v.shape[1]), _logits(across, squared, v.shape[2])
        to_rows, to_columns = (_pairs(table).softmax(-1).to(v.dtype) for table in (rows, columns))
        out = torch.einsum("nwj,bijnd->biwnd", to_columns, v)
        out = torch.einsum("nhi,biwnd->bhwnd", to_rows, out)
        report(lambda: _recorded(v, out, rows[:, :, None] + columns[:, None]))
        return out

    def extra_repr(self) -> str:
        return f"num_heads={self.num_heads}"


def _logits(slope: Float[Tensor, " N"], curvature: Float[Tensor, " N"], side: int) -> Float[Tensor, "N 2*{side}-1"]:
    """The logits of one axis by key minus query."""
    offset = torch.arange(1 - side, side, device=slope.device, dtype=slope.dtype)
    return slope[:, None] * offset + curvature[:, None] * offset**2


def _pairs(table: Float[Tensor, "N S"]) -> Float[Tensor, "N L L"]:
    """The logits of one axis for each query and key."""
    at = torch.arange((table.shape[1] + 1) // 2, device=table.device)
    return table[:, at[None] - at[:, None] + at.shape[0] - 1]


def _recorded(v: Tensor, out: Tensor, table: Tensor) -> RecordedMap:
    """Attention by position, as what it is: a window over the whole map with a bias and nothing else."""
    height, width = v.shape[1:3]
    nothing = v.new_zeros(*v.shape[:4], 1)
    geometry = window_geometry(height, width, (height, width), (0, 0), (1, 1))
    return RecordedMap(nothing, nothing, v, out, table, geometry, 1.0)


def _taps(num_heads: int) -> Float[Tensor, "N 3"]:
    """Factors of the offset's column, row and squared length: a peak at one tap of a square kernel for each head."""
    side = math.isqrt(num_heads)
    center = (side - 1) / 2 if side % 2 == 0 else side // 2
    factors = nn.init.trunc_normal_(torch.empty(num_heads, 3), std=0.02)
    for head in range(side * side):
        column, row = divmod(head, side)
        factors[head] = torch.tensor([2 * (column - center), 2 * (row - center), -1.0])
    return factors


class _IdentityValue(Linear):
    """A projection to queries, keys and values ``(..., C) -> (..., 3 * C)`` whose values start as the input.

    ``weight`` and ``bias`` are those of queries and keys; ``value`` stands beside them, where a backbone that starts
    all linear layers anew does not reach it.
    """

    def __init__(self, dim: int, bias: bool):
        super().__init__(dim, 2 * dim, bias=bias)
        self.value = nn.Parameter(torch.eye(dim))
        self.value_bias = nn.Parameter(torch.zeros(dim)) if bias else None

    def forward(self, input: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W 3*C"]:
        bias = None if self.value_bias is None else torch.cat([self.bias, self.value_bias])
        return linear(input, torch.cat([self.weight, self.value]), bias)

"""Attention that decays along polylines, with steps that every token chooses.

Shapes: B batch, H W map, C channels, N heads, D head width.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.mixer import StageContext
from visionattn.attention.qkv import QKVAttention, head_width
from visionattn.attention.rotary import Rotary
from visionattn.kernels import window_attention
from visionattn.kernels.eager import autocast_disabled
from visionattn.kernels.linear import Linear
from visionattn.kernels.polyline import polyline_attention

if TYPE_CHECKING:
    from jaxtyping import Float

_STEPS, _DECAYS = (1e-3, 1e-1), (1.0, 1.1)
"""Between which steps and decays start."""


class PolylineAttention(QKVAttention):
    """Polyline path masked attention: logits fall along a row and a column, by learned steps that depend on the tokens.

    Zhao et al. 2025, *Polyline Path Masked Attention for Vision Transformer*, arXiv 2506.15940.

    A linear layer, the same for all heads, gives a step along the row and one along the column for each token and head:
    ``softplus(step + step_bias) * exp(log_decay)``. The sum of steps between two tokens of a row or column is
    subtracted from their logit. Over the whole map it is the mean of two softmaxes, for the way along the row first
    and the way along the column first. Otherwise as :class:`visionattn.attention.ManhattanAttention`: rotary position
    on the flattened map, a depthwise convolution of the values. Cost per query: ``2 * D * H * W`` multiply-adds and
    head.

    ``decomposed``: the mean of attention along rows and then along columns, and of the reverse: ``4 * D * (H + W)``.

    The paper multiplies the softmax's weights by the mask; the code adds its logarithm before the softmax, and so does
    this. The published code holds the mask of all pairs of tokens; here it is never held.

    Args:
        dim: channels C.
        num_heads: heads N, of an even width.
        index: ignored; all blocks are alike.
        decomposed: along rows and along columns.
        lepe: side of the kernel of the convolution of the values; None: no convolution.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto"; the attention over the whole map has one formulation alone.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, or the heads' width is odd.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    no_weight_decay_parameters = ("step_bias", "log_decay")

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        decomposed: bool = False,
        lepe: int | None = 5,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        width = head_width(dim, num_heads)
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, lepe=lepe, rotary=Rotary(width))
        self.decomposed, self.backend = decomposed, backend
        self.without_softmax = not decomposed  # no backend computes it
        self.step = Linear(width, 2, bias=False)
        first = torch.empty(num_heads).uniform_(*map(math.log, _STEPS)).exp()
        self.step_bias = nn.Parameter(first + torch.log(-torch.expm1(-first)))  # softplus gives the first steps
        self.log_decay = nn.Parameter(torch.empty(num_heads).uniform_(*_DECAYS).log())

    def places(self, x: Float[Tensor, "B H W C"]) -> tuple[Float[Tensor, "B H W N"], Float[Tensor, "B H W N"]]:
        """How far down its column and along its row each token lies, in float32 or wider."""
        steps = self.step(x.unflatten(-1, (self.num_heads, -1)))
        steps = steps.to(torch.promote_types(steps.dtype, torch.float32))
        steps = F.softplus(steps + self.step_bias[:, None]) * self.log_decay.exp()[:, None]
        across, down = steps.unbind(-1)
        return prefix_sums(down, 1), prefix_sums(across, 2)

    def mix(
        self, qkv: Float[Tensor, "B H W 3 N D"], context: StageContext | None, x: Float[Tensor, "B H W C"]
    ) -> Float[Tensor, "B H W N D"]:
        down, across = self.places(x)
        q, k, v = self.turned(qkv, context).unbind(3)
        if not self.decomposed:
            return polyline_attention(q, k, v, down=down, across=across)
        height, width = q.shape[1:3]

        def along_rows(values: Tensor) -> Tensor:
            return window_attention(q, k, values, window=(1, width), decay=across, backend=self.backend)

        both = torch.cat([v, along_rows(v)], dim=-1)
        both = window_attention(q, k, both, window=(height, 1), decay=down, backend=self.backend)
        down_first, across_first = both.chunk(2, dim=-1)
        return (along_rows(down_first) + across_first) / 2

    def extra_repr(self) -> str:
        return f"decomposed={self.decomposed}, num_heads={self.num_heads}"


def prefix_sums(x: Float[Tensor, "B H W N"], axis: int) -> Float[Tensor, "B H W N"]:
    """Sums of all that comes before on an axis, and of the number itself.

    Where only deterministic algorithms are allowed, torch refuses its own on CUDA: then it is a product in float64.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return x.cumsum(axis)
    with autocast_disabled(x.device):
        lower = torch.ones(x.shape[axis], x.shape[axis], dtype=torch.float64, device=x.device).tril()
        return torch.tensordot(lower, x.double(), dims=([1], [axis])).movedim(0, axis).to(x.dtype)

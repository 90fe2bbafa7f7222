"""Linear attention that keeps the magnitude of queries.

Shapes: B batch, H W map, T tokens, N heads, D head width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional as F

from visionattn.attention.linear import Factors, at_least_float32, inner_sum, linear_attention
from visionattn.attention.mixer import StageContext
from visionattn.attention.qkv import QKVAttention, head_width
from visionattn.attention.rotary import Rotary
from visionattn.kernels.eager import autocast_disabled

if TYPE_CHECKING:
    from jaxtyping import Float


class MagnitudeAttention(QKVAttention):
    """Magnitude-aware linear attention (MALA): an offset normalizes the weights, not a division.

    Fan et al. 2025, *Rectifying Magnitude Neglect in Linear Attention*, arXiv 2507.00698.

    With ``phi = elu + 1`` and z the mean over all keys of ``phi(q) . phi(k) / sqrt(D)``, a query weighs a key by
    ``phi(q) . phi(k) / sqrt(D) * (1 + 1 / z) - z``, divided by the number of tokens: the weights of a row sum to 1, and
    a longer query concentrates them, which a denominator would undo. Weights may be negative. Features are turned by
    the row and the column of their token (axial rotary position), z is taken before that, so that rows sum to 1 only
    nearly. A depthwise convolution of the values is added and all is multiplied with a gate, the fourth part of the
    projection. Cost per query: ``2 * D**2`` multiply-adds and head. As in the published code, 1e-6 is added to z below
    1; it computes in the precision of the input, this class in float32.

    Args:
        dim: channels C.
        num_heads: heads N, of a width that 4 divides.
        index: ignored; all blocks are alike.
        lepe: side of the kernel of the convolution of the values; None: no convolution.
        output_gate: multiply the result with a part of the projection.
        qkv_bias: bias in the projection.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, or the heads' width none of 4.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    rotary: Rotary

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        lepe: int | None = 5,
        output_gate: bool = True,
        qkv_bias: bool = True,
    ):
        rotary = Rotary(head_width(dim, num_heads), axial=True)
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, lepe=lepe, rotary=rotary, output_gate=output_gate)

    def mix(
        self, qkv: Float[Tensor, "B H W 3 N D"], context: StageContext | None, x: Float[Tensor, "B H W C"]
    ) -> Float[Tensor, "B H W N D"]:
        with autocast_disabled(qkv.device):
            qkv32 = at_least_float32(qkv)
            features, v = F.elu(qkv32[:, :, :, :2]) + 1, qkv32[:, :, :, 2].flatten(1, 2)
            q, k = features.flatten(1, 2).unbind(2)
            scale = q.shape[-1] ** -0.5
            z = scale * inner_sum(q, k.mean(1, keepdim=True))
            factors = Factors(queries=(1 + 1 / (z + 1e-6)) * scale / q.shape[1], mean=z)
            q, k = self.rotary.turn(features, context).flatten(1, 2).unbind(2)
            return linear_attention(q, k, v, factors).to(qkv.dtype).view(*qkv.shape[:3], *qkv.shape[4:])

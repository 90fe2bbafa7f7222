"""Multi-head attention around one fused operator: project to q, k, v, attend, project back.

Shapes: B batch, H W map, C channels, N heads, D head width.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visionattn.attention.gates import gated
from visionattn.attention.local_encoding import LocalEncoding
from visionattn.attention.mixer import StageContext
from visionattn.attention.rotary import Rotary
from visionattn.kernels.linear import Linear

if TYPE_CHECKING:
    from jaxtyping import Float


def head_width(dim: int, num_heads: int) -> int:
    """Channels of one head.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``.
    """
    if num_heads < 1 or dim % num_heads:
        raise ValueError(f"dim {dim} is not a multiple of num_heads {num_heads}")
    return dim // num_heads


class QKVAttention(nn.Module):
    """Base of the mixers whose queries, keys and values come from one linear layer.

    A subclass implements :meth:`attend`, which decides which keys a query sees.

    Args:
        dim: channels C; a multiple of ``num_heads``.
        num_heads: heads N.
        qkv_bias: bias in the q, k, v projection.
        lepe: side of the kernel of a :class:`LocalEncoding` of the values, which is added to what :meth:`attend` gives;
            None: none.
        lepe_of_input: the encoding is one of the input, as in the last stage of BiFormer (arXiv 2303.08810).
        rotary: how queries and keys are turned before; None: not.
        output_gate: the projection has a fourth part, with which all of this is multiplied before ``proj`` (MALA).

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``.
    """

    gates_heads = True

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        qkv_bias: bool = True,
        lepe: int | None = None,
        lepe_of_input: bool = False,
        rotary: Rotary | None = None,
        output_gate: bool = False,
    ):
        super().__init__()
        head_width(dim, num_heads)
        self.num_heads = num_heads
        self.output_gate = output_gate
        self.qkv = Linear(dim, (4 if output_gate else 3) * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)
        self.position = LocalEncoding(dim, lepe) if lepe is not None else None
        self.lepe_of_input = lepe_of_input
        self.rotary = rotary

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        b, h, w, c = x.shape
        projected = self.qkv(x)
        packed, gate = projected.split([3 * c, c], dim=-1) if self.output_gate else (projected, None)
        qkv = packed.view(b, h, w, 3, self.num_heads, c // self.num_heads)
        mixed = self.mix(qkv, context, x)
        if self.position is not None:
            v = qkv[:, :, :, 2]
            mixed = mixed + self.position(x.view(v.shape) if self.lepe_of_input else v)
        out = gated(mixed, context).reshape(b, h, w, c)
        return self.proj(out if gate is None else out * gate)

    def mix(
        self, qkv: Float[Tensor, "B H W 3 N D"], context: StageContext | None, x: Float[Tensor, "B H W C"]
    ) -> Float[Tensor, "B H W N D"]:
        """Turn queries and keys, then :meth:`attend`; a mixer that needs more of its input ``x`` overrides this."""
        return self.attend(self.turned(qkv, context))

    def turned(self, qkv: Float[Tensor, "B H W 3 N D"], context: StageContext | None) -> Float[Tensor, "B H W 3 N D"]:
        """The same with queries and keys turned by their position, if ``rotary`` says so."""
        if self.rotary is None:
            return qkv
        return torch.cat([self.rotary.turn(qkv[:, :, :, :2], context), qkv[:, :, :, 2:]], dim=3)

    @abstractmethod
    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        """Attention of queries, keys and values in one tensor ``(B, H, W, 3, N, D)``; returns ``(B, H, W, N, D)``."""

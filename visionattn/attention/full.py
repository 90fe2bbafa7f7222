"""Full self-attention: every token attends to every token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from visionattn.attention.qkv import QKVAttention, head_width
from visionattn.attention.rotary import Rotary
from visionattn.kernels import window_attention

if TYPE_CHECKING:
    from jaxtyping import Float


class FullAttention(QKVAttention):
    """Attention over the whole map.

    Vaswani et al. 2017, *Attention Is All You Need*, arXiv 1706.03762; on image tokens: Dosovitskiy et al. 2020, arXiv
    2010.11929.

    The yardstick for the local mixers: one window as large as the map, without a position bias. Cost per query:
    ``2 * D * H * W`` multiply-adds and head.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        lepe: side of the kernel of a locally-enhanced position encoding, see
            :class:`visionattn.attention.LocalEncoding`; None: no encoding.
        lepe_of_input: it encodes the input, not the values, as in the last stage of BiFormer (arXiv 2303.08810).
        rotary: turn queries and keys by the row and column of their token (``axial``) or by its index on the flattened
            map (``flat``), see :class:`visionattn.attention.Rotary`; None: not.
        output_gate: multiply the result with a fourth part of the projection.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, a ``rotary`` of another name, or one that cannot pair
            the channels of a head.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        lepe: int | None = None,
        lepe_of_input: bool = False,
        rotary: str | None = None,
        output_gate: bool = False,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        if rotary not in (None, "axial", "flat"):
            raise ValueError(f"rotary is axial, flat or null, got {rotary}")
        turn = None if rotary is None else Rotary(head_width(dim, num_heads), axial=rotary == "axial")
        encoding: dict[str, Any] = {"lepe": lepe, "lepe_of_input": lepe_of_input}
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, rotary=turn, output_gate=output_gate, **encoding)
        self.backend = backend

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        q, k, v = qkv.unbind(3)
        return window_attention(q, k, v, window=(q.shape[1], q.shape[2]), backend=self.backend)

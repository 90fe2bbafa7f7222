"""Multi-scale heads: the heads of one attention see neighborhoods of different sizes.

Shapes: B batch, H W map, C channels, N heads, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import at_least, fit, position_table
from visionattn.attention.qkv import QKVAttention
from visionattn.kernels import neighborhood_attention

if TYPE_CHECKING:
    from jaxtyping import Float


class MultiScaleAttention(QKVAttention):
    """Neighborhood attention with one size of neighborhood for each group of heads.

    Xu et al. 2025, *MSWA: Refining Local Attention with Multi-Scale Window Attention*, arXiv 2501.01039; for
    spectrograms: Yadav et al. 2023, *Masked Autoencoders with Multi-Window Local-Global Attention Are Better Audio
    Learners*, arXiv 2306.00561.

    The heads are divided evenly among the sizes, in their order; one projection before and one after serve all. What
    each group does is :class:`NeighborhoodAttention`. Cost per query: ``2 * D * kernel_size**2`` multiply-adds and
    head of a group.

    Both papers work on sequences, the first one with causal windows of w/4, w/2, w and 2w, which also grow from layer
    to layer; here neighborhoods are squares about the token, and each stage has its own sizes. A map smaller than the
    largest neighborhood is enlarged with zeros at the bottom and the right, which are attended to.

    Args:
        dim: channels C.
        num_heads: heads N, a multiple of the number of sizes.
        index: ignored; all blocks are alike.
        kernel_sizes: keys along each side, one for each group of heads.
        bias: learn a relative-position bias.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: no size, a size below 2, or heads that the sizes do not divide.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        kernel_sizes: Sequence[int] = (3, 7),
        bias: bool = True,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        self.kernel_sizes, self.backend = tuple(kernel_sizes), backend
        groups = len(self.kernel_sizes)
        if not groups or min(self.kernel_sizes) < 2 or num_heads % groups:
            raise ValueError(
                f"kernel_sizes needs sizes of 2 or more whose number divides the heads, "
                f"got {list(kernel_sizes)} for {num_heads} heads"
            )
        names = tuple(f"bias_table{group + 1}" for group in range(groups)) if bias else ()
        self.position_tables = self.no_weight_decay_parameters = names
        for name, size in zip(names, self.kernel_sizes, strict=False):
            self.register_parameter(name, position_table(num_heads // groups, (size, size)))

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        height, width = x.shape[1:3]
        x = fit(x, (at_least(height, max(self.kernel_sizes)), at_least(width, max(self.kernel_sizes))))
        return fit(super().forward(x, context), (height, width))

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        groups = zip(qkv.chunk(len(self.kernel_sizes), dim=4), self.kernel_sizes, self._tables(), strict=True)
        heads = [
            neighborhood_attention.packed(group, kernel_size=size, bias=table, backend=self.backend)
            for group, size, table in groups
        ]
        return torch.cat(heads, dim=3)

    def _tables(self) -> list[Tensor | None]:
        """The bias of each group."""
        return [getattr(self, name) for name in self.position_tables] or [None for _ in self.kernel_sizes]

    def extra_repr(self) -> str:
        return f"kernel_sizes={self.kernel_sizes}, num_heads={self.num_heads}"

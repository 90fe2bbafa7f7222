"""Multipole attention: one window attention on a map and on coarser copies of it.

Shapes: B batch, H W map, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import fit, round_up
from visionattn.attention.window import WindowAttention
from visionattn.kernels.norm import LayerNorm

if TYPE_CHECKING:
    from jaxtyping import Float


class MultipoleAttention(nn.Module):
    """Window attention over a pyramid of maps, whose results are added from the coarsest to the finest.

    Colagrande et al. 2025, *Linear Attention with Global Context: A Multipole Attention Mechanism for Vision and
    Physics* (MANO), arXiv 2507.02748.

    A convolution makes each coarser map, the same attention with the same weights runs on all of them, and a transposed
    convolution brings a result to the next finer map, where it is added with the factors 1, 1/2, 1/3, ... A window sees
    ``rate**(levels - 1)`` times its side. Cost: that of the windows, ``2 * D * window_size**2`` multiply-adds a query
    and head, and a third more for all coarser maps at a rate of 2, at every size of the map.

    Differences from the published code: windows do not overlap, and are shifted in odd blocks and have a position bias
    as in Swin, whose weights fit; there are as many levels as asked for, not as many as halvings of the map; a map that
    the rate does not divide is enlarged with zeros at the bottom and the right. The norm before attention is the
    block's on the finest map, and one for all coarser ones here.

    :mod:`visionattn.analysis` shows the attention on the finest map alone.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: position of the block in its stage; odd blocks are shifted.
        window_size: tokens along each side of a window, on every level.
        levels: maps, the finest included.
        rate: tokens along each side of what a token of the next level stands for.
        learned: convolutions between levels; False: means, and each token repeated.
        shift: move the lines of odd blocks.
        bias: learn a relative-position bias, one for all levels.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, ``levels`` is not positive, or ``rate`` is below 2.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    map_calls = 1

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        window_size: int | tuple[int, int] = 7,
        levels: int = 3,
        rate: int = 2,
        learned: bool = True,
        shift: bool = True,
        bias: bool = True,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__()
        if levels < 1 or rate < 2:
            raise ValueError(f"levels is 1 or more and rate 2 or more, got levels {levels} and rate {rate}")
        self.levels, self.rate = levels, rate
        self.attention = WindowAttention(
            dim,
            num_heads,
            index,
            window_size=window_size,
            shift=shift,
            bias=bias,
            qkv_bias=qkv_bias,
            backend=backend,
        )
        coarser = levels > 1
        self.norm = LayerNorm(dim) if coarser else None
        self.down = nn.Conv2d(dim, dim, rate, stride=rate, bias=False) if coarser and learned else None
        self.up = nn.ConvTranspose2d(dim, dim, rate, stride=rate, bias=False) if coarser and learned else None

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        maps = [x]
        for _ in range(1, self.levels):
            maps.append(self._coarser(maps[-1]))
        result, *finer = [self.attention(level if i == 0 else self._normed(level)) for i, level in enumerate(maps)][
            ::-1
        ]
        for step, level in enumerate(finer, start=1):
            result = level + fit(self._finer(result), (level.shape[1], level.shape[2])) / step
        return result

    def _normed(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B H W C"]:
        return x if self.norm is None else self.norm(x)

    def _coarser(self, x: Float[Tensor, "B H W C"]) -> Float[Tensor, "B h w C"]:
        x = fit(x, (round_up(x.shape[1], self.rate), round_up(x.shape[2], self.rate))).permute(0, 3, 1, 2)
        return (F.avg_pool2d(x, self.rate) if self.down is None else self.down(x)).permute(0, 2, 3, 1)

    def _finer(self, x: Float[Tensor, "B h w C"]) -> Float[Tensor, "B H W C"]:
        if self.up is None:
            return x.repeat_interleave(self.rate, dim=1).repeat_interleave(self.rate, dim=2)
        return self.up(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, rate={self.rate}"

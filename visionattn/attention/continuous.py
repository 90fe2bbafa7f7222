"""Position by small networks instead of tables, so that one set of weights serves windows of every size.

Shapes: B batch, H W map, C channels, N heads, D head width, R S distances along the axes, rows and columns of windows,
P tokens and T carrier tokens of a window, K = T + P.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import at_least, dense_table, fit, round_up
from visionattn.attention.qkv import QKVAttention
from visionattn.kernels import window_attention
from visionattn.kernels.recording import Groups
from visionattn.kernels.tokens import Places, for_tokens, token_attention

if TYPE_CHECKING:
    from jaxtyping import Float, Real

_HIDDEN = 512
_LARGEST_BIAS = 16.0


class ContinuousPositionBias(nn.Module):
    """Relative-position bias from log-spaced coordinates: Liu et al. 2021, *Swin Transformer V2*, arXiv 2111.09883.

    A network of one hidden layer sees how far the key lies from the query, as a share of the window and on a
    logarithmic scale, and gives each head a bias.

    Args:
        num_heads: heads N.
        bounded: the bias lies between 0 and 16; False: it is what the network gives, whose last layer then has a bias
            of its own (Shi 2023, *TransNeXt*, arXiv 2311.17132).

    Shape:
        a window (wh, ww) in tokens ``-> (N, 2*wh-1, 2*ww-1)``, by key minus query.
    """

    def __init__(self, num_heads: int, *, bounded: bool = True):
        super().__init__()
        self.bounded = bounded
        self.network = nn.Sequential(nn.Linear(2, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, num_heads, bias=not bounded))

    def forward(
        self, window: tuple[int, int], whole: tuple[int, int] | None = None
    ) -> Float[Tensor, "N 2*{window[0]}-1 2*{window[1]}-1"]:
        """The table of a window.

        Args:
            window: its rows and columns of tokens.
            whole: the window that distances are shares of; None: the same one.
        """
        weight: Any = self.network[0].weight
        rows, columns = (torch.arange(side - 1, -side, -1, device=weight.device) for side in window)
        return self.at(rows, columns, window if whole is None else whole)

    def at(
        self, rows: Real[Tensor, " R"], columns: Real[Tensor, " S"], whole: tuple[int, int]
    ) -> Float[Tensor, "N R S"]:
        """The bias at distances of a query from a key: each of ``rows`` with each of ``columns``."""
        weight: Any = self.network[0].weight
        sides = zip((rows, columns), whole, strict=True)
        axes = [self._coordinates(distances, side).to(weight.dtype) for distances, side in sides]
        offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        out = self.network(offsets).permute(2, 0, 1)
        return _LARGEST_BIAS * out.sigmoid() if self.bounded else out

    @staticmethod
    def _coordinates(distances: Tensor, whole: int) -> Tensor:
        """8 to -8 in the ``whole`` before the logarithm."""
        share = distances.float() / at_least(whole - 1, 1) * 8
        return share.sign() * (share.abs() + 1).log2() / 3


class GridEncoding(nn.Module):
    """Absolute position in a grid, from a network that sees coordinates between -1 and 1.

    Hatamizadeh et al. 2023, *FasterViT*, arXiv 2306.06189.

    Args:
        dim: channels C.

    Shape:
        a grid (h, w) in tokens ``-> (h, w, C)``
    """

    def __init__(self, dim: int):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, dim, bias=False))

    def forward(self, grid: tuple[int, int]) -> Float[Tensor, "{grid[0]} {grid[1]} C"]:
        weight: Any = self.network[0].weight
        axes = [
            ((torch.arange(side, device=weight.device) - side // 2) / at_least(side // 2, 1)).to(weight.dtype)
            for side in grid
        ]
        return self.network(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1))


class ContinuousWindowAttention(QKVAttention):
    """Window attention with a continuous position bias.

    Hatamizadeh et al. 2023, *FasterViT: Fast Vision Transformers with Hierarchical Attention*, arXiv 2306.06189. The
    bias is that of Swin V2. Nothing is shifted. A map that windows do not divide is enlarged with zeros at the bottom
    and the right, and those tokens are attended to, as in the published code for any resolution. Cost per query:
    ``2 * D * wh * ww`` multiply-adds and head.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        window_size: tokens along each side of a window; None: one window as large as the map.
        carriers: carrier tokens along each side of a window, which connect the windows. A
            :class:`visionattn.backbones.CarrierStage` provides them; other stages do not.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``window_size`` is not positive, or ``carriers`` does not lie between 0 and ``window_size``.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        window_size: int | None = 7,
        carriers: int = 0,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        if window_size is not None and not 0 <= carriers <= window_size:
            raise ValueError(f"a window of {window_size} tokens a side cannot have {carriers} carriers a side")
        if window_size is not None and window_size < 1:
            raise ValueError(f"window_size must be positive, got {window_size}")
        self.window_size = self.encoded_window = window_size
        self.carriers = carriers if window_size is not None else 0
        self.backend = backend
        self.bias = ContinuousPositionBias(num_heads)

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        height, width = x.shape[1:3]
        if self.window_size is not None:
            x = fit(x, (round_up(height, self.window_size), round_up(width, self.window_size)))
        return fit(super().forward(x, context), (height, width))

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        window = tuple(qkv.shape[1:3]) if self.window_size is None else (self.window_size, self.window_size)
        return window_attention.packed(qkv, window=window, bias=self.bias(window), backend=self.backend)

    def with_carriers(self) -> CarrierAttention:
        """The same weights for windows with carriers."""
        return CarrierAttention(self)

    def among_carriers(self) -> ContinuousWindowAttention:
        """New attention of the same shape for the carriers of all windows."""
        return ContinuousWindowAttention(
            self.qkv.in_features,
            self.num_heads,
            window_size=None,
            qkv_bias=self.qkv.bias is not None,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        return f"window_size={self.window_size}, carriers={self.carriers}, num_heads={self.num_heads}"


class CarrierAttention(nn.Module):
    """Attention inside windows, each with its carrier tokens in front: Hatamizadeh et al. 2023, arXiv 2306.06189.

    The tokens of a window have a position bias among themselves; from and to carriers it is zero. A
    backend that ``token_attention`` does not have leaves the choice to it.

    Args:
        attention: the weights.

    Shape:
        ``(B, rows, columns, T + P, C) ->`` the same, P = ``attention.window_size`` squared.
    """

    def __init__(self, attention: ContinuousWindowAttention):
        super().__init__()
        self.attention = attention

    def forward(
        self, tokens: Float[Tensor, "B rows columns K C"], context: StageContext | None = None
    ) -> Float[Tensor, "B rows columns K C"]:
        b, rows, columns, t, c = tokens.shape
        heads, side = self.attention.num_heads, self.attention.window_size
        if side is None:
            raise ValueError("carriers belong to windows of a size, but the attention is over the whole map")
        table = self.attention.bias((side, side))
        front = t - side * side
        q, k, v = self.attention.qkv(tokens).view(-1, t, 3, heads, c // heads).unbind(2)
        groups = Groups(rows, columns, side, self.attention.carriers)
        places = Places(groups.grid, groups.grid, groups, table=table)
        bias = F.pad(dense_table(table), (front, 0, front, 0))
        out = token_attention(q, k, v, bias=bias, backend=for_tokens(self.attention.backend), places=places)
        return self.attention.proj(out.reshape(b, rows, columns, t, c))

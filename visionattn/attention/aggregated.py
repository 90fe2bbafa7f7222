"""TransNeXt's attention: each token sees its neighbors sharply and the rest of the map blurred, in one softmax.

Shapes: B batch, H W map, h w map of means, C channels, N heads, D head width, P = h * w means, L = kernel_size squared
neighbors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visionattn.attention.continuous import ContinuousPositionBias
from visionattn.attention.cosine_window import direction
from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import at_least, at_most, surround
from visionattn.attention.qkv import QKVAttention
from visionattn.attention.resizing import cell_edges, mean_cells
from visionattn.kernels import window_attention
from visionattn.kernels.geometry import certainly
from visionattn.kernels.linear import linear
from visionattn.kernels.norm import LayerNorm

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

_FIRST_TEMPERATURE = 1 / 0.24


class _ByDirection(QKVAttention):
    """Base of attention by the directions of queries and keys, scaled by the number of keys."""

    no_weight_decay_parameters: ClassVar[tuple[str, ...]] = (
        "temperature",
        "query_embedding",
        "bias.network.0.weight",
        "bias.network.2.weight",
    )

    def __init__(self, dim: int, num_heads: int, *, trained_map: int | None, qkv_bias: bool):
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)
        if trained_map is not None and trained_map < 1:
            raise ValueError(f"trained_map must be positive, got {trained_map}")
        self.trained_map = trained_map
        self.temperature = nn.Parameter(torch.full((num_heads, 1), math.log(math.expm1(_FIRST_TEMPERATURE))))
        self.query_embedding = nn.Parameter(torch.empty(num_heads, dim // num_heads))
        nn.init.trunc_normal_(self.query_embedding, std=0.02)
        self.bias = ContinuousPositionBias(num_heads, bounded=False)

    def scaled(self, unit: Float[Tensor, "B H W N D"], keys: Float[Tensor, "*_"]) -> Float[Tensor, "B H W N D"]:
        """Queries for logits, from their directions and the number of keys that each sees."""
        factor = F.softplus(self.temperature) * keys.log()
        return (unit + self.query_embedding) * factor.to(unit.dtype)

    def whole(self, height: int, width: int) -> tuple[int, int]:
        """The map that distances are shares of."""
        return (height, width) if self.trained_map is None else (self.trained_map, self.trained_map)


class LengthScaledAttention(_ByDirection):
    """Full attention by the cosine of queries and keys, scaled by the number of keys.

    Shi 2023, *TransNeXt: Robust Foveal Visual Perception for Vision Transformers*, arXiv 2311.17132.

    To the direction of each query a learned vector of the head is added. A logit is its product with the direction of
    the key, times a positive learned temperature of the head and the logarithm of the number of keys, plus a position
    bias that a small network computes from the logarithm of the distance; so attention stays about equally sharp on
    maps of every size. Cost per query: ``2 * D * H * W`` multiply-adds and head, and the network once for
    ``(2*H-1) * (2*W-1)`` distances.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        trained_map: rows and columns of the map in training, which distances are shares of; None: the map itself.
        qkv_bias: bias in the q, k, v projection.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, or ``trained_map`` is not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        trained_map: int | None = None,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__(dim, num_heads, trained_map=trained_map, qkv_bias=qkv_bias)
        self.backend = backend

    def attend(self, qkv: Float[Tensor, "B H W 3 N D"]) -> Float[Tensor, "B H W N D"]:
        q, k, v = qkv.unbind(3)
        height, width = qkv.shape[1:3]
        keys = torch.full((), height * width, dtype=self.temperature.dtype, device=q.device)
        return window_attention(
            self.scaled(direction(q), keys),
            direction(k),
            v,
            window=(height, width),
            bias=self.bias((height, width), self.whole(height, width)),
            scale=1.0,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        return f"num_heads={self.num_heads}, trained_map={self.trained_map}"


class AggregatedAttention(_ByDirection):
    """Attention to the nearest tokens and to means of the whole map at once, as an eye sees sharply where it looks.

    Shi 2023, *TransNeXt: Robust Foveal Visual Perception for Vision Transformers*, arXiv 2311.17132.

    Logits are those of :class:`LengthScaledAttention`, with one softmax over the neighbors and the means; neighbors
    have a learned bias for each place. The means are taken of a 1x1 convolution of the input behind GELU, over
    ``floor(H / reduction)`` by ``floor(W / reduction)`` rectangles, one at least. To the probability of each neighbor
    the product of the query's direction with a learned vector of that place is added. Cost per query: ``2 * D * L``
    multiply-adds and head for its neighbors and ``2 * D * H * W / reduction**2`` for the means; with ``pool_size``
    ``2 * D * pool_size**2`` for every map, and the whole cost is linear in the pixels (the paper's linear mode).

    Neighbors outside of the map do not count, in the softmax nor for the number of keys, as published. The published
    code is built for one size of image; its detection and segmentation code resizes the bias of that size bilinearly
    or, as is done here, asks the network for each size (``is_extrapolation``). No call is recorded for
    :mod:`visionattn.analysis`, because a mean has no place on the map.

    Args:
        dim: channels C.
        num_heads: heads N.
        index: ignored; all blocks are alike.
        kernel_size: neighbors along each side, odd.
        reduction: tokens along each side of what a mean stands for.
        pool_size: means along each side of every map, and no more than it has tokens; None: as ``reduction`` says. For
            trained weights on larger images; the paper took 7 after training at 224. The published code refuses maps of
            so few tokens.
        trained_map: rows and columns of the map in training, which distances are shares of; None: the map itself.
        qkv_bias: bias in the q, k, v projection.

    Raises:
        ValueError: ``dim`` is not a multiple of ``num_heads``, ``kernel_size`` is not odd, or a size is not positive.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    no_weight_decay_parameters: ClassVar[tuple[str, ...]] = (
        *_ByDirection.no_weight_decay_parameters,
        "local_bias",
    )

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        kernel_size: int = 3,
        reduction: int = 4,
        pool_size: int | None = None,
        trained_map: int | None = None,
        qkv_bias: bool = True,
    ):
        super().__init__(dim, num_heads, trained_map=trained_map, qkv_bias=qkv_bias)
        if pool_size is not None and pool_size < 1:
            raise ValueError(f"pool_size must be positive, got {pool_size}")
        if kernel_size < 1 or kernel_size % 2 == 0 or reduction < 1:
            raise ValueError(
                f"kernel_size is odd and reduction is positive, got kernel_size {kernel_size}, reduction {reduction}"
            )
        self.kernel_size, self.reduction, self.pool_size = kernel_size, reduction, pool_size
        self.reduce, self.norm = nn.Conv2d(dim, dim, 1), LayerNorm(dim)
        count = kernel_size**2
        self.local_bias = nn.Parameter(nn.init.trunc_normal_(torch.empty(num_heads, count), std=0.0004))
        self.places = nn.Parameter(nn.init.trunc_normal_(torch.empty(num_heads, dim // num_heads, count), std=0.02))
        self.place_bias = nn.Parameter(torch.zeros(num_heads, count))

    def mix(
        self, qkv: Float[Tensor, "B H W 3 N D"], context: StageContext | None, x: Float[Tensor, "B H W C"]
    ) -> Float[Tensor, "B H W N D"]:
        q, k, v = qkv.unbind(3)
        unit, visible = direction(q), self._visible(q)
        pooled_k, pooled_v = self._means(x)
        keys = visible.sum(-1).to(self.temperature.dtype) + pooled_k.shape[1] * pooled_k.shape[2]
        queries = self.scaled(unit, keys[..., None, None])
        near, around = self._neighbors(direction(k)), self._neighbors(v)
        local = torch.stack([(queries * key).sum(-1) for key in near], dim=-1) + self.local_bias
        local = local.masked_fill(~visible[:, :, None], -math.inf)
        bias = self._bias_of_means(*x.shape[1:3], *pooled_k.shape[1:3])
        far = torch.einsum("bhwnd,bpnd->bhwnp", queries, direction(pooled_k).flatten(1, 2)) + bias
        weights = torch.cat([local, far], dim=-1).softmax(-1).to(v.dtype)
        sharp, blurred = weights.split([local.shape[-1], far.shape[-1]], dim=-1)
        sharp = sharp + torch.einsum("bhwnd,ndl->bhwnl", unit, self.places) + self.place_bias
        out = torch.einsum("bhwnp,bpnd->bhwnd", blurred, pooled_v.flatten(1, 2))
        for place, value in enumerate(around):
            out = out + sharp[..., place, None] * value
        return out

    def elementwise_macs(self, shape: Sequence[int]) -> int:
        """Multiply-adds of queries with neighbors and of probabilities with their values."""
        reach = range(-(self.kernel_size // 2), self.kernel_size // 2 + 1)
        pairs = math.prod(sum(max(0, side - abs(offset)) for offset in reach) for side in shape[1:3])
        return 2 * shape[0] * shape[3] * pairs

    def extra_repr(self) -> str:
        means = f"reduction={self.reduction}" if self.pool_size is None else f"pool_size={self.pool_size}"
        return f"num_heads={self.num_heads}, kernel_size={self.kernel_size}, {means}"

    def _means(self, x: Float[Tensor, "B H W C"]) -> tuple[Float[Tensor, "B h w N D"], Float[Tensor, "B h w N D"]]:
        """Keys and values of the means."""
        reduced = F.gelu(self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        rows, columns = (self._cells(side) for side in x.shape[1:3])
        means = self.norm(mean_cells(reduced, (rows, columns)))
        c = x.shape[3]
        kv = linear(means, self.qkv.weight[c:], None if self.qkv.bias is None else self.qkv.bias[c:])
        k, v = kv.view(*kv.shape[:3], 2, self.num_heads, c // self.num_heads).unbind(3)
        return k, v

    def _cells(self, side: int) -> int:
        """Means along a side of the map."""
        return at_least(side // self.reduction, 1) if self.pool_size is None else at_most(side, self.pool_size)

    def _neighbors(self, x: Float[Tensor, "B H W N D"]) -> list[Float[Tensor, "B H W N D"]]:
        """The map moved so that each neighbor in turn lies on its token; zeros outside."""
        (height, width), around = x.shape[1:3], (self.kernel_size // 2,) * 2
        padded, side = surround(x, around, around), range(self.kernel_size)
        return [padded[:, row : row + height, column : column + width] for row in side for column in side]

    def _visible(self, q: Float[Tensor, "B H W N D"]) -> Bool[Tensor, "H W L"]:
        """Which neighbors lie on the map."""
        offsets = torch.arange(self.kernel_size, device=q.device) - self.kernel_size // 2
        axes = [torch.arange(side, device=q.device)[:, None] + offsets for side in q.shape[1:3]]
        rows, columns = ((at >= 0) & (at < side) for at, side in zip(axes, q.shape[1:3], strict=True))
        return (rows[:, None, :, None] & columns[None, :, None]).flatten(2)

    def _bias_of_means(self, height: int, width: int, rows: int, columns: int) -> Float[Tensor, "H W N P"]:
        """The bias of each query for each mean, from a table of the distances that occur."""
        device = self.temperature.device
        (steps, at), (across, beside) = (_distances(*axis, device) for axis in ((height, rows), (width, columns)))
        table = self.bias.at(steps, across, self.whole(height, width))
        return table.permute(1, 2, 0)[at[:, None, :, None], beside[None, :, None]].flatten(2, 3).transpose(2, 3)


def _distances(length: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Distances of positions from the middles of cells along an axis: all of them, and which one each pair has.

    Middles lie on positions or halfway between. Cells of equal length leave whole steps between the distances.
    """
    position = torch.arange(length, device=device)[:, None]
    if certainly(length % cells == 0):
        size = length // cells
        steps = torch.arange(2 * length - size, device=device) - (length - size) - (size - 1) / 2
        return steps, position - size * torch.arange(cells, device=device) + length - size
    first, last = cell_edges(cells, length, device)
    halves = torch.arange(4 * length - 3, device=device) - 2 * (length - 1)
    return halves / 2, 2 * position - (first + last - 1) + 2 * (length - 1)

"""Attention to few tokens that stand for the whole map: coarse cells for some channels, 49 sampled tokens for others.

Shapes: B batch, H W map, C channels, N heads, D head width, h w map of cells, G channels of a group, K taps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from visionattn.attention.local_encoding import LocalEncoding
from visionattn.attention.mixer import StageContext
from visionattn.attention.padding import fit, round_up
from visionattn.kernels import token_attention
from visionattn.kernels.linear import Linear
from visionattn.kernels.norm import LayerNorm

if TYPE_CHECKING:
    from jaxtyping import Float

TAPS = 7
"""Tokens along each side that stand for the map, as published."""


class Factor(nn.Module):
    """One group's keys and values: 7 x 7 tokens, each the mean over all areas of the map of one place in them.

    The map is cut into areas of 7 x 7 tokens, ``dilation`` apart; where areas do not divide it, it is mirrored at the
    bottom and the right.

    Args:
        num_heads: heads N, which share the linear layers.
        width: head width D.
        dilation: distance between the sampled tokens of an area.
        mix_channels: as published, the mean is not over areas: their numbers, area after area, are averaged in runs as
            long as there are areas, so that a result mixes neighboring channels of one area; False: over areas, as the
            paper describes it.
        bias: bias in the linear layers.

    Shape:
        ``(B, H, W, N * D) ->`` keys and values, each ``(B, 49, N, D)``
    """

    def __init__(self, num_heads: int, width: int, dilation: int, *, mix_channels: bool, bias: bool):
        super().__init__()
        self.num_heads, self.dilation, self.mix_channels = num_heads, dilation, mix_channels
        self.fc, self.kv = Linear(width, width, bias=bias), Linear(width, 2 * width, bias=bias)
        self.encoding = LocalEncoding(num_heads * width)

    def forward(self, x: Float[Tensor, "B H W G"]) -> tuple[Tensor, Tensor]:
        k, v = self.kv(self.fc(self._tokens(x))).chunk(2, dim=-1)
        return k.flatten(1, 2), (v + self.encoding(v)).flatten(1, 2)

    def _tokens(self, x: Tensor) -> Tensor:
        """``(B, H, W, N * D) -> (B, 7, 7, N, D)``.

        One area is looked up twice: else a traced graph would be bound to there being one.
        """
        area = self.dilation * (TAPS - 1) + 1
        rows, columns = (round_up(side, area) // area for side in x.shape[1:3])
        place, across = torch.arange(max(rows * columns, 2), device=x.device), torch.full((), columns, device=x.device)
        place = place % (rows * across)
        taps = self.dilation * torch.arange(TAPS, device=x.device)[:, None]
        down = mirrored(area * (place // across) + taps, x.shape[1])
        along = mirrored(area * (place % across) + taps, x.shape[2])
        numbers = x[:, down[:, None], along].flatten(3)
        runs = self._runs(place, rows * across, x)
        return numbers.index_select(3, runs.flatten()).unflatten(3, runs.shape).mean(-1)

    def _runs(self, area: Tensor, areas: Tensor, x: Tensor) -> Tensor:
        """Which of the numbers of all areas, ``(areas, N, D)``, are averaged: ``(N, D, areas)``."""
        width = x.shape[3] // self.num_heads
        head, channel = (torch.arange(n, device=x.device) for n in (self.num_heads, width))
        number = area + areas * channel[:, None] if self.mix_channels else area * width + channel[:, None]
        area, channel = number // width, number % width
        return (area * self.num_heads + head[:, None, None]) * width + channel


def mirrored(places: Tensor, side: int) -> Tensor:
    """Places beyond the end of a side, mirrored at it and, where the side is shorter than that, back again."""
    period = torch.full((), 2 * side - 2, device=places.device).clamp(min=1)
    places = places % period
    return torch.minimum(places, (period - places) % period)


class FactorizedAttention(nn.Module):
    """Attention of every token to the whole map at a cost that grows with the number of tokens alone.

    Qin et al. 2023, *Factorization Vision Transformer: Modeling Long Range Dependency with Local Window Cost*, arXiv
    2312.08614 (FaSA).

    The channels fall into groups. Those of the first, an eighth, attend with one head to cells of ``reduction`` by
    ``reduction`` tokens; those of the others attend with all heads to 49 tokens each, sampled from the whole map
    (:class:`Factor`), close together for the second group and ``reduction`` apart for the third, which there is only
    where ``reduction`` exceeds 1. Queries come from all channels. The values have a depthwise convolution added. Cost
    per query: about ``C / 8 * H * W / reduction**2`` multiply-adds for cells, ``98`` a channel for the others.

    Differences from the published code: a map that ``reduction`` does not divide is enlarged with zeros at the bottom
    and the right before the cells are made; maps smaller than an area are mirrored more than once, where the published
    code fails; where heads do not divide a group, the first group gets the rest. The mean over areas is the published
    code's (see :class:`Factor`). No call is recorded for :mod:`visionattn.analysis`, because a sampled token has no
    place on the map.

    Args:
        dim: channels C.
        num_heads: heads N of the sampled groups.
        index: ignored; all blocks are alike.
        reduction: side of a cell.
        mix_channels: False: sampled tokens are means over areas, as the paper describes them.
        qkv_bias: bias in the projections.
        backend: kernel backend by name, or "auto".

    Raises:
        ValueError: ``reduction`` is not positive, or ``dim`` is too small for ``num_heads``.

    Shape:
        ``(B, H, W, C) -> (B, H, W, C)``, any H and W.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        index: int = 0,
        *,
        reduction: int = 2,
        mix_channels: bool = True,
        qkv_bias: bool = True,
        backend: str = "auto",
    ):
        super().__init__()
        groups = 2 if reduction > 1 else 1
        width = 7 * dim // (8 * groups * num_heads)
        if reduction < 1 or width < 1:
            raise ValueError(
                f"reduction must be positive and 7 / {8 * groups} of the channels at least one for each head, "
                f"got reduction {reduction}, {dim} channels and {num_heads} heads"
            )
        sampled = groups * num_heads * width
        coarse = dim - sampled
        self.num_heads, self.reduction, self.width, self.coarse = num_heads, reduction, width, coarse
        self.backend = backend
        self.q, self.proj = Linear(dim, dim, bias=qkv_bias), Linear(dim, dim)
        self.reduce = nn.Conv2d(coarse, coarse, reduction, stride=reduction)
        self.norm, self.kv = LayerNorm(coarse), Linear(coarse, 2 * coarse, bias=qkv_bias)
        self.encoding = LocalEncoding(coarse)
        self.conv, self.mix = nn.Conv2d(sampled, sampled, 3, padding=1, groups=sampled), Linear(sampled, sampled)
        self.factors = nn.ModuleList(
            Factor(num_heads, width, dilation, mix_channels=mix_channels, bias=qkv_bias)
            for dilation in (1, reduction)[:groups]
        )

    def forward(self, x: Float[Tensor, "B H W C"], context: StageContext | None = None) -> Float[Tensor, "B H W C"]:
        coarse, sampled = x.split([self.coarse, x.shape[3] - self.coarse], dim=3)
        asked = self.q(x).flatten(1, 2)
        queries = asked[..., self.coarse :].unflatten(2, (self.num_heads, -1)).split(self.width, dim=3)
        keys, values = self._cells(coarse)
        parts = [token_attention(asked[..., None, : self.coarse], keys, values, backend=self.backend)]
        maps = self.mix(self.conv(sampled.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)).chunk(len(self.factors), dim=3)
        for factor, query, part in zip(self.factors, queries, maps, strict=True):
            parts.append(token_attention(query, *factor(part), backend=self.backend))
        return self.proj(torch.cat([part.flatten(2) for part in parts], dim=2).unflatten(1, x.shape[1:3]))

    def _cells(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of one head, each ``(B, h * w, 1, D)``."""
        x = fit(x, (round_up(x.shape[1], self.reduction), round_up(x.shape[2], self.reduction)))
        cells = self.norm(self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        k, v = self.kv(cells).unsqueeze(3).chunk(2, dim=-1)
        return k.flatten(1, 2), (v + self.encoding(v)).flatten(1, 2)

    def extra_repr(self) -> str:
        return f"reduction={self.reduction}, coarse={self.coarse}, num_heads={self.num_heads}"

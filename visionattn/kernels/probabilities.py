"""Attention probabilities: for chosen queries the keys that each sees, and how much of it each key gets.

The keys are those of ``geometry.AxisRule.runs`` and the logits those of the reference backend, so that the
probabilities times the values are what every backend computes. Only pairs that exist are computed: the memory is
``B * N * Q * K`` numbers, whatever the size of the map.

Shapes: B batch, H W map, N heads, D E head widths, Q queries, K keys of a query at most, S places of keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from visionattn.kernels.decay import split
from visionattn.kernels.geometry import AxisRule, Geometry

if TYPE_CHECKING:
    from jaxtyping import Float, Int

_AT_ONCE = 1 << 24
"""Numbers of gathered keys that are held at once."""


@dataclass(frozen=True)
class Probabilities:
    """Which keys some queries attend to, and how much.

    Attributes:
        queries: places of the queries, int64 ``(Q,)``; on a map ``row * W + column``.
        keys: places of the keys of each query, int64 ``(Q, K)``; -1 where a query has fewer than K.
        weights: ``(B, N, Q, K)``; they sum to 1 over the keys, and are 0 where there is none.
    """

    queries: Int[Tensor, " Q"]
    keys: Int[Tensor, "Q K"]
    weights: Float[Tensor, "B N Q K"]

    def dense(self, places: int) -> Float[Tensor, "B N Q S"]:
        """The weights over all ``places`` of keys, 0 for those that a query does not see."""
        out = self.weights.new_zeros(*self.weights.shape[:3], places)
        keys = self.keys.clamp(min=0).expand(self.weights.shape)
        return out.scatter_add_(-1, keys, self.weights)

    def attend(self, values: Float[Tensor, "B S N E"]) -> Float[Tensor, "B Q N E"]:
        """The output of attention: the weighted mean of the values."""
        return torch.einsum("bnqk,bqkne->bqne", self.weights, values[:, self.keys.clamp(min=0)])


def probabilities(
    q: Float[Tensor, "B H W N D"],
    k: Float[Tensor, "B H W N D"],
    bias: Float[Tensor, "N _ _"] | None,
    geometry: Geometry,
    scale: float,
    queries: Int[Tensor, " Q"],
) -> Probabilities:
    """The attention probabilities of chosen queries of a map; see ``op.py`` for the arguments."""
    height, width = q.shape[1:3]
    rows, across = _runs(geometry.rows, height, q.device), _runs(geometry.cols, width, q.device)
    (row, row_at), (col, col_at) = (
        (run[0][at], run[1][at]) for run, at in ((rows, queries // width), (across, queries % width))
    )
    exists = ((row >= 0)[:, :, None] & (col >= 0)[:, None]).flatten(1)
    keys = (row[:, :, None] * width + col[:, None]).flatten(1).masked_fill(~exists, -1)
    asked, seen = q.flatten(1, 2)[:, queries], k.flatten(1, 2)[:, keys.clamp(min=0)]
    apart: Tensor | None = None
    if geometry.decay:
        (asked, to), (seen, places) = split(asked, geometry.decay), split(seen, geometry.decay)
        apart = (to[:, :, None] - places).abs().permute(0, 3, 1, 2)
    logits = torch.einsum("bqnd,bqknd->bnqk", asked * scale, seen)
    if apart is not None:
        logits = logits - apart.to(logits.dtype)
    if bias is not None:
        logits = logits + bias.to(q.dtype)[:, row_at[:, :, None], col_at[:, None]].flatten(2)
    return Probabilities(queries, keys, logits.masked_fill(~exists, float("-inf")).softmax(-1))


def in_parts(queries: Tensor, numbers: int) -> Iterator[Tensor]:
    """Queries in parts, each with a bounded number of gathered keys; ``numbers``: those of one query."""
    yield from queries.split(max(1, _AT_ONCE // max(numbers, 1)))


def keys_of(geometry: Geometry, height: int, width: int) -> int:
    """The most keys that a query of a map sees."""
    rows, across = (
        int(rule.spans(side).extent.max()) for rule, side in ((geometry.rows, height), (geometry.cols, width))
    )
    return rows * across


def _runs(rule: AxisRule, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of each position of an axis its keys ``(L, keys)``, -1 where it has fewer, and their bias table indices."""
    spans = rule.spans(length, device)
    step = torch.arange(int(spans.extent.max()), device=device)[None]
    coordinate = spans.start[:, None] + step
    position = spans.group[:, None] + rule.dilation * coordinate
    position = position.masked_fill(step >= spans.extent[:, None], -1)
    table = coordinate - spans.coordinate[:, None] + rule.size - 1
    return position, table.clamp(0, 2 * rule.size - 2)

"""Decay: logits fall by the distance between a place of the query and one of the key, which tokens bring with them.

    logit(query, key) = scale * q . k + bias - |place(query) - place(key)|

Zhao et al. 2025, *Polyline Path Masked Attention for Vision Transformer*, arXiv 2506.15940, where places are sums of
learned steps along a row or a column. A matrix over pairs of tokens is never held: places travel as further channels at
the end of queries and keys (``Geometry.decay`` of them), where maps, their layouts and their gradients are known
already. One channel holds a place in float32 and float64; in the half types three do, whose sum is nearly as exact.

Shapes: B batch, H W map, N heads, D width of queries and keys, S channels of a place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Float


def as_channels(places: Float[Tensor, "B H W N"], dtype: torch.dtype) -> Float[Tensor, "B H W N S"]:
    """Channels that sum up to the places; the gradient of the first is that of the place."""
    parts = [places.to(dtype)]
    rest = places.detach()
    for _ in range(2 if dtype.itemsize == 2 else 0):
        rest = rest - parts[-1].detach().to(rest.dtype)
        parts.append(rest.to(dtype))
    return torch.stack(parts, dim=-1)


def split(x: Float[Tensor, "*L D+S"], channels: int) -> tuple[Float[Tensor, "*L D"], Float[Tensor, "*L"]]:
    """The channels that are multiplied, and the places; of half types in float32. L: any axes."""
    kind = torch.float32 if x.dtype.itemsize == 2 else x.dtype
    return x[..., :-channels], x[..., -channels:].to(kind).sum(-1)


def distances(of_queries: Float[Tensor, "*L Q"], of_keys: Float[Tensor, "*L K"]) -> Float[Tensor, "*L Q K"]:
    """How far the places of queries and of keys lie apart."""
    return (of_queries[..., :, None] - of_keys[..., None, :]).abs()

"""The reference: dense masked attention over the whole map, straight from the per-axis rules, in any floating type.

Cost: B * N * (H * W)^2 * (D + E) multiply-adds and B * N * (H * W)^2 numbers of memory, whatever the window. For
tests and for export: it is plain differentiable torch code, traced and exported operator by operator.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from visionattn.kernels.decay import distances, split
from visionattn.kernels.dispatch import never
from visionattn.kernels.geometry import AxisRule, Geometry
from visionattn.kernels.op import Backend
from visionattn.kernels.routed_op import Region, RoutedBackend, grid_of
from visionattn.kernels.token_op import TokenBackend, dense_logits


def visible(rule: AxisRule, length: int, device: torch.device | None = None) -> Tensor:
    """Boolean (L, L): whether the query (row) sees the key (column) along this axis."""
    group, coordinate, start, extent = rule.spans(length, device)
    same_group = group[:, None] == group[None, :]
    offset = coordinate[None, :] - start[:, None]
    return same_group & (offset >= 0) & (offset < extent[:, None])


def table_index(rule: AxisRule, length: int, device: torch.device | None = None) -> Tensor:
    """Int64 (L, L): the bias table index of each query (row) and key (column), in range for invisible keys too."""
    coordinate = rule.spans(length, device).coordinate
    relative = coordinate[None, :] - coordinate[:, None] + rule.size - 1
    return relative.clamp(0, 2 * rule.size - 2)


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """Dense masked attention on a map; see ``op.py`` for the arguments."""
    height, width, device = q.shape[1], q.shape[2], q.device
    apart: Tensor | None = None
    if geometry.decay:
        (q, of_queries), (k, of_keys) = split(q, geometry.decay), split(k, geometry.decay)
        apart = distances(*(x.permute(0, 3, 1, 2).flatten(2) for x in (of_queries, of_keys)))
    logits = torch.einsum("bhwnd,bijnd->bnhwij", q * scale, k)
    if apart is not None:
        logits = logits - apart.to(q.dtype).unflatten(3, (height, width)).unflatten(2, (height, width))
    if bias is not None:
        rows = table_index(geometry.rows, height, device)[:, None, :, None]
        cols = table_index(geometry.cols, width, device)[None, :, None, :]
        logits = logits + bias.to(q.dtype)[:, rows, cols]
    rows = visible(geometry.rows, height, device)[:, None, :, None]
    cols = visible(geometry.cols, width, device)[None, :, None, :]
    logits = logits.masked_fill(~(rows & cols), float("-inf"))
    weights = logits.flatten(-2).softmax(-1).unflatten(-1, (height, width))
    return torch.einsum("bnhwij,bijne->bhwne", weights, v)


WINDOW = Backend("reference", attend, never, plain=True)
NEIGHBORHOOD = Backend("reference", attend, never, plain=True)


def attend_tokens(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Dense attention of tokens; see ``token_op.py`` for the arguments."""
    return torch.einsum("bnts,bsne->btne", dense_logits(q, k, bias, scale).softmax(-1), v)


TOKENS = TokenBackend("reference", attend_tokens, never, plain=True)


def regions_of(size: Sequence[int], region: Region, device: torch.device) -> Tensor:
    """Int64 ``(H * W,)``: the region of each token of a map."""
    rows, columns = (torch.arange(length, device=device) // side for length, side in zip(size, region, strict=True))
    return (rows[:, None] * grid_of(size, region)[1] + columns).flatten()


def routed_weights(
    q: Tensor, k: Tensor, routes: Tensor, region: Region, scale: float, queries: Tensor | None = None
) -> Tensor:
    """The probabilities of all pairs ``(B, N, Q, H * W)``, of all queries or those at chosen places."""
    of_keys = regions_of(k.shape[1:3], region, k.device)
    asked, of_queries = q.flatten(1, 2), of_keys
    if queries is not None:
        asked, of_queries = asked[:, queries], of_queries[queries]
    listed = routes[..., None] == torch.arange(routes.shape[1], device=routes.device)
    times = listed.sum(2)[:, of_queries][:, :, of_keys].unsqueeze(1)  # how often each key is listed
    blind = (times == 0).all(-1, keepdim=True)
    logits = torch.einsum("bqnd,bsnd->bnqs", asked * scale, k.flatten(1, 2)) + times.to(q.dtype).log()
    return logits.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0)


def attend_routed(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float) -> Tensor:
    """Dense attention in which a key counts as often as it is listed; see ``routed_op.py`` for the arguments."""
    weights = routed_weights(q, k, routes, region, scale)
    return torch.einsum("bnqs,bsne->bqne", weights, v.flatten(1, 2)).unflatten(1, q.shape[1:3])


ROUTED = RoutedBackend("reference", attend_routed, never, plain=True)

"""The reference: dense masked attention over the whole map, straight from the per-axis rules, in any floating type.

Cost: B * N * (H * W)^2 * (D + E) multiply-adds and B * N * (H * W)^2 numbers of memory, whatever the window. For
tests and for export: it is plain differentiable torch code, traced and exported operator by operator.
"""

from __future__ import annotations

import torch
from torch import Tensor

from visionattn.kernels.decay import distances, split
from visionattn.kernels.geometry import AxisRule, Geometry
from visionattn.kernels.op import Backend
from visionattn.kernels.token_op import TokenBackend, dense_logits, never


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


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> str:
    """Never: returns ""."""
    return ""


WINDOW = Backend("reference", attend, refuses)
NEIGHBORHOOD = Backend("reference", attend, refuses)


def attend_tokens(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Dense attention of tokens; see ``token_op.py`` for the arguments."""
    return torch.einsum("bnts,bsne->btne", dense_logits(q, k, bias, scale).softmax(-1), v)


TOKENS = TokenBackend("reference", attend_tokens, never)

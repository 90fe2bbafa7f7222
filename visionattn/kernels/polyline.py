"""Attention over a whole map whose logits fall along polylines: along a row and then a column, or the other way round.

Zhao et al. 2025, *Polyline Path Masked Attention for Vision Transformer*, arXiv 2506.15940.

Every token brings two places: how far it lies along its row and how far down its column. The way from a query at (y, x)
to a key at (r, s) through the corner (y, s) is

    |across(y, x) - across(y, s)| + |down(y, s) - down(r, s)|

and the way through (r, x) is that of the key to the query. Two softmaxes, one for each way, are averaged. The corner
belongs to neither query nor key, so that places of tokens do not suffice and this is no window attention. Queries are
taken some rows at a time, and a backward pass computes their weights again: memory is linear in tokens times that of a
few rows. Every sum has a fixed order.

Shapes: B batch, H W map, N heads, D E head widths, R rows of queries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from jaxtyping import Float

LOGITS_AT_ONCE = {"cpu": 1 << 22, "cuda": 1 << 26}
"""Logits held at once, per kind of device."""


def polyline_attention(
    q: Float[Tensor, "B H W N D"],
    k: Float[Tensor, "B H W N D"],
    v: Float[Tensor, "B H W N E"],
    *,
    down: Float[Tensor, "B H W N"],
    across: Float[Tensor, "B H W N"],
) -> Float[Tensor, "B H W N E"]:
    """Attention over the whole map with the mean of two softmaxes; see the module's docstring.

    Args:
        q: queries ``(B, H, W, N, D)``.
        k: keys, of the same shape.
        v: values ``(B, H, W, N, E)``.
        down: places of the tokens along their columns, ``(B, H, W, N)``.
        across: places along their rows.
    """
    batch, height, width, heads, depth = q.shape
    asking = [x.movedim(3, 1) for x in (q * depth**-0.5, down, across)]
    seen = [x.movedim(3, 1) for x in (k, v, down, across)]
    if torch.compiler.is_compiling():  # how many parts would depend on symbols
        return _rows(*asking, *seen).movedim(1, 3)
    most = LOGITS_AT_ONCE.get(q.device.type, LOGITS_AT_ONCE["cuda"])
    step = max(1, most // max(batch * heads * height * width**2, 1))
    parts = []
    for first in range(0, height, step):
        rows = [x[:, :, first : first + step] for x in asking]
        if torch.is_grad_enabled() and step < height:
            parts.append(checkpoint(_rows, *rows, *seen, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(_rows(*rows, *seen))
    return torch.cat(parts, dim=2).movedim(1, 3)


def _rows(
    asking: Float[Tensor, "B N R W D"],
    asking_down: Float[Tensor, "B N R W"],
    asking_across: Float[Tensor, "B N R W"],
    k: Float[Tensor, "B N H W D"],
    v: Float[Tensor, "B N H W E"],
    down: Float[Tensor, "B N H W"],
    across: Float[Tensor, "B N H W"],
) -> Float[Tensor, "B N R W E"]:
    """The attention of some rows of queries."""
    height, width = k.shape[2:4]
    logits = asking.flatten(2, 3) @ k.flatten(2, 3).mT
    logits = logits.unflatten(3, (height, width)).unflatten(2, (-1, width))  # (B, N, R, W, H, W)
    along = (asking_across[..., :, None] - asking_across[..., None, :]).abs()  # (B, N, R, W, W)
    beside = (across[..., :, None] - across[..., None, :]).abs().transpose(2, 3)  # (B, N, W, H, W)
    falling = (asking_down[:, :, :, None] - down[:, :, None]).abs()  # (B, N, R, H, W)
    through_row = along[:, :, :, :, None] + falling[:, :, :, None]
    through_column = beside[:, :, None] + falling.transpose(3, 4)[..., None]
    one, other = ((logits - way).flatten(4).softmax(-1) for way in (through_row, through_column))
    weights = ((one + other) / 2).to(v.dtype)
    return (weights.flatten(2, 3) @ v.flatten(2, 3)).unflatten(2, (-1, width))

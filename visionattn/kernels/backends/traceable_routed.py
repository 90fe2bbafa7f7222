"""Backend ``traceable`` of ``routed_attention``: gathered copies of keys and values, in plain torch operators.

For graphs that leave PyTorch; the published formulation. Memory: K copies of keys and values. :func:`listed` and
:func:`gathered_attention` are parts that other backends share.

Legend: B batch, H W map, N heads, D E head widths, R regions, K listed regions, T tokens of a region; b regions of all
images or of some.
"""

from __future__ import annotations

import torch
from torch import Tensor

from visionattn.kernels.dispatch import never
from visionattn.kernels.routed_op import Region, RoutedBackend, from_regions, in_regions, inside


def listed(routes: Tensor, size: tuple[int, int], region: Region) -> tuple[Tensor, Tensor]:
    """Listed regions, numbered over all images, ``(B * R, K)``, and which of their tokens exist, ``(B * R, K * T)``."""
    images, regions = routes.shape[:2]
    valid = (routes >= 0) & (routes < regions)
    inner = routes.masked_fill(~valid, 0)
    exists = inside(size, region, routes.device)[inner] & valid[..., None]
    first = torch.arange(images, device=routes.device)[:, None, None] * regions
    return (inner + first).flatten(0, 1), exists.flatten(2).flatten(0, 1)


def gather(x: Tensor, index: Tensor) -> Tensor:
    """``(B * R, T, N, D)`` and ``(b, K) -> (b, N, K * T, D)``: the tokens of the listed regions."""
    return x.index_select(0, index.flatten()).unflatten(0, index.shape).flatten(1, 2).transpose(1, 2)


def gathered_weights(q: Tensor, k: Tensor, exists: Tensor, scale: float) -> Tensor:
    """The probabilities ``(b, N, T, K * T)`` of queries ``(b, N, T, D)`` and keys ``(b, N, K * T, D)``."""
    hidden, blind = ~exists[:, None, None], ~exists.any(-1)[:, None, None, None]
    logits = torch.matmul(q * scale, k.transpose(-2, -1)).masked_fill(hidden, float("-inf"))
    return logits.masked_fill(blind, 0).softmax(-1).masked_fill(blind, 0)


def attend(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float) -> Tensor:
    """The attention; see ``routed_op.py`` for the arguments."""
    size = (q.shape[1], q.shape[2])
    index, exists = listed(routes, size, region)
    q, k, v = (in_regions(x, region).flatten(0, 1) for x in (q, k, v))
    weights = gathered_weights(q.transpose(1, 2), gather(k, index), exists, scale)
    out = torch.matmul(weights, gather(v, index)).transpose(1, 2)
    return from_regions(out.unflatten(0, routes.shape[:2]), region, size)


ROUTED = RoutedBackend("traceable", attend, never, plain=True)

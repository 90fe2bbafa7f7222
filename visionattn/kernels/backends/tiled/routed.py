"""Backend ``tiled`` of ``routed_attention``: gathered keys and values of some regions at a time, own backward.

Runs on any device and type, needs nothing but torch. Memory: the maps in the order of their regions, and what the
regions of one part see. Backward recomputes the probabilities. Gradients of keys and values are summed part by part, in
order: two runs give equal bits.

Legend: B batch, N heads, D E head widths, R regions, K listed regions, T tokens of a region; b regions of one part.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from visionattn.kernels.backends.tiled.ops import CHUNK
from visionattn.kernels.backends.traceable_routed import gather, gathered_weights, listed
from visionattn.kernels.dispatch import never
from visionattn.kernels.routed_op import (
    Region,
    RoutedBackend,
    RoutedKernel,
    from_regions,
    in_regions,
    register_routed_attention,
)
from visionattn.kernels.signature import Maps, no_stats, stats_dtype


def forward(
    q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Output and empty statistics; see :class:`visionattn.kernels.routed_op.RoutedKernel`."""
    size = (q.shape[1], q.shape[2])
    index, exists = listed(routes, size, region)
    of_q, of_k, of_v = (in_regions(x, region).flatten(0, 1) for x in (q, k, v))
    out = of_v.new_empty(of_v.shape)
    for part in parts(of_q, index):
        weights = gathered_weights(of_q[part].transpose(1, 2), gather(of_k, index[part]), exists[part], scale)
        out[part] = torch.matmul(weights, gather(of_v, index[part])).transpose(1, 2)
    out = from_regions(out.unflatten(0, routes.shape[:2]), region, size)
    return out.contiguous(), q.new_empty(0, dtype=stats_dtype(q.dtype))


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, routes: Tensor, out: Tensor, stats: Tensor, region: Region,
    scale: float, into: Maps,
) -> None:  # fmt: skip
    """Write the gradients; see :class:`visionattn.kernels.routed_op.RoutedKernel`."""
    size = (q.shape[1], q.shape[2])
    index, exists = listed(routes, size, region)
    of_q, of_k, of_v, of_grad = (in_regions(x, region).flatten(0, 1) for x in (q, k, v, grad))
    dq = of_q.new_empty(of_q.shape)
    dk, dv = (x.new_zeros(x.shape, dtype=stats_dtype(q.dtype)) for x in (of_k, of_v))
    for part in parts(of_q, index):
        asked, keys, d_out = of_q[part].transpose(1, 2), gather(of_k, index[part]), of_grad[part].transpose(1, 2)
        weights = gathered_weights(asked, keys, exists[part], scale)
        _add(dv, index[part], torch.matmul(weights.mT, d_out))
        d_weights = torch.matmul(d_out, gather(of_v, index[part]).mT)
        d_logits = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype).mul_(scale)
        dq[part] = torch.matmul(d_logits, keys).transpose(1, 2)
        _add(dk, index[part], torch.matmul(d_logits.mT, asked))
    for gradient, x in zip(into, (dq, dk, dv), strict=True):
        gradient.copy_(from_regions(x.unflatten(0, routes.shape[:2]), region, size))


def parts(q: Tensor, index: Tensor) -> Iterator[slice]:
    """Regions of all images ``(B * R, T, N, D)`` whose logits and keys fit the budget, the same for every such call."""
    regions, tokens, heads, depth = q.shape
    budget = CHUNK.get(q.device.type, CHUNK["cuda"])
    count = max(1, budget // max(heads * index.shape[1] * tokens * max(tokens, depth), 1))
    for first in range(0, regions, count):
        yield slice(first, first + count)


def _add(total: Tensor, index: Tensor, part: Tensor) -> None:
    """Add ``(b, N, K * T, D)`` to the regions ``(b, K)`` of ``total``, in an order that depends on neither device."""
    part = part.transpose(1, 2).unflatten(1, (index.shape[1], -1)).flatten(0, 1).to(total.dtype)
    if total.device.type == "cpu":
        total.index_add_(0, index.flatten(), part)
    else:
        total.index_put_((index.flatten(),), part, accumulate=True)  # sorts first; index_add_ has atomics


attend, attend_packed = register_routed_attention("tiled_routed", RoutedKernel(forward, backward, no_stats))
ROUTED = RoutedBackend("tiled", attend, never, attend_packed)

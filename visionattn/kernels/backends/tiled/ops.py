"""Backend ``tiled``: halo tiles gathered into one batched dense attention, in plain torch, with its own backward.

Neighborhoods: HaloNet's idea (Vaswani et al., 2021, arXiv 2103.12731) made exact: a 7 x 7 tile of queries meets the
rectangle of keys that any of them sees, and keys that a query does not see get -inf. Windows: a tile is a window.
Dilation: tiles of the groups' own sub-images.

    q (B, H, W, N, D) -> tiles (b, T, N, Q, D);  k -> (b, T, N, K, D);  logits (b, T, N, Q, K) -> out tiles -> out (B,
                                                 H, W, N, E)

Runs on any device and type, needs nothing but torch. Work: (tile + kernel - 1)^2 / kernel^2 times the useful one.
Memory: logits of a few images at a time. Backward recomputes the logits, so forward keeps nothing but its inputs. No
atomics: sums have a fixed order.
"""

from __future__ import annotations

import torch
from torch import Tensor

from visionattn.kernels.backends.tiled.plan import Plan, plan_for
from visionattn.kernels.custom_op import register_attention
from visionattn.kernels.decay import distances, split
from visionattn.kernels.dispatch import never
from visionattn.kernels.op import Backend
from visionattn.kernels.signature import BackwardRun, ForwardRun, Kernel, Maps, Signature, Wanted, no_stats, stats_dtype

CHUNK = {"cpu": 1 << 21, "cuda": 1 << 26}
"""Logits held at once, per kind of device: on a CPU about what its caches hold."""


def forward(call: Signature) -> ForwardRun:
    """The attended map, and empty statistics; see :class:`visionattn.kernels.signature.Kernel`."""
    geometry, scale = call.geometry, call.scale

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        plan = plan_for(q, geometry)
        added = plan.additive(bias, q.dtype)
        out = v.new_empty(v.shape)
        for part in chunks(q, plan):
            weights = attention_weights(plan, q[part], k[part], added, scale, geometry.decay)
            out[part] = plan.scatter_queries(product(weights, plan.gather_keys(v[part])))
        return out, q.new_empty(0, dtype=stats_dtype(q.dtype))

    return run


def backward(call: Signature, wanted: Wanted) -> BackwardRun:
    """The gradients; see :class:`visionattn.kernels.signature.Kernel`."""
    geometry, scale = call.geometry, call.scale

    def run(
        grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, stats: Tensor, into: Maps
    ) -> Tensor:
        plan = plan_for(q, geometry)
        added = plan.additive(bias, q.dtype)
        dq, dk, dv = into
        total = plan.no_gradient(q) if wanted.table else None
        for part in chunks(q, plan):
            weights = attention_weights(plan, q[part], k[part], added, scale, geometry.decay)
            d_out = plan.gather_grads(grad[part])
            dv[part] = plan.sum_keys(product(weights.mT, d_out))
            d_weights = product(d_out, plan.gather_keys(v[part]).mT)
            d_logits = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            if total is not None:
                total += d_logits.sum(0, dtype=total.dtype)
            query, key = plan.gather_queries(q[part]), plan.gather_keys(k[part])
            d_query, d_key = logit_gradients(d_logits, query, key, scale, geometry.decay)
            dq[part], dk[part] = plan.scatter_queries(d_query), plan.sum_keys(d_key)
        return q.new_empty(0) if bias is None or total is None else plan.fold(total).to(bias.dtype)

    return run


def attention_weights(plan: Plan, q: Tensor, k: Tensor, added: Tensor | None, scale: float, decay: int = 0) -> Tensor:
    """Softmax of the tiles' logits, (b, T, N, Q, K)."""
    query, key = plan.gather_queries(q), plan.gather_keys(k)
    if decay:
        (query, of_queries), (key, of_keys) = split(query, decay), split(key, decay)
        logits = product(query * scale, key.mT)
        logits -= distances(of_queries, of_keys).to(logits.dtype)
    else:
        logits = product(query.mul_(scale), key.mT)
    if added is not None:
        logits += added
    return logits.softmax(-1)


def logit_gradients(d_logits: Tensor, query: Tensor, key: Tensor, scale: float, decay: int) -> tuple[Tensor, Tensor]:
    """Gradients of the tiles' queries and keys from that of their logits, which this overwrites."""
    if not decay:
        d_logits.mul_(scale)
        return product(d_logits, key), product(d_logits.mT, query)
    (query, of_queries), (key, of_keys) = split(query, decay), split(key, decay)
    slopes = d_logits * (of_queries[..., :, None] - of_keys[..., None, :]).sign()
    of_places = -slopes.sum(-1), slopes.sum(-2)
    d_logits.mul_(scale)
    of_maps = product(d_logits, key), product(d_logits.mT, query)
    to_query, to_key = (
        torch.cat([of_map, places[..., None].to(of_map.dtype).expand(*places.shape, decay)], dim=-1)
        for of_map, places in zip(of_maps, of_places, strict=True)
    )
    return to_query, to_key


def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products of (b, T, N, m, k) with (b, T, N, k, n)."""
    return torch.bmm(a.flatten(0, 2), b.flatten(0, 2)).unflatten(0, a.shape[:3])


def chunks(q: Tensor, plan: Plan) -> list[slice]:
    """Slices of the batch whose logits fit the budget, the same for every call of this shape."""
    logits = q.shape[3] * plan.logits_per_head
    size = max(1, CHUNK.get(q.device.type, CHUNK["cuda"]) // logits)
    return [slice(i, i + size) for i in range(0, q.shape[0], size)]


KERNEL = Kernel(forward, backward, no_stats)
attend, attend_packed = register_attention("tiled", KERNEL)
WINDOW = Backend("tiled", attend, never, attend_packed)
NEIGHBORHOOD = Backend("tiled", attend, never, attend_packed)

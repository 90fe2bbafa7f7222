"""Backend ``tiled`` of ``token_attention``: dense attention of some images and queries at a time, own backward.

Runs on any device and type, needs nothing but torch. Memory: the logits of one part. Backward recomputes them, so
forward keeps nothing but its inputs. The gradients of keys, values and bias are summed part by part, in order.

Legend: B batch, T queries, S keys, N heads, D E head widths; b t of one part.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from visionattn.kernels.backends.tiled.ops import CHUNK
from visionattn.kernels.dispatch import never
from visionattn.kernels.signature import no_stats, stats_dtype
from visionattn.kernels.token_op import TokenBackend, TokenKernel, register_token_attention


def forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Output and empty statistics; see :class:`visionattn.kernels.token_op.TokenKernel`."""
    out = v.new_empty((*q.shape[:3], v.shape[3]))
    for images, queries in parts(q, k):
        weights = attention_weights(q[images, queries], k[images], _of(bias, queries), scale)
        out[images, queries] = torch.matmul(weights, v[images].transpose(1, 2)).transpose(1, 2)
    return out, q.new_empty(0, dtype=stats_dtype(q.dtype))


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, stats: Tensor, scale: float,
    table: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients; see :class:`visionattn.kernels.token_op.TokenKernel`."""
    sums = stats_dtype(q.dtype)
    dq = q.new_empty(q.shape)
    dk, dv = (x.new_zeros((x.shape[0], x.shape[2], x.shape[1], x.shape[3]), dtype=sums) for x in (k, v))
    dbias = None if bias is None or not table else bias.new_zeros(bias.shape, dtype=sums)
    for images, queries in parts(q, k):
        weights = attention_weights(q[images, queries], k[images], _of(bias, queries), scale)
        d_out = grad[images, queries].transpose(1, 2)
        dv[images] += torch.matmul(weights.mT, d_out)
        d_weights = torch.matmul(d_out, v[images].permute(0, 2, 3, 1))
        d_logits = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
        if dbias is not None:
            dbias[:, queries] += d_logits.sum(0, dtype=sums)
        d_logits.mul_(scale)
        dq[images, queries] = torch.matmul(d_logits, k[images].transpose(1, 2)).transpose(1, 2)
        dk[images] += torch.matmul(d_logits.mT, q[images, queries].transpose(1, 2))
    dk, dv = (x.transpose(1, 2).contiguous().to(q.dtype) for x in (dk, dv))
    return dq, dk, dv, q.new_empty(0) if bias is None or dbias is None else dbias.to(bias.dtype)


def attention_weights(q: Tensor, k: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """Probabilities ``(b, N, t, S)``."""
    logits = torch.matmul((q * scale).transpose(1, 2), k.permute(0, 2, 3, 1))
    if bias is not None:
        logits += bias.to(logits.dtype)
    return logits.softmax(-1)


def parts(q: Tensor, k: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of images and queries whose logits fit the budget, the same for every call of this shape."""
    batch, queries, heads, _ = q.shape
    budget = CHUNK.get(q.device.type, CHUNK["cuda"]) // max(heads * k.shape[1], 1)
    rows = max(1, min(queries, budget))
    images = max(1, budget // rows)
    for image in range(0, batch, images):
        for query in range(0, queries, rows):
            yield slice(image, image + images), slice(query, query + rows)


def _of(bias: Tensor | None, queries: slice) -> Tensor | None:
    return None if bias is None else bias[:, queries]


TOKENS = TokenBackend(
    "tiled", register_token_attention("tiled_tokens", TokenKernel(forward, backward, no_stats)), never
)

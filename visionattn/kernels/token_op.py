"""What ``token_attention`` asks of a backend, and how a kernel becomes registered torch ops.

A backend's functions take ``(q, k, v, bias, scale)``, already checked: q ``(B, T, N, D)``, k ``(B, S, N, D)`` and v
``(B, S, N, E)`` of one floating type on one device, any strides; bias ``(N, T, S)`` or None, of any floating type on
the same device.

Legend: B batch, T queries, S keys, N heads, D head width of queries and keys, E head width of values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from visionattn.kernels.custom_op import BACKWARD_WANTED, THREE, define, dense, differentiate
from visionattn.kernels.dispatch import Candidate
from visionattn.kernels.geometry import certainly
from visionattn.kernels.signature import stats_dtype

TokenFn = Callable[[Tensor, Tensor, Tensor, Tensor | None, float], Tensor]
TokenBackend = Candidate[[Tensor, Tensor, Tensor, Tensor | None, float]]


@dataclass(frozen=True)
class TokenKernel:
    """A backend's functions; the tensors they get have their channels side by side, and the bias is contiguous.

    Attributes:
        forward: ``(q, k, v, bias, scale) -> (out (B, T, N, E), stats)``, both contiguous.
        backward: ``(grad, q, k, v, bias, out, stats, scale, table) ->`` the gradients of q, k, v and of the bias, all
            contiguous; the last is empty unless ``table`` says that it is wanted. ``grad`` and ``out`` are contiguous.
        stats_shape: of q, the shape of ``stats``, whose type is ``stats_dtype(q.dtype)``.
    """

    forward: Callable[[Tensor, Tensor, Tensor, Tensor | None, float], tuple[Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]]
    stats_shape: Callable[[Tensor], Sequence[int]]


def dense_logits(q: Tensor, k: Tensor, bias: Tensor | None, scale: float) -> Tensor:
    """The logits of all pairs, ``(B, N, T, S)``, in plain differentiable torch code."""
    logits = torch.einsum("btnd,bsnd->bnts", q * scale, k)
    return logits if bias is None else logits + bias.to(logits.dtype)


def register_token_attention(name: str, kernel: TokenKernel) -> TokenFn:
    """Register ``visionattn::<name>`` and its backward; return the function of a :class:`TokenBackend`."""
    forward_op = define(name, f"({THREE}, float scale) -> (Tensor, Tensor)", _forward(kernel), _forward_fake(kernel))
    schema = f"(Tensor grad, {THREE}, Tensor out, Tensor stats, float scale, {BACKWARD_WANTED})"
    backward_op = define(
        f"{name}_backward", f"{schema} -> (Tensor, Tensor, Tensor, Tensor)", _backward(kernel), _backward_fake
    )
    differentiate(forward_op, backward_op, maps=3)
    register_flop_formula(forward_op.overloadpacket)(_flops)
    register_flop_formula(backward_op.overloadpacket)(_backward_flops)

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> Tensor:
        out: Tensor = forward_op(q, k, v, bias, scale)[0]
        return out

    return attend


def check_tokens(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> None:
    """Check that queries, keys, values and bias fit together.

    Raises:
        ValueError: shapes or devices that do not, with the numbers.
        TypeError: types that do not.
    """
    name = "token_attention"
    for letter, tensor in (("q", q), ("k", k), ("v", v)):
        if tensor.dim() != 4:
            raise ValueError(f"{name}: {letter} must have 4 dimensions (B, T, heads, D), got {tuple(tensor.shape)}")
    if any(certainly(a != b) for a, b in zip(q.shape[:1] + q.shape[2:], k.shape[:1] + k.shape[2:], strict=True)):
        raise ValueError(f"{name}: q and k must agree in (B, heads, D), got {tuple(q.shape)} and {tuple(k.shape)}")
    if any(certainly(a != b) for a, b in zip(k.shape[:3], v.shape[:3], strict=True)):
        raise ValueError(f"{name}: k and v must agree in (B, S, heads), got {tuple(k.shape)} and {tuple(v.shape)}")
    if any(certainly(size < 1) for size in (k.shape[1], q.shape[3], v.shape[3])):
        raise ValueError(f"{name}: keys and head widths must be at least 1, got {tuple(k.shape)} and {tuple(v.shape)}")
    if not (q.is_floating_point() and q.dtype == k.dtype == v.dtype):
        raise TypeError(f"{name}: q, k and v must have one floating type, got {q.dtype}, {k.dtype}, {v.dtype}")
    tensors = (q, k, v) if bias is None else (q, k, v, bias)
    if any(tensor.device != q.device for tensor in tensors):
        raise ValueError(f"{name}: all tensors must be on one device, got {[str(x.device) for x in tensors]}")
    if bias is None:
        return
    expected = (q.shape[2], q.shape[1], k.shape[1])
    if bias.dim() != 3 or any(certainly(have != need) for have, need in zip(bias.shape, expected, strict=True)):
        raise ValueError(f"{name}: bias must be (heads, queries, keys) = {expected}, got {tuple(bias.shape)}")
    if not bias.is_floating_point():
        raise TypeError(f"{name}: bias must be floating point, got {bias.dtype}")


def _forward(kernel: TokenKernel):
    def forward(q, k, v, bias, scale):
        check_tokens(q, k, v, bias)
        return kernel.forward(dense(q), dense(k), dense(v), None if bias is None else bias.contiguous(), scale)

    return forward


def _forward_fake(kernel: TokenKernel):
    def fake(q, k, v, bias, scale):
        out = v.new_empty((*q.shape[:3], v.shape[3]))
        return out, q.new_empty(kernel.stats_shape(q), dtype=stats_dtype(q.dtype))

    return fake


def _backward(kernel: TokenKernel):
    def backward(grad, q, k, v, bias, out, stats, scale, maps=True, table=True):
        table = table and bias is not None
        dense_bias = None if bias is None else bias.contiguous()
        inputs = dense(q), dense(k), dense(v), dense_bias, out.contiguous(), stats.contiguous()
        return kernel.backward(grad.contiguous(), *inputs, scale, table)

    return backward


def _backward_fake(grad, q, k, v, bias, out, stats, scale, maps=True, table=True):
    of_bias = bias.new_empty(bias.shape) if table and bias is not None else q.new_empty(0)
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), of_bias


def _flops(q_shape, k_shape, v_shape, *args: Any, **kwargs: Any) -> int:
    batch, queries, heads, depth = q_shape
    return 2 * (depth + v_shape[3]) * batch * heads * queries * k_shape[1]


def _backward_flops(grad, q_shape, k_shape, v_shape, *args: Any, **kwargs: Any) -> int:
    return 2 * _flops(q_shape, k_shape, v_shape)

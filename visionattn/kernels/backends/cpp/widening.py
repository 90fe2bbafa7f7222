"""Calls in bfloat16 whose sums the C++ code has in float32 alone: maps are widened before it and narrowed after it."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from visionattn.kernels.backends.cpp.library import backward, contiguous, forward
from visionattn.kernels.signature import BackwardRun, ForwardRun, Maps, Signature, Wanted


def computed_in(call_dtype: torch.dtype, decay: int) -> torch.dtype:
    """The type in which a call is computed: bfloat16 with a decay in float32, as its products know none."""
    return torch.float32 if decay and call_dtype == torch.bfloat16 else call_dtype


def widened_forward(call: Signature) -> ForwardRun:
    """As :func:`visionattn.kernels.backends.cpp.library.forward`, for every call."""
    dtype = computed_in(call.dtype, call.geometry.decay)
    if dtype == call.dtype:
        return forward(call)
    narrow, attend = call.dtype, forward(_wide(call, dtype))

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        out, stats = attend(_to(dtype, q), _to(dtype, k), _to(dtype, v), bias)
        return out.to(narrow), stats

    return run


def widened_backward(call: Signature, wanted: Wanted) -> BackwardRun:
    """As :func:`visionattn.kernels.backends.cpp.library.backward`, for every call."""
    dtype = computed_in(call.dtype, call.geometry.decay)
    if dtype == call.dtype:
        return backward(call, wanted)
    layouts = tuple(contiguous(layout.shape) for layout in wanted.gradients)
    differentiate = backward(_wide(call, dtype), wanted._replace(gradients=layouts))

    def run(
        grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, stats: Tensor, into: Maps
    ) -> Tensor:
        found = [torch.empty(one.shape, dtype=dtype) for one in into]
        wide = _to(dtype, grad), _to(dtype, q), _to(dtype, k), _to(dtype, v)
        table = differentiate(*wide, bias, _to(dtype, out), stats, found)
        if wanted.maps:
            for one, gradient in zip(into, found, strict=True):
                one.copy_(gradient)
        return table

    return run


def _wide(call: Signature, dtype: torch.dtype) -> Signature:
    q, k, v = (contiguous(layout.shape) for layout in (call.q, call.k, call.v))
    return replace(call, q=q, k=k, v=v, dtype=dtype)


def _to(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    return tensor.to(dtype, memory_format=torch.contiguous_format)

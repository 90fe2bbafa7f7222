"""How wrong a backend is: its error against float64, beside the error of plain code in the same type.

Judging a kernel by the obvious code's error needs no magic tolerance: at most twice that error, in the output and
each gradient.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from visionattn.kernels.backends import reference
from visionattn.kernels.op import AttentionFn, Call

NAMES = ("out", "q", "k", "v", "bias")


@dataclass(frozen=True)
class Error:
    """Largest absolute errors of a backend and of plain code of the same type, and the largest true value.

    For a gradient the largest one of q, k and v counts: with a single key per query those of q and k are zero.
    """

    backend: float
    plain: float
    largest: float
    epsilon: float

    @property
    def is_fine(self) -> bool:
        """At most twice the plain code's error; four roundings of the largest value are granted where that one is
        tiny."""
        return self.backend <= 2 * self.plain + 4 * self.epsilon * self.largest


def compare(call: Call, fn: AttentionFn, gradients: bool = True) -> dict[str, Error]:
    """Errors of `fn` on this call, by name: the output, and with `gradients` those of q, k, v and of the bias where
    there is one."""
    upstream = torch.randn_like(call.v)
    truth = _results(call, reference.attend, upstream, torch.float64, gradients)
    plain = _results(call, reference.attend, upstream, call.q.dtype, gradients)
    found = _results(call, fn, upstream, call.q.dtype, gradients)
    epsilon = torch.finfo(call.q.dtype).eps
    sizes = [true.abs().max().item() for true in truth]
    shared = max(sizes[1:4], default=0.0)  # a gradient may vanish where its sum cancels, its roundings do not
    errors = {}
    for name, true, obvious, ours, size in zip(NAMES, truth, plain, found, sizes, strict=False):
        largest = size if name == "out" else max(size, shared)
        errors[name] = Error(_distance(ours, true), _distance(obvious, true), largest, epsilon)
    return errors


def _distance(found: Tensor, true: Tensor) -> float:
    distance = (found.double() - true).abs().max().item()
    return distance if distance == distance else float("inf")  # NaN must not pass a comparison


def _results(call: Call, fn: AttentionFn, upstream: Tensor, dtype: torch.dtype, gradients: bool) -> list[Tensor]:
    """Output and gradients with everything but the bias in `dtype`; the bias is a float32 parameter, or float64 for
    the truth."""
    q, k, v = (t.detach().to(dtype).requires_grad_(gradients) for t in (call.q, call.k, call.v))
    table = None
    if call.bias is not None:
        kept = torch.float64 if dtype == torch.float64 else call.bias.dtype
        table = call.bias.detach().to(kept).requires_grad_(gradients)
    out = fn(q, k, v, table, call.geometry, call.scale)
    if not gradients:
        return [out]
    leaves = [q, k, v] if table is None else [q, k, v, table]
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream.to(dtype))]

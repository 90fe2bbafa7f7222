"""The error of a backend against float64, beside the error of plain code in the same type.

A kernel may have at most twice the error of plain code, in the output and in each gradient; no tolerance is chosen.
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
    """Largest absolute errors of a backend and of plain code of the same type.

    Attributes:
        backend: error of the backend.
        plain: error of the plain code.
        largest: largest value in float64. For a gradient it is the largest of q, k and v: with a single key per query
            those of q and k are zero.
        epsilon: machine epsilon of the type.
    """

    backend: float
    plain: float
    largest: float
    epsilon: float

    @property
    def is_fine(self) -> bool:
        """Whether the error is at most twice that of plain code, plus four roundings of the largest value."""
        return self.backend <= 2 * self.plain + 4 * self.epsilon * self.largest


def compare(call: Call, fn: AttentionFn, gradients: bool = True) -> dict[str, Error]:
    """Compare a backend with float64 on a call.

    Args:
        call: the attention.
        fn: the backend.
        gradients: compare the gradients of q, k, v and the bias too.

    Returns:
        Name (``out``, ``q``, ``k``, ``v``, ``bias``) to error.
    """
    upstream = torch.randn_like(call.v)
    exact = _results(call, reference.attend, upstream, torch.float64, gradients)
    plain = _results(call, reference.attend, upstream, call.q.dtype, gradients)
    measured = _results(call, fn, upstream, call.q.dtype, gradients)
    epsilon = torch.finfo(call.q.dtype).eps
    sizes = [values.abs().max().item() for values in exact]
    shared = max(sizes[1:4], default=0.0)  # a gradient may vanish where its sum cancels, its roundings do not
    errors = {}
    for name, values, by_plain, by_backend, size in zip(NAMES, exact, plain, measured, sizes, strict=False):
        largest = size if name == "out" else max(size, shared)
        errors[name] = Error(_distance(by_backend, values), _distance(by_plain, values), largest, epsilon)
    return errors


def _distance(values: Tensor, exact: Tensor) -> float:
    distance = (values.double() - exact).abs().max().item()
    return distance if distance == distance else float("inf")  # NaN must not pass a comparison


def _results(call: Call, fn: AttentionFn, upstream: Tensor, dtype: torch.dtype, gradients: bool) -> list[Tensor]:
    """Output and gradients with q, k, v in ``dtype``; the bias keeps its type, but is float64 with float64."""
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

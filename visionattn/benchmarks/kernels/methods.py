"""The methods that are timed on a case: the op's backends, the baselines, timm, and attention without a bias."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from visionattn.benchmarks.kernels import timm_swin
from visionattn.benchmarks.kernels.baselines import BASELINES, ROUTED_BASELINES, not_tiled
from visionattn.benchmarks.timing import Runner
from visionattn.kernels import neighborhood_attention, routed_attention, window_attention
from visionattn.kernels.backends.xformers import to_windows
from visionattn.kernels.dispatch import Candidate
from visionattn.kernels.op import Call, MapCall
from visionattn.kernels.routed import RoutedCall

AnyCall = Call | RoutedCall
M = TypeVar("M", bound=MapCall[Any])

REPLACED = ("flex", "natten")
"""Backends that are left out unless named: their baselines run the same code in more cases."""
DENSE = "dense"
SLOW = ("reference", DENSE)
FORWARD, BACKWARD, BOTH = DIRECTIONS = ("forward", "backward", "forward+backward")


@dataclass(frozen=True)
class Method:
    """A method of a case: a function to time, or the reason why there is none.

    Attributes:
        name: as in the table.
        run: the forward pass; None where the method cannot run the case.
        leaves: tensors whose gradients the backward pass computes.
        reason: why the method cannot run the case.
    """

    name: str
    run: Callable[[], Tensor] | None
    leaves: tuple[Tensor, ...] = ()
    reason: str = ""

    def runner(self, direction: str) -> Runner:
        """What is timed: one of :data:`DIRECTIONS`. The gradient of the output is made once, before."""
        return {FORWARD: lambda: self._forward, BACKWARD: self._backward, BOTH: self._forward_backward}[direction]()

    def _forward(self) -> None:
        with torch.no_grad():
            self._run()

    def _backward(self) -> Runner:
        """Autograd runs a backward pass on the CUDA stream of its forward pass, so each stream has its own forward."""
        passes: dict[Any, tuple[Tensor, Tensor]] = {}

        def run() -> None:
            stream = torch.cuda.current_stream() if self.leaves[0].device.type == "cuda" else None
            if stream not in passes:
                out = self._run()
                passes[stream] = out, torch.ones_like(out)
            out, upstream = passes[stream]
            torch.autograd.grad(out, self.leaves, upstream, retain_graph=True, allow_unused=True)

        return run

    def _forward_backward(self) -> Runner:
        upstream: list[Tensor] = []

        def run() -> None:
            out = self._run()
            if not upstream:
                upstream.append(torch.ones_like(out))
            torch.autograd.grad(out, self.leaves, upstream[0], allow_unused=True)

        return run

    def _run(self) -> Tensor:
        if self.run is None:
            raise ValueError(f"{self.name} cannot run: {self.reason}")
        return self.run()


def methods(call: AnyCall, train: bool, wanted: str | list[str] | None = None) -> Iterator[Method]:
    """The methods of a case whose names match a pattern; with None all but the slow and the replaced ones."""
    patterns = [wanted] if isinstance(wanted, str) else wanted
    for name, make in _makers(call, train):
        hidden = patterns is None and name in (*SLOW, *REPLACED)
        if not hidden and (patterns is None or any(fnmatch(name, pattern) for pattern in patterns)):
            yield make()


def _makers(call: AnyCall, train: bool) -> Iterator[tuple[str, Callable[[], Method]]]:
    yield "auto", partial(_auto, call, train)
    baselines: tuple[Candidate[...], ...] = ROUTED_BASELINES if isinstance(call, RoutedCall) else BASELINES
    for backend in (*_backends(call), *baselines):
        yield backend.name, partial(_backend, call, backend, train)
    if isinstance(call, RoutedCall):
        return
    for name, fused in (("timm", False), ("timm fused", True)):
        yield name, partial(_timm, call, name, fused, train)
    yield "sdpa ceiling", partial(_ceiling, call, train)
    yield DENSE, partial(_dense, call, train)


def _backends(call: AnyCall) -> tuple[Candidate[...], ...]:
    if isinstance(call, RoutedCall):
        return routed_attention.backends
    return (window_attention if call.geometry.is_window else neighborhood_attention).backends


def leaf_call(call: M, train: bool) -> tuple[M, tuple[Tensor, ...]]:
    """The same call on fresh leaves: q, k and v as views of one packed leaf, and the bias."""
    packed = torch.stack((call.q, call.k, call.v), 3).requires_grad_(train)
    q, k, v = packed.unbind(3)
    fresh = replace(call, q=q, k=k, v=v)
    if not isinstance(fresh, Call) or fresh.bias is None:
        return fresh, (packed,)
    bias = fresh.bias.detach().clone().requires_grad_(train)
    return replace(fresh, bias=bias), (packed, bias)


def _backend(call: AnyCall, backend: Candidate[...], train: bool) -> Method:
    fresh, leaves = leaf_call(call, train)
    reason = fresh.reason(backend)
    if reason:
        return Method(backend.name, None, reason=reason)

    def run() -> Tensor:
        q, k, v = leaves[0].unbind(3)
        return replace(fresh, q=q, k=k, v=v, qkv=leaves[0]).run(backend)

    return Method(backend.name, run, leaves)


def _auto(call: AnyCall, train: bool) -> Method:
    fresh, _ = leaf_call(call, train)
    chosen = next(backend for backend in _backends(call) if not fresh.reason(backend))
    return replace(_backend(call, chosen, train), name=f"auto ({chosen.name})")


def _timm(call: Call, name: str, fused: bool, train: bool) -> Method:
    reason = timm_swin.refuses(call)
    if reason:
        return Method(name, None, reason=reason)
    run, leaves = timm_swin.prepare(call, fused, train)
    return Method(name, run, tuple(leaves))


def _ceiling(call: Call, train: bool) -> Method:
    """Torch's attention without bias on windows that are contiguous already: an upper bound of the speed."""
    name = "sdpa ceiling"
    reason = not_tiled(call.q, call.k, call.v, None, call.geometry, call.scale)
    if reason:
        return Method(name, None, reason=reason)
    ready = (to_windows(t, call.geometry).transpose(1, 2).contiguous() for t in (call.q, call.k, call.v))
    q, k, v = (t.requires_grad_(train) for t in ready)
    return Method(name, lambda: scaled_dot_product_attention(q, k, v, scale=call.scale), (q, k, v))


def _dense(call: Call, train: bool) -> Method:
    """Torch's attention of every query to the whole map, with heads moved forward and back: what a kernel may save."""
    fresh, leaves = leaf_call(replace(call, bias=None), train)

    def run() -> Tensor:
        q, k, v = (x.flatten(1, 2).transpose(1, 2) for x in leaves[0].unbind(3))
        backends = [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
        with sdpa_kernel(backends, set_priority=True):
            out = scaled_dot_product_attention(q, k, v, scale=fresh.scale)
        return out.transpose(1, 2).unflatten(1, fresh.q.shape[1:3])

    return Method(DENSE, run, leaves)

"""Turn a kernel into registered torch ops.

``visionattn::<name>`` takes q, k and v, ``visionattn::<name>_packed`` one tensor with all three; each has a
``_backward``. The fake rule, the autograd rule and the FLOP counts are the same for every backend. The ops are defined
without ``torch.library.custom_op``, whose wrappers cost more time than the kernels of a small map.

Legend: B batch, H W map, N heads, D head width of queries and keys, E head width of values.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.eager import differentiates
from visionattn.kernels.flops import register_attention_flops
from visionattn.kernels.geometry import Geometry, decode
from visionattn.kernels.op import AttentionFn, PackedFn, check_bias, check_tensors
from visionattn.kernels.signature import (
    BackwardRun,
    ForwardRun,
    Kept,
    Kernel,
    Layout,
    Maps,
    Signature,
    Wanted,
    stats_dtype,
)

LIBRARY = torch.library.Library(__name__.partition(".")[0], "FRAGMENT")
"""The namespace of the operators is the package's name, also where these files are loaded under another one
(``scripts/hub_kernel.py``)."""
RULES = "SymInt[] rows, SymInt[] cols, float scale"
THREE = "Tensor q, Tensor k, Tensor v, Tensor? bias"
ONE = "Tensor qkv, Tensor? bias"
BACKWARD_WANTED = "bool maps=True, bool table=True"
BACKWARD = f"Tensor out, Tensor stats, {RULES}, {BACKWARD_WANTED}"
Rule = list[int]


def register_attention(name: str, kernel: Kernel) -> tuple[AttentionFn, PackedFn]:
    """Register the ops of a kernel; return the functions of a ``Backend``: of q, k and v, and of all in one tensor."""
    runs = Runs(kernel)
    forward_op = define(name, f"({THREE}, {RULES}) -> (Tensor, Tensor)", _forward(runs), _forward_fake(kernel))
    results = "(Tensor, Tensor, Tensor, Tensor)"
    backward_op = define(
        f"{name}_backward", f"(Tensor grad, {THREE}, {BACKWARD}) -> {results}", _backward(runs), _backward_fake
    )
    packed_op = define(
        f"{name}_packed", f"({ONE}, {RULES}) -> (Tensor, Tensor)", _packed_forward(runs), _packed_forward_fake(kernel)
    )
    packed_backward_op = define(
        f"{name}_packed_backward",
        f"(Tensor grad, {ONE}, {BACKWARD}) -> (Tensor, Tensor)",
        _packed_backward(runs),
        _packed_backward_fake,
    )
    differentiate(forward_op, backward_op, maps=3)
    differentiate(packed_op, packed_backward_op, maps=1)
    register_attention_flops(forward_op, backward_op, packed_op, packed_backward_op)

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
        out: Tensor = forward_op(q, k, v, bias, *geometry.encode(), scale)[0]
        return out

    def attend_packed(qkv: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
        out: Tensor = packed_op(qkv, bias, *geometry.encode(), scale)[0]
        return out

    return attend, attend_packed


def define(name: str, schema: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    """Define ``visionattn::<name>`` and return it; ``kernel`` runs it on every device."""
    LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    LIBRARY.impl(name, _untraced(kernel), "CompositeExplicitAutograd")
    torch.library.register_fake(f"{LIBRARY.ns}::{name}", fake, lib=LIBRARY)
    return getattr(getattr(torch.ops, LIBRARY.ns), name).default


def _untraced(kernel: Callable[..., Any]) -> Callable[..., Any]:
    """``kernel``, hidden from Dynamo, which would trace it where a graph breaks beside it."""
    hidden: list[Callable[..., Any]] = []

    def run(*arguments: Any) -> Any:
        if "torch._dynamo" not in sys.modules:  # importing it would cost an eager program a second
            return kernel(*arguments)
        if not hidden:
            hidden.append(torch.compiler.disable(kernel))
        return hidden[0](*arguments)

    return run


def differentiate(forward_op: Any, backward_op: Any, maps: int) -> None:
    """Register the autograd rules of an op whose first ``maps`` arguments are maps, and of its backward."""

    class Attention(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
            with torch._C._AutoDispatchBelowAutograd():
                out, stats = forward_op(*inputs)
            ctx.save_for_backward(*inputs[: maps + 1], out, stats)
            ctx.rule = inputs[maps + 1 :]
            ctx.mark_non_differentiable(stats)
            ctx.set_materialize_grads(False)
            return out, stats

        @staticmethod
        def backward(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
            if grad is None:
                return (None,) * (maps + 1 + len(ctx.rule))
            needed = ctx.needs_input_grad
            of_maps, of_table = any(needed[:maps]), needed[maps]
            *gradients, table = backward_op(grad, *ctx.saved_tensors, *ctx.rule, of_maps, of_table)
            return *(gradients if of_maps else (None,) * maps), table if of_table else None, *(None for _ in ctx.rule)

    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
            with torch._C._AutoDispatchBelowAutograd():
                results: tuple[Tensor, ...] = backward_op(*inputs)
            return results

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> None:
            raise RuntimeError(
                f"{backward_op} has no gradient of its own; where a second derivative is needed, choose the backend "
                "'reference' or 'traceable'"
            )

    under_autograd(forward_op, Attention, maps + 1)
    under_autograd(backward_op, Once, maps + 4)


def under_autograd(op: Any, function: type[torch.autograd.Function], tensors: int) -> None:
    """Register ``function`` as what runs where one of the first ``tensors`` arguments of an op needs a gradient."""

    def run(*inputs: Any) -> Any:
        if differentiates(*inputs[:tensors]):
            return function.apply(*inputs)
        with torch._C._AutoDispatchBelowAutograd():
            return op(*inputs)

    LIBRARY.impl(op._opname, run, "Autograd")


class Runs:
    """The functions that a kernel built, by everything that they depend on."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self.forwards: Kept[ForwardRun] = Kept()
        self.backwards: Kept[BackwardRun] = Kept()

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, rows: Rule, cols: Rule, scale: float):
        """Output and stats."""
        key = (*_key(q, k, v, bias), *rows, *cols, scale)
        run = self.forwards.get(key)
        if run is None:
            signature = signed(q, k, v, bias, decode(rows, cols), scale)
            run = self.forwards.keep(key, _on_dense(self.kernel.forward(signature), 0, (q, k, v), bias))
        return run(q, k, v, bias)

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, stats: Tensor,
        rows: Rule, cols: Rule, scale: float, into: Maps, maps: bool, table: bool,
    ) -> Tensor:  # fmt: skip
        """Write the gradients of the maps, return that of the table."""
        key = (*_key(q, k, v, bias), into[0].stride(), into[2].stride(), *rows, *cols, scale, maps, table)
        run = self.backwards.get(key)
        if run is None:
            signature = signed(q, k, v, bias, decode(rows, cols), scale)
            wanted = Wanted(tuple(Layout.of(gradient) for gradient in into), maps, table and bias is not None)
            run = self.backwards.keep(key, _on_dense(self.kernel.backward(signature, wanted), 1, (q, k, v), bias))
        return run(grad.contiguous(), q, k, v, bias, out.contiguous(), stats.contiguous(), into)


def _key(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[object, ...]:
    of_bias = None if bias is None else (bias.shape, bias.stride(), bias.dtype, bias.device)
    types = q.dtype, k.dtype, v.dtype, q.device, k.device, v.device
    return q.shape, q.stride(), k.shape, k.stride(), v.shape, v.stride(), *types, of_bias


def signed(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Signature:
    """The checked signature of a call: a compiled or exported graph takes sizes that were symbols when it was traced.

    Raises:
        ValueError: shapes, sizes or devices that do not fit together.
        TypeError: types that do not.
    """
    name = "window_attention" if geometry.is_window else "neighborhood_attention"
    check_tensors(name, q, k, v)
    geometry.check(q.shape[1], q.shape[2])
    if bias is not None:
        check_bias(name, q, bias, geometry)
    of_q, of_k, of_v = (Layout.of(dense(x)) for x in (q, k, v))
    return Signature(of_q, of_k, of_v, q.dtype, q.device, None if bias is None else bias.dtype, geometry, scale)


def dense(x: Tensor) -> Tensor:
    """The tensor with its channels side by side in memory; the other strides are free."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def _on_dense(run: Callable[..., Any], first: int, maps: Maps, bias: Tensor | None) -> Callable[..., Any]:
    """``run`` with its maps (arguments from ``first`` on) made dense and the table contiguous, where they are not."""
    if all(dense(x) is x for x in maps) and (bias is None or bias.is_contiguous()):
        return run

    def copied(*tensors: Tensor) -> Any:
        before, (q, k, v, table), rest = tensors[:first], tensors[first : first + 4], tensors[first + 4 :]
        return run(*before, dense(q), dense(k), dense(v), None if table is None else table.contiguous(), *rest)

    return copied


def _forward(runs: Runs):
    def forward(q, k, v, bias, rows, cols, scale):
        return runs.forward(q, k, v, bias, rows, cols, scale)

    return forward


def _forward_fake(kernel: Kernel):
    def fake(q, k, v, bias, rows, cols, scale):
        return v.new_empty(v.shape), q.new_empty(kernel.stats_shape(q), dtype=stats_dtype(q.dtype))

    return fake


def _backward(runs: Runs):
    def backward(grad, q, k, v, bias, out, stats, rows, cols, scale, maps=True, table=True):
        into = q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)
        return *into, runs.backward(grad, q, k, v, bias, out, stats, rows, cols, scale, into, maps, table)

    return backward


def _backward_fake(grad, q, k, v, bias, out, stats, rows, cols, scale, maps=True, table=True):
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape), _table_like(q, bias, table)


def _packed_forward(runs: Runs):
    def forward(qkv, bias, rows, cols, scale):
        q, k, v = qkv.unbind(3)
        return runs.forward(q, k, v, bias, rows, cols, scale)

    return forward


def _packed_forward_fake(kernel: Kernel):
    def fake(qkv, bias, rows, cols, scale):
        q = qkv.select(3, 0)
        return q.new_empty(q.shape), q.new_empty(kernel.stats_shape(q), dtype=stats_dtype(q.dtype))

    return fake


def _packed_backward(runs: Runs):
    def backward(grad, qkv, bias, out, stats, rows, cols, scale, maps=True, table=True):
        q, k, v = qkv.unbind(3)
        gradient = qkv.new_empty(qkv.shape)
        into = gradient.unbind(3)
        return gradient, runs.backward(grad, q, k, v, bias, out, stats, rows, cols, scale, into, maps, table)

    return backward


def _packed_backward_fake(grad, qkv, bias, out, stats, rows, cols, scale, maps=True, table=True):
    return qkv.new_empty(qkv.shape), _table_like(qkv, bias, table)


def _table_like(q: Tensor, bias: Tensor | None, wanted: bool) -> Tensor:
    return bias.new_empty(bias.shape) if wanted and bias is not None else q.new_empty(0)

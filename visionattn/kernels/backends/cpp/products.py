"""Calls of ``layers.cpp`` for linear layers: bfloat16 maps, float32 weights and sums.

A product takes the weight as it is, rounds it while it packs it, and ends with the bias and GELU or its slope, so that
no map is written to be read again at once. The gradient of the weight comes in float32 with that of the bias.

Shapes: T tokens, I channels in, O channels out; both multiples of 16.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from visionattn.kernels.backends.cpp import layers

Layer = tuple[Tensor, Tensor | None]
"""Weight ``(O, I)`` and bias ``(O,)``, float32 and contiguous."""
PIECES, PER_UNIT = 32, 5.75
"""Cubics of a function of GELU, and how many of them a unit has; as in ``linear.h``."""
PIECE_BYTES = 1 << 22
"""Of the widest map of a feed-forward network, which is computed in pieces: it is not written to memory."""
JOBS, PART_ROWS = 16, 512
"""Jobs that a gradient of a weight aims at, and the fewest rows of one; the number of threads has no say."""
BLOCK_OUTPUTS, BLOCK_INPUTS = 96, 192
"""Numbers of a weight of which a job holds at least one block; ``weight_gradient.h`` has its own."""


class Linear(ctypes.Structure):
    """The C++ struct of a product with a weight."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("inner", "columns", "threads", "back")),
        *(
            (name, ctypes.c_void_p)
            for name in ("x", "weight", "bias", "out", "activated", "hidden", "shares", "slopes")
        ),
    )


class WeightGradient(ctypes.Structure):
    """The C++ struct of the gradients of weight and bias."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("inputs", "outputs", "threads", "parts", "adds", "reserved")),
        *((name, ctypes.c_void_p) for name in ("x", "grad", "weight", "bias")),
    )


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether this CPU multiplies pairs of bfloat16 numbers and has no matrix registers; with them oneDNN is faster."""
    return not layers.unavailable() and bool(layers.library().visionattn_has_products())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear layer: x bfloat16 ``(..., I)``, weight float32 ``(O, I)``, bias float32 ``(O,)``; all contiguous."""
    out = _map(x, weight.shape[0])
    _multiply(x, weight, bias=bias, out=out)
    return out


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of a linear layer's input: grad bfloat16 ``(..., O)``, contiguous, to ``(..., I)``."""
    out = _map(grad, weight.shape[1])
    _multiply(grad, weight, back=True, out=out)
    return out


def weight_gradient(grad: Tensor, x: Tensor, bias: bool) -> tuple[Tensor, Tensor | None]:
    """The gradients of weight and bias, float32: grad ``(..., O)``, x ``(..., I)``, both bfloat16 and contiguous."""
    sums = _Sums(x.numel() // x.shape[-1], x.shape[-1], grad.shape[-1], bias)
    sums.add(grad, x)
    return sums.totals()


def feed_forward(x: Tensor, first: Layer, second: Layer, approximate: str, keep: bool) -> tuple[Tensor, Tensor | None]:
    """Two linear layers with a GELU between, and what GELU is applied to (None unless ``keep``), ``(T, hidden)``.

    Args:
        x: bfloat16 ``(..., I)``.
        first: weight and bias, as in :func:`linear`.
        second: the same.
        approximate: which GELU.
        keep: whether there will be a backward.
    """
    rows, width = x.flatten(0, -2), first[0].shape[0]
    hidden = _map(rows, width) if keep else None
    out, pieces = _map(rows, second[0].shape[0]), _pieces(rows.shape[0], width)
    buffer, shares = rows.new_empty((pieces[0].stop, width)), _table(approximate, False)
    for piece in pieces:
        activated = buffer[: piece.stop - piece.start]
        kept = None if hidden is None else hidden[piece]
        _multiply(rows[piece], first[0], bias=first[1], out=kept, activated=activated, shares=shares)
        _multiply(activated, second[0], bias=second[1], out=out[piece])
    return out.view(*x.shape[:-1], out.shape[1]), hidden


def feed_forward_gradients(
    grad: Tensor, x: Tensor, hidden: Tensor, first: Layer, second: Layer, approximate: str
) -> tuple[Tensor | None, ...]:
    """The gradients of x, and of weight and bias of both layers. What GELU gave is computed anew.

    Args:
        grad: bfloat16 ``(..., O)``, contiguous.
        x: as in :func:`feed_forward`.
        hidden: of :func:`feed_forward`.
        first: as there.
        second: as there.
        approximate: which GELU.
    """
    rows, grads, dx = x.flatten(0, -2), grad.flatten(0, -2), torch.empty_like(x)
    width, pieces, into = hidden.shape[1], _pieces(*hidden.shape), dx.view(hidden.shape[0], -1)
    length, tables = pieces[0].stop, {"shares": _table(approximate, False), "slopes": _table(approximate, True)}
    inner, activated = (rows.new_empty((length, width)) for _ in range(2))
    sums = _Sums(length, rows.shape[1], width, first[1] is not None)
    sums2 = _Sums(length, width, grads.shape[1], second[1] is not None)
    for piece in pieces:
        own, used = (buffer[: piece.stop - piece.start] for buffer in (inner, activated))
        _multiply(grads[piece], second[0], back=True, out=own, activated=used, hidden=hidden[piece], **tables)
        sums2.add(grads[piece], used)
        sums.add(own, rows[piece])
        _multiply(own, first[0], back=True, out=into[piece])
    return dx, *sums.totals(), *sums2.totals()


def _pieces(rows: int, width: int) -> list[slice]:
    """The rows in pieces whose maps of ``width`` channels the L3 cache holds; the first is the largest."""
    count = -(-rows * width * 2 // PIECE_BYTES)
    length = -(-rows // count)
    return [slice(start, min(start + length, rows)) for start in range(0, rows, length)]


class _Sums:
    """The gradients of a weight and a bias as sums over pieces of rows.

    Args:
        rows: of the largest piece, which is the first.
        inputs: channels in.
        outputs: channels out.
        bias: whether there is one.
    """

    def __init__(self, rows: int, inputs: int, outputs: int, bias: bool):
        blocks = -(-inputs // BLOCK_INPUTS) * -(-outputs // BLOCK_OUTPUTS)
        parts = max(1, min(JOBS // blocks, rows // PART_ROWS))
        self.weight = torch.empty((parts, outputs, inputs))
        self.bias = torch.empty((parts, outputs)) if bias else None
        self.started = False

    def add(self, grad: Tensor, x: Tensor) -> None:
        """Add what a piece gives: grad ``(..., O)`` and x ``(..., I)``."""
        parts, outputs, inputs = self.weight.shape
        sizes = (x.numel() // inputs, inputs, outputs, torch.get_num_threads(), parts, self.started, 0)
        arrays = map(_address, (x, grad, self.weight, self.bias))
        layers.call("weight_gradient", "run", WeightGradient(*sizes, *arrays))
        self.started = True

    def totals(self) -> tuple[Tensor, Tensor | None]:
        """The two gradients."""
        return _total(self.weight), None if self.bias is None else _total(self.bias)


def _total(parts: Tensor) -> Tensor:
    return parts.sum(0) if parts.shape[0] > 1 else parts.squeeze(0)


def _map(x: Tensor, channels: int) -> Tensor:
    return x.new_empty((*x.shape[:-1], channels))


def _multiply(x: Tensor, weight: Tensor, back: bool = False, **arrays: Tensor | None) -> None:
    inner, columns = x.shape[-1], weight.shape[1] if back else weight.shape[0]
    problem = Linear(x.numel() // inner, inner, columns, torch.get_num_threads(), back, _address(x), _address(weight))
    for name, array in arrays.items():
        setattr(problem, name, _address(array))
    layers.call("linear", "run", problem)


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@lru_cache(maxsize=4)
def _table(approximate: str, slope: bool) -> Tensor:
    """GELU(x) / x, or GELU's slope, less a half, as cubics from 0 on: float32 ``(4, PIECES)``, the constant first."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        powers, places = torch.arange(4, dtype=torch.float64), torch.arange(PIECES, dtype=torch.float64)
        nodes = (1 + torch.cos(torch.pi * (powers + 0.5) / 4)) / 2  # Chebyshev's: the error is nearly the least
        x = (places + nodes[:, None]) / PER_UNIT
        ones = torch.ones_like(x)
        values = torch.ops.aten.gelu_backward(ones, x, approximate=approximate) if slope else None
        values = F.gelu(x, approximate=approximate) / x if values is None else values
        return torch.linalg.solve(nodes[:, None] ** powers, values - 0.5).float().contiguous()

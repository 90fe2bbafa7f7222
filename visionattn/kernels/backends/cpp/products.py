"""Calls of ``layers.cpp`` for linear layers: bfloat16 maps, float32 weights and sums.

A product takes the weight as it is, rounds it while it packs it, and ends with the bias and GELU or its slope, so that
no map is written to be read again at once. The gradient of the weight comes in float32 with that of the bias.

Shapes: T tokens, I channels in, O channels out; both multiples of 16.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from visionattn.kernels.backends.cpp import layers
from visionattn.kernels.backends.cpp.packed import kept

Layer = tuple[Tensor, Tensor | None]
"""Weight ``(O, I)`` and bias ``(O,)``, float32 and contiguous."""
PIECES, DEGREE, PER_UNIT = 32, 4, 5.5
"""Polynomials of GELU, their degree, and how many of them a unit has; as in ``gelu.h``."""
PIECE_BYTES = 5 << 20
"""Of the widest map in the backward of a feed-forward network, which takes rows in pieces: the L3 cache holds them."""
JOBS, PART_ROWS = 16, 512
"""Jobs that a gradient of a weight aims at, and the fewest rows of one; the number of threads has no say."""
BLOCK_OUTPUTS, BLOCK_INPUTS = 96, 192
"""Numbers of a weight of which a job holds at least one block; ``weight_gradient.h`` has its own."""


class Linear(ctypes.Structure):
    """The C++ struct of a product with a weight."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("inner", "columns", "threads", "back")),
        *((name, ctypes.c_void_p) for name in ("x", "weight", "bias", "out", "activated", "hidden", "gelu", "packed")),
    )


class WeightGradient(ctypes.Structure):
    """The C++ struct of the gradients of weight and bias."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("inputs", "outputs", "threads", "parts", "adds", "reserved")),
        *((name, ctypes.c_void_p) for name in ("x", "grad", "weight", "bias")),
    )


class FeedForward(ctypes.Structure):
    """The C++ struct of two linear layers with a GELU between."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("rows", "piece")),
        *((name, ctypes.c_int32) for name in ("inputs", "width", "outputs", "threads", "parts", "parts2")),
        *((name, ctypes.c_void_p) for name in ("x", "weight", "bias", "weight2", "bias2", "gelu")),
        *((name, ctypes.c_void_p) for name in ("hidden", "out", "grad", "dx")),
        *((name, ctypes.c_void_p) for name in ("dweight", "dbias", "dweight2", "dbias2", "packed", "packed2")),
    )


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether this CPU multiplies pairs of bfloat16 numbers and has no matrix registers; with them oneDNN is faster."""
    return not layers.unavailable() and bool(layers.library().visionattn_has_products())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, keep: bool = False) -> Tensor:
    """A linear layer: x bfloat16 ``(..., I)``, weight float32 ``(O, I)``, bias float32 ``(O,)``; all contiguous.

    With ``keep`` the packed weight is kept for the next call.
    """
    out = _map(x, weight.shape[0])
    _with_kept(lambda packed: _multiply(x, weight, bias=bias, out=out, packed=packed[0]), (weight,), keep)
    return out


def input_gradient(grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of a linear layer's input: grad bfloat16 ``(..., O)``, contiguous, to ``(..., I)``."""
    out = _map(grad, weight.shape[1])
    _multiply(grad, weight, back=True, out=out)
    return out


def weight_gradient(grad: Tensor, x: Tensor, bias: bool) -> tuple[Tensor, Tensor | None]:
    """The gradients of weight and bias, float32: grad ``(..., O)``, x ``(..., I)``, both bfloat16 and contiguous."""
    rows, inputs, outputs = x.numel() // x.shape[-1], x.shape[-1], grad.shape[-1]
    sums = _sums(rows, inputs, outputs, bias)
    sizes = (rows, inputs, outputs, torch.get_num_threads(), sums[0].shape[0], False, 0)
    layers.call("weight_gradient", "run", WeightGradient(*sizes, *map(_address, (x, grad, *sums))))
    return _total(sums[0]), None if sums[1] is None else _total(sums[1])


def feed_forward(x: Tensor, first: Layer, second: Layer, approximate: str, keep: bool) -> tuple[Tensor, Tensor | None]:
    """Two linear layers with a GELU between, and what GELU is applied to (None unless ``keep``), ``(T, hidden)``.

    Args:
        x: bfloat16 ``(..., I)``.
        first: weight and bias, as in :func:`linear`.
        second: the same.
        approximate: which GELU.
        keep: whether there will be a backward; if not, the packed weights are kept for the next call.
    """
    out, rows = _map(x, second[0].shape[0]), x.numel() // x.shape[-1]
    hidden = x.new_empty((rows, first[0].shape[0])) if keep else None
    given, maps = (x, *first, *second, _table(approximate)), {"hidden": hidden, "out": out}

    def run(packed: Sequence[Tensor | None]) -> int:
        return _feed_forward("run", rows, given, (1, 1), packed=packed[0], packed2=packed[1], **maps)

    _with_kept(run, (first[0], second[0]), not keep)
    return out, hidden


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
    (rows, width), dx = hidden.shape, torch.empty_like(x)
    piece = -(-rows // -(-rows * width * 2 // PIECE_BYTES))
    sums = _sums(piece, x.shape[-1], width, first[1] is not None)
    sums2 = _sums(piece, width, grad.shape[-1], second[1] is not None)
    maps = {"hidden": hidden, "grad": grad, "dx": dx}
    counts, given = (sums[0].shape[0], sums2[0].shape[0]), (x, *first, *second, _table(approximate))
    totals = dict(zip(("dweight", "dbias", "dweight2", "dbias2"), (*sums, *sums2), strict=True))
    _feed_forward("backward", piece, given, counts, **maps, **totals)
    return dx, *(None if parts is None else _total(parts) for parts in (*sums, *sums2))


def _feed_forward(
    what: str, piece: int, given: tuple[Tensor | None, ...], parts: tuple[int, int], **arrays: Tensor | None
) -> int:
    x, weight, _, weight2 = given[:4]
    assert x is not None
    assert weight is not None
    assert weight2 is not None
    sizes = (x.numel() // x.shape[-1], piece, x.shape[-1], weight.shape[0], weight2.shape[0])
    problem = FeedForward(*sizes, torch.get_num_threads(), *parts, *map(_address, given))
    for name, array in arrays.items():
        setattr(problem, name, _address(array))
    return layers.call("feed_forward", what, problem)


def _sums(rows: int, inputs: int, outputs: int, bias: bool) -> tuple[Tensor, Tensor | None]:
    """Room for the gradients of a weight and a bias, of ``rows`` rows at a time, as sums over parts of them."""
    blocks = -(-inputs // BLOCK_INPUTS) * -(-outputs // BLOCK_OUTPUTS)
    parts = max(1, min(JOBS // blocks, rows // PART_ROWS))
    parts = 1 << parts.bit_length() - 1  # threads get as many of them each
    return torch.empty((parts, outputs, inputs)), torch.empty((parts, outputs)) if bias else None


def _total(parts: Tensor) -> Tensor:
    return parts.sum(0) if parts.shape[0] > 1 else parts.squeeze(0)


def _map(x: Tensor, channels: int) -> Tensor:
    return x.new_empty((*x.shape[:-1], channels))


def _multiply(x: Tensor, weight: Tensor, back: bool = False, **arrays: Tensor | None) -> int:
    inner, columns = x.shape[-1], weight.shape[1] if back else weight.shape[0]
    problem = Linear(x.numel() // inner, inner, columns, torch.get_num_threads(), back, _address(x), _address(weight))
    for name, array in arrays.items():
        setattr(problem, name, _address(array))
    return layers.call("linear", "run", problem)


def _with_kept(run: Callable[[Sequence[Tensor | None]], int], weights: Sequence[Tensor], keep: bool) -> None:
    """Run with packed weights, which are packed anew where it says that they are of other numbers."""
    found = [kept(weight, _pack) if keep else None for weight in weights]
    if any(panels is None for panels in found):
        found = [None] * len(weights)
    if not run(found):
        run([kept(weight, _pack, anew=True) for weight in weights])


def _pack(weight: Tensor) -> Tensor:
    columns, inner = weight.shape
    library = layers.library()
    problem = Linear(0, inner, columns, torch.get_num_threads(), False, None, _address(weight))
    panels = torch.empty(library.visionattn_linear_room(ctypes.byref(problem)), dtype=torch.int32)
    problem.packed = _address(panels)
    library.visionattn_linear_keep(ctypes.byref(problem))
    return panels


def _address(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@lru_cache(maxsize=4)
def _table(approximate: str) -> Tensor:
    """``f`` of ``gelu.h``, from GELU(x) / x = 1/2 + f(x): float32 ``(DEGREE + 1, PIECES)``, the constant first."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast("cpu", enabled=False):
        powers, places = torch.arange(DEGREE + 1, dtype=torch.float64), torch.arange(PIECES, dtype=torch.float64)
        nodes = torch.cos(torch.pi * (powers + 0.5) / (DEGREE + 1)) / 2  # Chebyshev's: the error is nearly the least
        x = (places + nodes[:, None]) / PER_UNIT
        values = torch.where(x == 0, 0, F.gelu(x, approximate=approximate) / x - 0.5)  # odd, as f is
        table = torch.linalg.solve(nodes[:, None] ** powers, values)
        table[:, -1] = torch.tensor([0.5] + [0.0] * DEGREE)
        return table.float().contiguous()

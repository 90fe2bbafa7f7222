"""Calls of ``layers.cpp``: what surrounds attention, in bfloat16 on the CPU.

torch computes these through slow paths on x86. Each function takes plain dense tensors and returns new ones; what can
be differentiated is made of them in ``kernels/activation.py``, ``kernels/depthwise.py`` and ``kernels/norm.py``.

Shapes: B batch, H W map, C channels, h w the map that comes out.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.backends.cpp import build

SCALAR, SOURCE = "bf16", "layers.cpp"
SIZES = ("images", "height", "width", "channels", "rows", "columns")


class Depthwise(ctypes.Structure):
    """The C++ struct of a depthwise convolution."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in (*SIZES, "top", "left", "threads", "reserved")),
        *((name, ctypes.c_void_p) for name in ("x", "weight", "grad", "out", "dx", "dweight")),
    )


class LayerNorm(ctypes.Structure):
    """The C++ struct of a layer norm."""

    _fields_ = (
        ("rows", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("channels", "threads", "parts", "reserved")),
        ("eps", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("x", "grad", "added")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "out", "dx", "stats", "dweight")),
    )


class Gate(ctypes.Structure):
    """The C++ struct of squeeze-and-excitation."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("images", "tokens", "channels", "threads")),
        *((name, ctypes.c_void_p) for name in ("x", "means", "factors", "out")),
    )


PARTS, PART_ROWS = 32, 64
"""Most jobs of a layer norm's backward, and the fewest rows of one; the number of threads has no say."""


def unavailable() -> str:
    """Why no library can be had on this machine ("" if one can); compiles it when first asked."""
    return build.load(SCALAR, SOURCE).reason


def lookup(x: Tensor, table: Tensor) -> Tensor:
    """``table[bits of x]``, elementwise: x bfloat16 of any dense layout, table bfloat16 ``(65536,)``."""
    out = torch.empty_like(x)
    library().visionattn_lookup(*_addresses(x, table, out), ctypes.c_int64(x.numel()), torch.get_num_threads())
    return out


def lookup_backward(grad: Tensor, x: Tensor, slope: Tensor) -> Tensor:
    """``grad * slope[bits of x]``, elementwise: grad of x's strides, slope float32 ``(65536,)``."""
    out = torch.empty_like(x)
    addresses = _addresses(x, slope, grad, out)
    library().visionattn_lookup_backward(*addresses, ctypes.c_int64(x.numel()), torch.get_num_threads())
    return out


def depthwise(x: Tensor, weight: Tensor, padding: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A 3x3 convolution of stride 2 of each channel, ``(B, C, H, W) -> (B, C, h, w)``, both channels last in memory.

    Args:
        x: the map, bfloat16; C a multiple of 16.
        weight: ``(C, 1, 3, 3)``.
        padding: rows and columns of zeros at the top and the left; at the bottom and the right as many as are needed.
        size: h and w.
    """
    out = torch.empty((*x.shape[:2], *size), dtype=x.dtype, memory_format=torch.channels_last)
    _run("forward", x, padding, size, weight=_by_tap(weight), out=out)
    return out


def depthwise_input(grad: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    """The gradient of :func:`depthwise` with respect to x; all channels last in memory."""
    dx = torch.empty_like(x)
    _run("input", x, padding, grad.shape[2:], weight=_by_tap(weight), grad=grad, dx=dx)
    return dx


def depthwise_weight(grad: Tensor, x: Tensor, padding: tuple[int, int]) -> Tensor:
    """The gradient of :func:`depthwise` with respect to the weight, float32 ``(C, 1, 3, 3)``, images in order."""
    images, channels = x.shape[:2]
    parts = x.new_empty((images, 9, channels), dtype=torch.float32)
    _run("weight", x, padding, grad.shape[2:], grad=grad, dweight=parts)
    return parts.sum(0).t().reshape(channels, 1, 3, 3)


def channel_means(x: Tensor) -> Tensor:
    """The mean of each channel, float32 ``(B, C)``: x bfloat16 ``(B, C, H, W)``, channels last, C a multiple of 16."""
    means = torch.empty(x.shape[:2])
    call("gate", "means", Gate(*_gate_sizes(x), x=x.data_ptr(), means=means.data_ptr()))
    return means


def scale_channels(x: Tensor, factors: Tensor) -> Tensor:
    """``x * factors[:, :, None, None]``: x as in :func:`channel_means`, factors float32 ``(B, C)``, contiguous."""
    out = torch.empty_like(x)
    call("gate", "scale", Gate(*_gate_sizes(x), x.data_ptr(), None, factors.data_ptr(), out.data_ptr()))
    return out


def _gate_sizes(x: Tensor) -> tuple[int, ...]:
    images, channels, height, width = x.shape
    return images, height * width, channels, torch.get_num_threads()


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float, stats: bool) -> tuple[Tensor, Tensor | None]:
    """A layer norm of the last axis, and what its backward needs: mean and 1 / deviation of each row.

    Args:
        x: bfloat16, contiguous, its last axis a multiple of 16.
        weight: float32, contiguous.
        bias: float32, contiguous.
        eps: added to the variance.
        stats: whether there will be a backward.
    """
    out = torch.empty_like(x)
    kept = weight.new_empty((x.numel() // x.shape[-1], 2)) if stats else None
    arrays = {"x": x, "weight": weight, "bias": bias, "out": out}
    _run_norm("forward", x, eps, 1, arrays if kept is None else arrays | {"stats": kept})
    return out, kept


def layer_norm_backward(
    grad: Tensor, x: Tensor, weight: Tensor, stats: Tensor, added: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of x, plus ``added`` if that is given, of weight and of bias; all contiguous."""
    dx, parts = torch.empty_like(x), max(1, min(PARTS, stats.shape[0] // PART_ROWS))
    sums = weight.new_empty((parts, 2, x.shape[-1]))
    arrays = {"x": x, "grad": grad, "weight": weight, "dx": dx, "stats": stats, "dweight": sums}
    arrays |= {} if added is None else {"added": added}
    _run_norm("backward", x, 0.0, parts, arrays)
    totals = sums.sum(0)
    return dx, totals[0], totals[1]


def _run_norm(what: str, x: Tensor, eps: float, parts: int, arrays: dict[str, Tensor]) -> None:
    sizes = (x.numel() // x.shape[-1], x.shape[-1], torch.get_num_threads(), parts, 0, eps)
    call("layer_norm", what, LayerNorm(*sizes, **{name: array.data_ptr() for name, array in arrays.items()}))


def _by_tap(weight: Tensor) -> Tensor:
    return weight.float().flatten(1).t().contiguous()


def _run(what: str, x: Tensor, padding: tuple[int, int], size: tuple[int, ...], **arrays: Tensor) -> None:
    if not x.numel():
        return
    images, channels, height, width = x.shape
    sizes = (images, height, width, channels, *size, *padding, torch.get_num_threads(), 0)
    problem = Depthwise(*sizes, x=x.data_ptr(), **{name: array.data_ptr() for name, array in arrays.items()})
    call("depthwise", what, problem)


def call(layer: str, what: str, problem: ctypes.Structure) -> int:
    """Run ``visionattn_{layer}_{what}`` of the library; returns what a function that gives a number does."""
    result: int = _function(layer, what, type(problem))(ctypes.byref(problem))
    return result


@lru_cache(maxsize=64)
def _function(layer: str, what: str, structure: type[ctypes.Structure]) -> Any:
    """A function of the library, whose structure must be as large as this one."""
    loaded = library()
    if getattr(loaded, f"visionattn_{layer}_size")() != ctypes.sizeof(structure):
        raise RuntimeError("the compiled library of layers does not match this package's sources")
    return getattr(loaded, f"visionattn_{layer}_{what}")


def _addresses(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def library() -> ctypes.CDLL:
    """The loaded library.

    Raises:
        RuntimeError: there is none.
    """
    loaded = build.load(SCALAR, SOURCE)
    if loaded.library is None:
        raise RuntimeError(f"the library of layers is not available: {loaded.reason}")
    return loaded.library

"""Calls of ``layers.cpp``: what surrounds attention, in bfloat16 on the CPU.

torch computes these through slow paths on x86. Each function takes plain dense tensors and returns new ones; what can
be differentiated is made of them in ``kernels/activation.py`` and ``kernels/depthwise.py``.

Shapes: B batch, H W map, C channels, h w the map that comes out.
"""

from __future__ import annotations

import ctypes

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


def unavailable() -> str:
    """Why no library can be had on this machine ("" if one can); compiles it when first asked."""
    return build.load(SCALAR, SOURCE).reason


def lookup(x: Tensor, table: Tensor) -> Tensor:
    """``table[bits of x]``, elementwise: x bfloat16 of any dense layout, table bfloat16 ``(65536,)``."""
    out = torch.empty_like(x)
    _library().visionattn_lookup(*_addresses(x, table, out), ctypes.c_int64(x.numel()), torch.get_num_threads())
    return out


def lookup_backward(grad: Tensor, x: Tensor, slope: Tensor) -> Tensor:
    """``grad * slope[bits of x]``, elementwise: grad of x's strides, slope float32 ``(65536,)``."""
    out = torch.empty_like(x)
    addresses = _addresses(x, slope, grad, out)
    _library().visionattn_lookup_backward(*addresses, ctypes.c_int64(x.numel()), torch.get_num_threads())
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


def _by_tap(weight: Tensor) -> Tensor:
    return weight.float().flatten(1).t().contiguous()


def _run(what: str, x: Tensor, padding: tuple[int, int], size: tuple[int, ...], **arrays: Tensor) -> None:
    if not x.numel():
        return
    images, channels, height, width = x.shape
    sizes = (images, height, width, channels, *size, *padding, torch.get_num_threads(), 0)
    problem = Depthwise(*sizes, x=x.data_ptr(), **{name: array.data_ptr() for name, array in arrays.items()})
    library = _library()
    if library.visionattn_depthwise_size() != ctypes.sizeof(Depthwise):
        raise RuntimeError("the compiled library of layers does not match this package's sources")
    getattr(library, f"visionattn_depthwise_{what}")(ctypes.byref(problem))


def _addresses(*tensors: Tensor) -> list[ctypes.c_void_p]:
    return [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]


def _library() -> ctypes.CDLL:
    loaded = build.load(SCALAR, SOURCE)
    if loaded.library is None:
        raise RuntimeError(f"the library of layers is not available: {loaded.reason}")
    return loaded.library

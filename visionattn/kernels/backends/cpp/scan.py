"""Backend ``cpp`` of ``selective_scan``: fused forward and backward in C++ (``scan.cpp``).

Sixteen channels of an image lie in the lanes of vectors and go through the map in its four orders; nothing is copied
into the order of a scan. A job is one image's sixteen channels in all directions, or in one of them where the jobs
would be too few for the threads. The forward keeps the states of every 64th token, from which the backward computes
the others again: memory is that of the inputs and their gradients. Sums have a fixed order: two runs give equal bits,
whatever the number of threads. float32, float64 and bfloat16, the latter computed in float32.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from visionattn.kernels.backends.cpp import build
from visionattn.kernels.backends.cpp.library import NAMES
from visionattn.kernels.scan_op import ScanBackend, ScanKernel, register_selective_scan
from visionattn.kernels.signature import stats_dtype

SOURCE = "scan.cpp"
CHUNK = 64
"""Tokens from one state that is kept to the next."""
LANES = 16
SIZES = ("batch", "height", "width", "channels", "ways", "states", "threads", "chunk")
FIELDS = ("x", "delta", "b", "c", "out", "grad", "dx", "ddelta")
ARRAYS = ("a", "starts", "da", "db", "dc")


class Field(ctypes.Structure):
    """The C++ struct of a tensor ``(B, H, W, C)`` or ``(B, H, W, K, _)``: its data and strides."""

    _fields_ = (("data", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("batch", "row", "col", "way")))


class Scan(ctypes.Structure):
    """The C++ struct of one call."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in SIZES),
        *((name, Field) for name in FIELDS),
        *((name, ctypes.c_void_p) for name in ARRAYS),
    )


def starts_shape(x: Tensor, a: Tensor) -> tuple[int, ...]:
    """The states before every 64th token of each direction."""
    return (x.shape[0], a.shape[0], (x.shape[1] * x.shape[2] + CHUNK - 1) // CHUNK, a.shape[2], x.shape[3])


def forward(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Output and kept states; see :class:`visionattn.kernels.scan_op.ScanKernel`."""
    sums = stats_dtype(x.dtype)
    out, starts = x.new_empty(x.shape), x.new_empty(starts_shape(x, a), dtype=sums)
    _run("forward", {"x": x, "delta": delta, "b": b, "c": c, "out": out}, {"a": _rates(a, sums), "starts": starts})
    return out, starts


def backward(
    grad: Tensor, x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, starts: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients; see :class:`visionattn.kernels.scan_op.ScanKernel`."""
    sums, (ways, channels, states) = starts.dtype, a.shape
    dx, ddelta = x.new_empty(x.shape), x.new_empty(delta.shape)
    da = starts.new_empty((x.shape[0], ways, states, channels))
    db, dc = (starts.new_empty((-(-channels // LANES), *b.shape)) for _ in range(2))
    fields = {"x": x, "delta": delta, "b": b, "c": c, "grad": grad, "dx": dx, "ddelta": ddelta}
    _run("backward", fields, {"a": _rates(a, sums), "starts": starts, "da": da, "db": db, "dc": dc})
    of_a = da.sum(0).transpose(1, 2).contiguous().to(a.dtype)
    return dx, ddelta, of_a, db.sum(0).to(b.dtype), dc.sum(0).to(c.dtype)


def _rates(a: Tensor, kind: torch.dtype) -> Tensor:
    """The rates as ``(K, S, C)``, contiguous."""
    return a.transpose(1, 2).contiguous().to(kind)


def _run(what: str, fields: dict[str, Tensor], arrays: dict[str, Tensor]) -> None:
    """Call the library. The tensors outlive the call, so their addresses may be passed."""
    x, rates = fields["x"], arrays["a"]
    library = _library(x.dtype)
    if x.numel():
        problem = Scan(*x.shape, *rates.shape[:2], torch.get_num_threads(), CHUNK)
        for name, tensor in fields.items():
            strides = tensor.stride()[:-1]
            setattr(problem, name, Field(tensor.data_ptr(), *strides, *(0,) * (4 - len(strides))))
        for name, array in arrays.items():
            setattr(problem, name, array.data_ptr())
        getattr(library, f"visionattn_scan_{what}")(ctypes.byref(problem))


def _library(dtype: torch.dtype) -> ctypes.CDLL:
    loaded = build.load(NAMES[dtype], SOURCE)
    if loaded.library is None:
        raise RuntimeError(f"the cpp backend is not available: {loaded.reason}")
    if loaded.library.visionattn_scan_size() != ctypes.sizeof(Scan):
        raise RuntimeError("the compiled cpp library does not match this package's sources")
    return loaded.library


@torch.compiler.assume_constant_result
def unavailable(dtype: torch.dtype) -> str:
    """Why no library can be had on this machine ("" if one can); compiles it when first asked."""
    return build.load(NAMES[dtype], SOURCE).reason


def refuses(x: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> str:
    """Why this backend cannot run this call, or ""."""
    if x.device.type != "cpu":
        return f"it runs on the CPU, the tensors are on {x.device}"
    if x.dtype not in NAMES:
        return f"it takes float32, float64 and bfloat16, not {x.dtype}"
    return unavailable(x.dtype)


SCAN = ScanBackend("cpp", register_selective_scan("cpp_scan", ScanKernel(forward, backward, starts_shape)), refuses)

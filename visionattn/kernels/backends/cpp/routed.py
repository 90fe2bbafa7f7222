"""Backend ``cpp`` of ``routed_attention``: fused forward and backward in C++ (``routed.cpp``).

The tokens of the listed regions lie in the lanes of vectors, 256 at a time, and meet those of one region, so that
regions of few tokens fill the vectors and nothing is held but what one region sees. Gradients of queries are computed
region by region, those of keys and values through inverse lists: two runs give equal bits, whatever the number of
threads. float32, float64 and bfloat16, the latter computed in float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from visionattn.kernels.backends.cpp import build
from visionattn.kernels.backends.cpp.library import MAPS, NAMES, Map
from visionattn.kernels.routed_op import Region, RoutedBackend, RoutedKernel, register_routed_attention
from visionattn.kernels.signature import Maps, stats_dtype

SOURCE = "routed.cpp"
SIZES = ("batch", "height", "width", "heads", "depth", "value_depth", "region_rows", "region_cols", "listed", "threads")


class Routed(ctypes.Structure):
    """The C++ struct of one call."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in SIZES),
        ("scale", ctypes.c_double),
        *((name, Map) for name in MAPS),
        *((name, ctypes.c_void_p) for name in ("routes", "stats", "deltas")),
    )


def stats_shape(q: Tensor) -> Sequence[int]:
    """Per query the largest logit and 1 / (sum of exponentials)."""
    return (*q.shape[:4], 2)


def forward(
    q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Output and statistics; see :class:`visionattn.kernels.routed_op.RoutedKernel`."""
    out, stats = v.new_empty(v.shape), q.new_empty(stats_shape(q), dtype=stats_dtype(q.dtype))
    _run("forward", {"q": q, "k": k, "v": v, "out": out}, region, scale, routes=routes, stats=stats)
    return out, stats


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, routes: Tensor, out: Tensor, stats: Tensor, region: Region,
    scale: float, into: Maps,
) -> None:  # fmt: skip
    """Write the gradients; see :class:`visionattn.kernels.routed_op.RoutedKernel`."""
    dq, dk, dv = into
    maps = {"q": q, "k": k, "v": v, "out": out, "grad": grad, "dq": dq, "dk": dk, "dv": dv}
    deltas = stats.new_empty(q.shape[:4])
    _run("backward", maps, region, scale, routes=routes, stats=stats, deltas=deltas)


def _run(what: str, maps: dict[str, Tensor], region: Region, scale: float, **arrays: Tensor) -> None:
    """Call the library. The tensors outlive the call, so their addresses may be passed."""
    q, v = maps["q"], maps["v"]
    library = _library(q.dtype)
    if 0 in q.shape:
        return
    sizes = *q.shape, v.shape[4], *region, arrays["routes"].shape[2], torch.get_num_threads()
    problem = Routed(*sizes, scale)
    for name, tensor in maps.items():
        setattr(problem, name, Map(tensor.data_ptr(), *tensor.stride()[:4]))
    for name, array in arrays.items():
        setattr(problem, name, array.data_ptr())
    getattr(library, f"visionattn_routed_{what}")(ctypes.byref(problem))


def _library(dtype: torch.dtype) -> ctypes.CDLL:
    loaded = build.load(NAMES[dtype], SOURCE)
    if loaded.library is None:
        raise RuntimeError(f"the cpp backend is not available: {loaded.reason}")
    if loaded.library.visionattn_routed_size() != ctypes.sizeof(Routed):
        raise RuntimeError("the compiled cpp library does not match this package's sources")
    return loaded.library


@torch.compiler.assume_constant_result
def unavailable(dtype: torch.dtype) -> str:
    """Why no library can be had on this machine ("" if one can); compiles it when first asked."""
    return build.load(NAMES[dtype], SOURCE).reason


def refuses(q: Tensor, k: Tensor, v: Tensor, routes: Tensor, region: Region, scale: float) -> str:
    """Why this backend cannot run this call, or ""."""
    if q.device.type != "cpu":
        return f"it runs on the CPU, the tensors are on {q.device}"
    if q.dtype not in NAMES:
        return f"it takes float32, float64 and bfloat16, not {q.dtype}"
    return unavailable(q.dtype)


attend, attend_packed = register_routed_attention("cpp_routed", RoutedKernel(forward, backward, stats_shape))
ROUTED = RoutedBackend("cpp", attend, refuses, attend_packed)

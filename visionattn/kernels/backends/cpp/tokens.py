"""Backend ``cpp`` of ``token_attention``: fused forward and backward in C++ (``tokens.cpp``).

Sixteen queries lie in the lanes of vectors and meet 256 keys at a time, so that logits never leave the cache and the
number of keys has no limit. Gradients of keys, values and bias are summed in a fixed order: two runs give equal bits,
whatever the number of threads. float32, float64 and bfloat16, the latter computed in float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from visionattn.kernels.backends.cpp import build
from visionattn.kernels.backends.cpp.library import NAMES
from visionattn.kernels.signature import stats_dtype
from visionattn.kernels.token_op import TokenBackend, TokenKernel, register_token_attention

SOURCE = "tokens.cpp"
JOBS = 16
"""Backward jobs to aim at: enough to share out, few enough that each sums several images' bias gradients."""
SIZES = ("batch", "queries", "keys", "heads", "depth", "value_depth", "threads", "parts")
ROWS = ("q", "k", "v", "out", "grad", "dq", "dk", "dv")


class Rows(ctypes.Structure):
    """The C++ struct of a tensor ``(B, T, N, D)``: its data and strides."""

    _fields_ = (("data", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("batch", "token", "head")))


class Tokens(ctypes.Structure):
    """The C++ struct of one call."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in SIZES),
        ("scale", ctypes.c_double),
        *((name, Rows) for name in ROWS),
        *((name, ctypes.c_void_p) for name in ("bias", "stats", "dbias")),
    )


def stats_shape(q: Tensor) -> Sequence[int]:
    """Per query the largest logit and 1 / (sum of exponentials)."""
    return (*q.shape[:3], 2)


def forward(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    """Output and statistics; see :class:`visionattn.kernels.token_op.TokenKernel`."""
    sums = stats_dtype(q.dtype)
    out, stats = v.new_empty((*q.shape[:3], v.shape[3])), q.new_empty(stats_shape(q), dtype=sums)
    table = None if bias is None else bias.to(sums)
    _run("forward", {"q": q, "k": k, "v": v, "out": out}, scale, 1, bias=table, stats=stats)
    return out, stats


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, stats: Tensor, scale: float,
    table: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """The gradients; see :class:`visionattn.kernels.token_op.TokenKernel`."""
    sums = stats_dtype(q.dtype)
    parts = min(q.shape[0], -(-JOBS // max(q.shape[2], 1)))  # the number of threads has no say
    dq, dk, dv = (x.new_empty(x.shape) for x in (q, k, v))
    of_bias = None if bias is None else bias.to(sums)
    tables = None if bias is None or not table else stats.new_zeros((parts, *bias.shape))
    rows = {"q": q, "k": k, "v": v, "out": out, "grad": grad, "dq": dq, "dk": dk, "dv": dv}
    _run("backward", rows, scale, parts, bias=of_bias, stats=stats, dbias=tables)
    return dq, dk, dv, q.new_empty(0) if tables is None or bias is None else tables.sum(0).to(bias.dtype)


def _run(what: str, rows: dict[str, Tensor], scale: float, parts: int, **arrays: Tensor | None) -> None:
    """Call the library. The tensors outlive the call, so their addresses may be passed."""
    q, k, v = rows["q"], rows["k"], rows["v"]
    library = _library(q.dtype)
    if 0 in q.shape:
        for name in ("dk", "dv"):
            if name in rows:
                rows[name].zero_()
        return
    batch, queries, heads, depth = q.shape
    problem = Tokens(batch, queries, k.shape[1], heads, depth, v.shape[3], torch.get_num_threads(), parts, scale)
    for name, tensor in rows.items():
        setattr(problem, name, Rows(tensor.data_ptr(), *tensor.stride()[:3]))
    for name, array in arrays.items():
        setattr(problem, name, None if array is None else array.data_ptr())
    getattr(library, f"visionattn_tokens_{what}")(ctypes.byref(problem))


def _library(dtype: torch.dtype) -> ctypes.CDLL:
    loaded = build.load(NAMES[dtype], SOURCE)
    if loaded.library is None:
        raise RuntimeError(f"the cpp backend is not available: {loaded.reason}")
    if loaded.library.visionattn_tokens_size() != ctypes.sizeof(Tokens):
        raise RuntimeError("the compiled cpp library does not match this package's sources")
    return loaded.library


@torch.compiler.assume_constant_result
def unavailable(dtype: torch.dtype) -> str:
    """Why no library can be had on this machine ("" if one can); compiles it when first asked."""
    return build.load(NAMES[dtype], SOURCE).reason


def refuses(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, scale: float) -> str:
    """Why this backend cannot run this call, or ""."""
    if q.device.type != "cpu":
        return f"it runs on the CPU, the tensors are on {q.device}"
    if q.dtype not in NAMES:
        return f"it takes float32, float64 and bfloat16, not {q.dtype}"
    return unavailable(q.dtype)


TOKENS = TokenBackend(
    "cpp", register_token_attention("cpp_tokens", TokenKernel(forward, backward, stats_shape)), refuses
)

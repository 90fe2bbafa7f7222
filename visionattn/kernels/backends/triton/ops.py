"""The registered ops: shapes for the compiler, gradients for autograd, and the refusals of the Triton backend."""

from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.backends.triton import launch
from visionattn.kernels.custom_op import fitting, register_attention_flops
from visionattn.kernels.geometry import Geometry, certainly

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDEST_HEAD = 128
OLDEST_CAPABILITY = (8, 0)
TOO_LARGE = "it addresses one image with 32 bits, and an image of {} x {} points needs more"


def _old_devices() -> dict[int, str]:
    """Devices older than the kernels were compiled for. This module is imported once a call may use such a device."""
    old = {}
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        major, minor = torch.cuda.get_device_capability(index)
        if (major, minor) < OLDEST_CAPABILITY:
            old[index] = f"{torch.cuda.get_device_name(index)} has {major}.{minor}"
    return old


OLD_DEVICES = _old_devices()


@torch.library.custom_op("visionattn::triton", mutates_args=())
def triton_forward(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, rows: list[int], cols: list[int], scale: float
) -> tuple[Tensor, Tensor]:
    """Output (B, H, W, N, E) and log-sum-exp (B, N, H, W); ``rows`` and ``cols`` are encoded axis rules."""
    fitting(q, bias, rows, cols)
    if too_large(q, k, v):  # sizes were symbols when the graph was traced
        raise ValueError(f"the Triton backend cannot run: {TOO_LARGE.format(*q.shape[1:3])}")
    return launch.forward(launch.problem(q, k, v, bias, rows, cols, scale))


@triton_forward.register_fake
def _(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, rows: list[int], cols: list[int], scale: float
) -> tuple[Tensor, Tensor]:
    batch, height, width, heads, _ = q.shape
    lse = q.new_empty((batch, heads, height, width), dtype=torch.float32)
    return q.new_empty((batch, height, width, heads, v.shape[-1])), lse


@torch.library.custom_op("visionattn::triton_backward", mutates_args=())
def triton_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, lse: Tensor,
    rows: list[int], cols: list[int], scale: float, maps: bool, table: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k, v if ``maps``, of the bias table (fp32) if ``table``; empty tensors otherwise."""
    return launch.backward(launch.problem(q, k, v, bias, rows, cols, scale), out, lse, grad, maps, table)


@triton_backward.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, lse: Tensor,
    rows: list[int], cols: list[int], scale: float, maps: bool, table: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    dq, dk, dv = (q.new_empty(t.shape if maps else (0,)) for t in (q, k, v))
    if not table or bias is None:
        return dq, dk, dv, q.new_empty(0)
    return dq, dk, dv, q.new_empty(bias.shape, dtype=torch.float32)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    q, k, v, bias, ctx.rows, ctx.cols, ctx.scale = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(q, k, v, bias, *output)


def _differentiate(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    q, k, v, bias, out, lse = ctx.saved_tensors
    maps, table = any(ctx.needs_input_grad[:3]), bias is not None and ctx.needs_input_grad[3]
    dq, dk, dv, dtable = triton_backward(grad, q, k, v, bias, out, lse, ctx.rows, ctx.cols, ctx.scale, maps, table)
    of_maps = [dq, dk, dv] if maps else [None, None, None]
    return *of_maps, dtable.to(bias.dtype) if table else None, None, None, None


triton_forward.register_autograd(_differentiate, setup_context=_save)
register_attention_flops("triton")


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, geometry: Geometry, scale: float) -> Tensor:
    """Fused attention of either op; see ``visionattn.kernels.op`` for the arguments."""
    out: Tensor = triton_forward(q, k, v, bias, geometry.rows.encode(), geometry.cols.encode(), scale)[0]
    return out


def too_large(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether some image certainly needs more than 32 bits for the offsets of its numbers."""
    held = q.shape[1] * q.shape[2] * q.shape[3] * max(q.shape[-1], v.shape[-1])
    return any(certainly(size >= 2**31) for size in (held, *(t.stride(1) * t.shape[1] for t in (q, k, v))))


def refuses(q: Tensor, k: Tensor, v: Tensor, interpreted: bool) -> str:
    """Why the kernels cannot run maps of this type and shape, or ""."""
    if q.is_cuda and q.device.index in OLD_DEVICES:
        return f"its kernels need compute capability 8.0 or newer, and {OLD_DEVICES[q.device.index]}"
    if q.dtype not in DTYPES:
        return f"it computes in float32, bfloat16 or float16, and the tensors are {q.dtype}"
    if interpreted and q.dtype == torch.bfloat16:
        return "Triton's interpreter multiplies the bit patterns of bfloat16 tensors; use float32 or float16 there"
    if max(q.shape[-1], v.shape[-1]) > WIDEST_HEAD:
        return f"it holds heads of at most {WIDEST_HEAD} channels, and these have {q.shape[-1]} and {v.shape[-1]}"
    if too_large(q, k, v):
        return TOO_LARGE.format(*q.shape[1:3])
    return ""

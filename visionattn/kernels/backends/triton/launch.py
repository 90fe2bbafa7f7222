"""From a call's signature to the function that launches its kernels.

That function runs inside registered ops, so nothing is traced by the compiler. It is built once per signature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.backends.tiled import ops as tiled
from visionattn.kernels.backends.triton import tiled_launch, window_launch
from visionattn.kernels.backends.triton.fallback import Fallback
from visionattn.kernels.backends.triton.plan import Plan
from visionattn.kernels.backends.triton.problem import problem
from visionattn.kernels.backends.triton.window_plan import WindowPlan
from visionattn.kernels.geometry import certainly
from visionattn.kernels.signature import BackwardRun, ForwardRun, Maps, Signature, Wanted

OR_TILED = Fallback("windows and neighborhoods")


def forward(call: Signature, plan: Plan | WindowPlan | None = None) -> ForwardRun:
    """The attended map and the log-sum-exp; see :class:`visionattn.kernels.signature.Kernel`.

    ``plan`` replaces the default one; if its kernels fail, so does the call, which otherwise takes other code.

    Raises:
        ValueError: an image is too large.
    """
    check_size(call.q.shape, call.v.shape[-1], [layout.strides[1] for layout in (call.q, call.k, call.v)])
    batch, height, width, heads, _ = call.q.shape
    shape, rows = call.v.shape, (batch, heads, height, width)
    described = problem(call, plan)
    window = described.window
    launches = on_device(
        call.device, tiled_launch.forward(described) if window is None else window_launch.forward(described, window)
    )

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        out, lse = v.new_empty(shape), q.new_empty(rows, dtype=torch.float32)
        launches(q, k, v, q if bias is None else bias, out, lse)
        return out, lse

    def plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
        return tiled.forward(call)(q, k, v, bias)[0], q.new_zeros(rows, dtype=torch.float32)

    return OR_TILED(run, plain, 0) if plan is None else run


def backward(call: Signature, wanted: Wanted, plan: Plan | WindowPlan | None = None) -> BackwardRun:
    """The gradients; see :class:`visionattn.kernels.signature.Kernel`. ``plan`` is as in the forward.

    Raises:
        ValueError: an image of the gradients is too large.
    """
    check_size(call.q.shape, call.v.shape[-1], [layout.strides[1] for layout in wanted.gradients])
    described = problem(call, plan, wanted)
    window = described.window
    launches = on_device(
        call.device, tiled_launch.backward(described) if window is None else window_launch.backward(described, window)
    )

    def run(
        grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, out: Tensor, lse: Tensor, into: Maps
    ) -> Tensor:
        table: Tensor = launches(grad, q, k, v, q if bias is None else bias, out, lse, *into)
        return table

    return OR_TILED(run, tiled.backward(call, wanted), 1) if plan is None else run


def on_device(device: torch.device, launches: Callable[..., Any]) -> Callable[..., Any]:
    """``launches``, run with ``device`` as the current one: Triton launches on that, whatever the tensors are on."""
    if device.type != "cuda":
        return launches

    def run(*tensors: Tensor) -> Any:
        if torch.cuda.current_device() == device.index:
            return launches(*tensors)
        with torch.cuda.device(device):
            return launches(*tensors)

    return run


def check_size(shape: Sequence[int], depth_v: int, strides: Sequence[int]) -> None:
    """Check that one image is addressed with 32 bits: sizes may have been symbols when the graph was traced.

    Raises:
        ValueError: it is not.
    """
    reason = too_large(shape, depth_v, strides)
    if reason:
        raise ValueError(f"the Triton backend cannot run: {reason}")


def too_large(shape: Sequence[int], depth_v: int, strides: Sequence[int]) -> str:
    """Why an image of maps ``(B, H, W, N, D)`` with these distances between rows certainly has too many offsets."""
    _, height, width, heads, depth = shape
    offsets = height * width * heads * max(depth, depth_v), *(stride * height for stride in strides)
    if any(certainly(offset >= 2**31) for offset in offsets):
        return f"it addresses one image with 32 bits, and an image of {height} x {width} points needs more"
    return ""

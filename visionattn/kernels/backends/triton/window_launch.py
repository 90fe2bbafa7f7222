"""The launches of the kernels for windows that fit one block.

A builder takes the :class:`Problem` and returns the function that runs its launches on tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.backends.triton.layout import power_of_two
from visionattn.kernels.backends.triton.problem import LOG2E, Problem
from visionattn.kernels.backends.triton.window_backward import table_sum_kernel, window_backward_kernel
from visionattn.kernels.backends.triton.window_forward import window_forward_kernel
from visionattn.kernels.backends.triton.window_plan import Schedule, WindowPlan, cut

BLOCK_R = 64
BLOCK_SUM = (64, 32)
"""Parts and entries that a program of the table's last sum adds up at once."""


def forward(call: Problem, plan: WindowPlan) -> Callable[..., None]:
    """``(q, k, v, bias, out, lse)``: writes the output and the log-sum-exp. ``bias`` is q where there is none."""
    parts = _parts(call, plan.forward)
    numbers = *call.q.strides, *call.k.strides, *call.v.strides, *_windows(call), parts, call.scale * LOG2E
    return Launch(window_forward_kernel, (parts * call.heads,), numbers, _constants(call, plan, plan.forward))


def backward(call: Problem, plan: WindowPlan) -> Callable[..., Tensor]:
    """``(grad, q, k, v, bias, out, lse, dq, dk, dv)``: writes the maps' gradients and returns the table's, or empty.

    Neither the output nor the log-sum-exp is read.
    """
    parts, heads, entries, table = _parts(call, plan.backward), call.heads, call.entries, call.table
    strides = *call.q.strides, *call.k.strides, *call.v.strides, *call.gradients
    numbers = *strides, *_windows(call), parts, call.scale, call.scale * LOG2E
    constants = _constants(call, plan, plan.backward) | {"MAPS": call.maps, "TABLE": table, "BLOCK_R": BLOCK_R}
    launch = Launch(window_backward_kernel, (parts * heads,), numbers, constants)
    of_table = _table_sum(parts, heads, entries)
    partial_shape, shape = (parts if table else 0, heads, entries), call.table_shape

    def run(
        grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, out: Tensor, lse: Tensor,
        dq: Tensor, dk: Tensor, dv: Tensor,
    ) -> Tensor:  # fmt: skip
        partial = q.new_empty(partial_shape, dtype=torch.float32)
        launch(grad, q, k, v, bias, dq, dk, dv, partial)
        if not table:
            return q.new_empty(0)
        gradient = bias.new_empty(shape)
        of_table(partial, gradient)
        return gradient

    return run


def _table_sum(parts: int, heads: int, entries: int) -> Launch:
    block_p, block_r = min(power_of_two(parts), BLOCK_SUM[0]), BLOCK_SUM[1]
    constants = {"ENTRIES": entries, "BLOCK_P": block_p, "BLOCK_R": block_r, "num_warps": 4, "num_stages": 1}
    constants["enable_fp_fusion"] = True
    return Launch(table_sum_kernel, (-(-entries // block_r), heads), (parts, heads), constants)


def _windows(call: Problem) -> tuple[int, ...]:
    """Kernel arguments from the heads to the number of all windows."""
    _, height, width, heads, _ = call.q.shape
    tiles_y, tiles_x = cut(call.y).tiles, cut(call.x).tiles
    return heads, height, width, call.y.dilation, call.x.dilation, tiles_y, tiles_x, call.groups * tiles_y * tiles_x


def _parts(call: Problem, schedule: Schedule) -> int:
    """Into how many programs the windows of a head are divided; fixed by device and shape, so bits repeat."""
    return max(1, min(call.processors * schedule.programs // call.heads, _windows(call)[-1]))


def _constants(call: Problem, plan: WindowPlan, schedule: Schedule) -> dict[str, Any]:
    y, x = cut(call.y), cut(call.x)
    depth, depth_v = call.q.shape[4] - call.decay, call.v.shape[4]
    constants = {
        "SIZE_Y": call.y.size, "SIZE_X": call.x.size, "OFFSET_Y": y.offset, "OFFSET_X": x.offset,
        "MERGED_Y": y.merged, "MERGED_X": x.merged, "BORDER": y.border or x.border,
        "HAS_BIAS": call.bias is not None, "DEPTH": depth, "DEPTH_V": depth_v,
        "BLOCK_D": max(16, power_of_two(depth)), "BLOCK_V": max(16, power_of_two(depth_v)), "BLOCK": plan.block,
        "EXACT": call.dtype == torch.float32, "PRECISION": "ieee", "DECAY": call.decay,
        "num_warps": schedule.num_warps, "num_stages": schedule.num_stages,
        "enable_fp_fusion": True,  # named, because Triton 3.10 turns it off where it is not
    }  # fmt: skip
    return constants if schedule.registers is None else constants | {"maxnreg": schedule.registers}

"""The launches of the kernels for a window that fits one block.

A builder takes the :class:`Problem` and returns the function that runs its launches on tensors.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from visionattn.kernels.backends.triton.backward_window import window_gradient_kernel
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.backends.triton.plan import power_of_two
from visionattn.kernels.backends.triton.problem import LOG2E, Problem

BLOCK_R = 64


def backward(call: Problem) -> Callable[..., Tensor]:
    """``(grad, q, k, v, bias, out, lse, dq, dk, dv)``: writes the maps' gradients and returns the table's, or empty."""
    items = call.groups * call.tiles[0] * call.tiles[1]
    per_program = max(1, -(-items // call.chunks(1, items))) if call.table else 1
    programs = -(-items // per_program)
    numbers = *call.placement(), *call.gradients, items, per_program, call.scale, call.scale * LOG2E
    constants = call.shape_constants() | {
        "HAS_BIAS": call.bias is not None, "BIAS_GRADIENT": call.table,
        "BLOCK": max(16, power_of_two(call.y.size * call.x.size)), "BLOCK_R": BLOCK_R,
        "num_warps": 8, "num_stages": 1,  # the only setting that spills no registers
    }  # fmt: skip
    launch = Launch(window_gradient_kernel, (programs * call.heads,), numbers, constants)
    partial_shape, shape = (programs if call.table else 0, call.heads, call.entries), call.table_shape
    wanted = call.table

    def run(
        grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, out: Tensor, lse: Tensor,
        dq: Tensor, dk: Tensor, dv: Tensor,
    ) -> Tensor:  # fmt: skip
        partial = lse.new_empty(partial_shape)
        launch(q, k, v, bias, out, grad, lse, dq, dk, dv, partial)
        return partial.sum(0).view(shape).to(bias.dtype) if wanted else q.new_empty(0)  # summed in a fixed order

    return run

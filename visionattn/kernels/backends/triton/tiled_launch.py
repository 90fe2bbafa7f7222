"""The launches of the kernels that work by tiles: any window and any neighborhood.

A builder takes the :class:`Problem` and returns the function that runs its launches on tensors.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from visionattn.kernels.backends.triton.backward_bias import table_gradient_kernel
from visionattn.kernels.backends.triton.backward_key import key_gradient_kernel
from visionattn.kernels.backends.triton.backward_query import query_gradient_kernel
from visionattn.kernels.backends.triton.forward import forward_kernel
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.backends.triton.plan import spans
from visionattn.kernels.backends.triton.problem import LOG2E, Problem

BLOCK_R = 64


def forward(call: Problem) -> Callable[..., None]:
    """``(q, k, v, bias, out, lse)``: writes the output and the log-sum-exp. ``bias`` is q where there is none."""
    key_columns = spans(call.y, call.x, call.plan.tile)[1]
    numbers = *call.placement(), call.scale * LOG2E
    constants = call.tile_constants(key_columns) | {"HAS_BIAS": call.bias is not None}
    return Launch(forward_kernel, (call.programs,), numbers, constants)


def backward(call: Problem) -> Callable[..., Tensor]:
    """``(grad, q, k, v, bias, out, lse, dq, dk, dv)``: writes the maps' gradients and returns the table's, or empty."""
    of_queries, of_keys = _query_gradient(call), _key_gradient(call)
    of_table = _table_gradient(call) if call.table else None
    maps = call.maps

    def run(
        grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, out: Tensor, lse: Tensor,
        dq: Tensor, dk: Tensor, dv: Tensor,
    ) -> Tensor:  # fmt: skip
        delta = torch.empty_like(lse)
        of_queries(q, k, v, bias, out, grad, lse, delta, dq)
        if maps:
            of_keys(q, k, v, bias, grad, lse, delta, dk, dv)
        return of_table(q, k, v, bias, grad, lse, delta) if of_table else q.new_empty(0)

    return run


def _query_gradient(call: Problem) -> Launch:
    key_columns = spans(call.y, call.x, call.plan.tile)[1]
    numbers = *call.placement(), *call.gradients[:4], call.scale, call.scale * LOG2E
    constants = call.tile_constants(key_columns) | {"HAS_BIAS": call.bias is not None}
    return Launch(query_gradient_kernel, (call.programs,), numbers, constants)


def _key_gradient(call: Problem) -> Launch:
    query_columns = spans(call.y, call.x, call.plan.tile)[3]
    numbers = *call.placement(), *call.gradients, call.scale, call.scale * LOG2E
    constants = call.tile_constants(query_columns) | {"HAS_BIAS": call.bias is not None}
    return Launch(key_gradient_kernel, (call.programs,), numbers, constants)


def _table_gradient(call: Problem) -> Callable[..., Tensor]:
    key_rows, key_columns, _, _ = spans(call.y, call.x, call.plan.tile)
    key_blocks = -(-key_rows * key_columns // call.plan.block_n)
    tiles_y, tiles_x = call.tiles
    classes_y, classes_x = (1, 1) if call.y.windowed else (call.y.classes, call.x.classes)
    tiles = tiles_y * tiles_x
    owners = call.plan.blocks * key_blocks * (1 if call.y.windowed else tiles * classes_y * classes_x)
    chunks = call.chunks(owners, call.groups * tiles if call.y.windowed else call.groups)
    launch = Launch(
        table_gradient_kernel,
        (owners * chunks * call.heads,),
        (*call.placement(), call.q.shape[0], classes_y, classes_x, chunks, call.scale * LOG2E),
        call.tile_constants(key_columns) | {"KEY_BLOCKS": key_blocks, "BLOCK_R": BLOCK_R},
    )
    partial_shape, shape = (owners * chunks, call.heads, call.entries), call.table_shape

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, grad: Tensor, lse: Tensor, delta: Tensor) -> Tensor:
        partial = lse.new_empty(partial_shape)
        launch(q, k, v, bias, grad, lse, delta, partial)
        return partial.sum(0).view(shape).to(bias.dtype)  # summed in a fixed order

    return run

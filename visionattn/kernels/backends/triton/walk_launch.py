"""The launches of the walking kernels: builders from the :class:`Problem` to functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from visionattn.kernels.backends.triton import layout
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.backends.triton.problem import LOG2E, Problem
from visionattn.kernels.backends.triton.walk_backward import walking_key_kernel, walking_query_kernel
from visionattn.kernels.backends.triton.walk_plan import Walk

BLOCK_R = 64


def of_queries(call: Problem, walk: Walk) -> Callable[..., Tensor]:
    """``(q, k, v, picture, bias, out, grad, lse, delta, dq)``: writes delta and dq; the table's gradient, or empty."""
    numbers, chunked = _numbers(call, walk, False)
    scales = call.scale, call.scale * LOG2E
    arguments = (*_strides(call), *call.gradients[:4], *numbers, *scales)
    constants = _constants(call, walk, False) | {"TABLE": call.table, "BLOCK_R": BLOCK_R}
    launch = Launch(walking_query_kernel, (chunked * call.heads,), arguments, constants)
    partial_shape, shape = (chunked, call.heads, call.entries), call.table_shape

    def run(
        q: Tensor, k: Tensor, v: Tensor, picture: Tensor, bias: Tensor, out: Tensor, grad: Tensor, lse: Tensor,
        delta: Tensor, dq: Tensor,
    ) -> Tensor:  # fmt: skip
        partial = lse.new_zeros(partial_shape) if call.table else lse  # of programs that have no tile
        launch(q, k, v, bias, out, grad, lse, delta, dq, partial)
        return partial.sum(0).view(shape).to(bias.dtype) if call.table else q.new_empty(0)

    return run


def of_keys(call: Problem, walk: Walk) -> Callable[..., None]:
    """``(q, k, v, bias, grad, lse, delta, dk, dv)``: writes dk and dv."""
    numbers, chunked = _numbers(call, walk, True)
    arguments = (*_strides(call), *call.gradients, *numbers, call.scale, call.scale * LOG2E)
    return Launch(walking_key_kernel, (chunked * call.heads,), arguments, _constants(call, walk, True))


def _strides(call: Problem) -> tuple[int, ...]:
    return *call.q.strides, *call.k.strides, *call.v.strides


def _numbers(call: Problem, walk: Walk, by_keys: bool) -> tuple[tuple[int, ...], int]:
    """Kernel arguments from the images to the chunks, and the number of programs of a head."""
    images, height, width, heads, _ = call.q.shape
    (side_y, side_x), groups = walk.tile, call.groups
    rows, columns = (layout.relations(*pair, by_keys) for pair in ((call.y, side_y), (call.x, side_x)))
    owners = rows.numbers[-1] * columns.numbers[-1]
    tiles = groups * heads * call.y.tiles(side_y) * call.x.tiles(side_x)
    per_chunk = max(-(-tiles // (call.processors * walk.programs)), 1)
    most = images * layout.members(call.y, side_y, by_keys) * layout.members(call.x, side_x, by_keys)
    chunks = max(-(-most // per_chunk), 1)
    place = images, heads, height, width, call.y.dilation, call.x.dilation
    return (*place, *rows.numbers[:-1], *columns.numbers, chunks, per_chunk), owners * chunks


def _constants(call: Problem, walk: Walk, by_keys: bool) -> dict[str, Any]:
    limit = {} if walk.registers is None else {"maxnreg": walk.registers}
    return call.shape_constants() | limit | {
        "HAS_BIAS": call.bias is not None, "TILE_Y": walk.tile[0], "TILE_X": walk.tile[1],
        "WIDE": layout.span(call.x, walk.tile[1], by_keys), "BLOCK_M": walk.block_m, "BLOCK_N": walk.block_n,
        "num_warps": walk.num_warps, "num_stages": walk.num_stages,
    }  # fmt: skip

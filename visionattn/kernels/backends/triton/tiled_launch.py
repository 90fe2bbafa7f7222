"""The launches of the kernels that work by tiles: neighborhoods, and windows of more points than one block holds.

A builder takes the :class:`Problem` and returns the function that runs its launches on tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.backends.triton import layout, walk_launch
from visionattn.kernels.backends.triton.backward_bias import table_gradient_kernel
from visionattn.kernels.backends.triton.backward_key import key_gradient_kernel
from visionattn.kernels.backends.triton.backward_query import query_gradient_kernel
from visionattn.kernels.backends.triton.forward import forward_kernel
from visionattn.kernels.backends.triton.launcher import Launch
from visionattn.kernels.backends.triton.pictures import picture_kernel
from visionattn.kernels.backends.triton.plan import power_of_two
from visionattn.kernels.backends.triton.problem import LOG2E, Problem

BLOCK_R = 64
MOST_COLUMNS = 64
MOST_ROWS_OF_GRID = 65535


def forward(call: Problem) -> Callable[..., None]:
    """``(q, k, v, bias, out, lse)``: writes the output and the log-sum-exp. ``bias`` is q where there is none."""
    draw = _pictures(call, forward_only=True)
    attend = _launch(call, forward_kernel, False, (), (_scale(call) * LOG2E,))

    def run(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, out: Tensor, lse: Tensor) -> None:
        picture, _ = draw(bias)
        attend(q, k, v, picture, out, lse)

    return run


def backward(call: Problem) -> Callable[..., Tensor]:
    """``(grad, q, k, v, bias, out, lse, dq, dk, dv)``: writes the maps' gradients and returns the table's, or empty."""
    plan, scales = call.plan, (_scale(call), _scale(call) * LOG2E)
    draw = _no_pictures if plan.query_walk and plan.key_walk else _pictures(call, forward_only=False)
    of_queries = walk_launch.of_queries(call, plan.query_walk) if plan.query_walk else _of_queries(call)
    if plan.key_walk:
        of_keys: Callable[..., None] = walk_launch.of_keys(call, plan.key_walk)
    else:
        of_keys = _launch(call, key_gradient_kernel, True, call.gradients, scales)

    def run(
        grad: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, out: Tensor, lse: Tensor,
        dq: Tensor, dk: Tensor, dv: Tensor,
    ) -> Tensor:  # fmt: skip
        by_queries, by_keys = draw(bias)
        delta = torch.empty_like(lse)
        table = of_queries(q, k, v, by_queries, bias, out, grad, lse, delta, dq)
        if call.maps:
            of_keys(q, k, v, bias if plan.key_walk else by_keys, grad, lse, delta, dk, dv)
        return table

    return run


def _of_queries(call: Problem) -> Callable[..., Tensor]:
    """``(q, k, v, picture, bias, out, grad, lse, delta, dq)``: writes delta and dq; the table's gradient, or empty."""
    launch = _launch(call, query_gradient_kernel, False, call.gradients[:4], (call.scale, _scale(call) * LOG2E))
    of_table = _table_gradient(call) if call.table else None

    def run(
        q: Tensor, k: Tensor, v: Tensor, picture: Tensor, bias: Tensor, out: Tensor, grad: Tensor, lse: Tensor,
        delta: Tensor, dq: Tensor,
    ) -> Tensor:  # fmt: skip
        launch(q, k, v, picture, out, grad, lse, delta, dq)
        return of_table(q, k, v, picture, bias, grad, lse, delta) if of_table else q.new_empty(0)

    return run


def _no_pictures(nothing: Tensor) -> tuple[Tensor, Tensor]:
    return nothing, nothing


def _scale(call: Problem) -> float:
    """The factor that the kernels multiply scores with: positive, because they mask and take maxima before."""
    return abs(call.scale) or 1.0


def _relations(call: Problem, by_keys: bool) -> layout.Relations:
    return layout.relations(call.x, call.plan.tile[1], by_keys)


def _columns(call: Problem, by_keys: bool) -> tuple[int, int]:
    return layout.width(layout.span(call.x, call.plan.tile[1], by_keys))


def _constants(call: Problem, by_keys: bool) -> dict[str, Any]:
    wide, chunk = _columns(call, by_keys)
    return call.shape_constants() | {
        "WINDOWED": call.y.windowed, "TILE_Y": call.plan.tile[0], "TILE_X": call.plan.tile[1],
        "WIDE": wide, "CHUNK": min(chunk, call.plan.block_n), "SIGN": (call.scale > 0) - (call.scale < 0),
        "BLOCK_M": call.plan.block_m, "BLOCK_N": call.plan.block_n,
    }  # fmt: skip


def _place(call: Problem) -> tuple[int, ...]:
    """Kernel arguments: images, heads, the map, dilations."""
    images, height, width, heads, _ = call.q.shape
    return images, heads, height, width, call.y.dilation, call.x.dilation


def _strides(call: Problem) -> tuple[int, ...]:
    return *call.q.strides, *call.k.strides, *call.v.strides


def _launch(call: Problem, kernel: Any, by_keys: bool, gradients: tuple[int, ...], scales: tuple[float, ...]) -> Launch:
    """A kernel whose programs each own a tile of one head in one group of one image."""
    tiles_y, tiles_x = call.tiles
    rows = min(call.groups, MOST_ROWS_OF_GRID)
    numbers = *_strides(call), *gradients, *_place(call), tiles_x, *_relations(call, by_keys).numbers, *scales
    constants = _constants(call, by_keys) | {"HAS_BIAS": call.bias is not None, "DECAY": call.decay}
    if by_keys:
        constants["num_stages"] = 1
    grid = call.heads * tiles_y * tiles_x, rows, -(-call.groups // max(rows, 1))
    return Launch(kernel, grid, numbers, constants)


def _pictures(call: Problem, forward_only: bool) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A function that draws the pictures of query tiles and of key tiles from the bias table."""
    if call.bias is None:
        return _no_pictures
    by_queries, by_keys = _relations(call, False), _relations(call, True)
    wide_q, wide_k = _columns(call, False)[0], _columns(call, True)[0]
    pages_q, pages_k = (call.heads * r.numbers[-1] * (2 * call.y.size - 1) for r in (by_queries, by_keys))
    tile = call.plan.tile[1]
    launch = Launch(
        picture_kernel,
        (pages_q if forward_only else pages_q + pages_k,),
        (
            call.heads, call.q.shape[2], call.x.dilation, pages_q, *by_queries.numbers, *by_keys.numbers,
            1 / _scale(call),
        ),
        {
            "SIZE_Y": call.y.size, "SIZE_X": call.x.size, "STEP_X": call.x.step, "WINDOWED": call.x.windowed,
            "TILE": tile, "WIDE_Q": wide_q, "WIDE_K": wide_k, "OWN": power_of_two(tile),
            "BLOCK": min(power_of_two(max(wide_q, wide_k)), MOST_COLUMNS),
            "num_warps": 4, "num_stages": 1, "enable_fp_fusion": True,
        },
    )  # fmt: skip
    size_q, size_k = pages_q * tile * wide_q, 0 if forward_only else pages_k * tile * wide_k

    def draw(bias: Tensor) -> tuple[Tensor, Tensor]:
        pictures = bias.new_empty(size_q + size_k, dtype=torch.float32)
        of_queries, of_keys = pictures[:size_q], pictures[size_q:]
        launch(bias, of_queries, of_keys)
        return of_queries, of_keys

    return draw


def _odd_table(call: Problem) -> dict[str, int]:
    """More warps, fewer entries at once, for wide heads of an odd number of channels (FasterViT-4: 49).

    Channels are loaded one by one there: the compiler spilled 472 bytes for compute capability 8.0, so it spills none.
    """
    depths = call.q.shape[4] - call.decay, call.v.shape[4]
    return {"num_warps": 8, "BLOCK_R": BLOCK_R // 2} if max(depths) > 32 and any(depth % 2 for depth in depths) else {}


def _table_gradient(call: Problem) -> Callable[..., Tensor]:
    tile, block_n = call.plan.tile, call.plan.block_n
    of_rows, of_columns = layout.relations(call.y, tile[0], False), _relations(call, False)
    wide = _columns(call, False)[0]
    key_blocks = -(-layout.span(call.y, tile[0], False) * wide // block_n)
    owners = of_rows.numbers[-1] * of_columns.numbers[-1] * key_blocks
    most = call.q.shape[0] * layout.members(call.y, tile[0]) * layout.members(call.x, tile[1])
    tiles_y, tiles_x = call.tiles
    per_chunk = call.share(call.groups * call.heads * tiles_y * tiles_x * key_blocks)
    chunks = max(-(-most // per_chunk), 1)
    launch = Launch(
        table_gradient_kernel,
        (owners * chunks * call.heads,),
        (
            *_strides(call), *_place(call), *of_rows.numbers[:-1], *of_columns.numbers, key_blocks, chunks, per_chunk,
            _scale(call) * LOG2E,
        ),
        _constants(call, False) | {"BLOCK_R": BLOCK_R, "num_stages": 1} | _odd_table(call),
    )  # fmt: skip
    partial_shape, shape = (owners * chunks, call.heads, call.entries), call.table_shape

    def run(
        q: Tensor, k: Tensor, v: Tensor, picture: Tensor, bias: Tensor, grad: Tensor, lse: Tensor, delta: Tensor
    ) -> Tensor:
        partial = lse.new_empty(partial_shape)
        launch(q, k, v, picture, grad, lse, delta, partial)
        return partial.sum(0).view(shape).to(bias.dtype)  # summed in a fixed order

    return run

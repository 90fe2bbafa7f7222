"""From tensors to kernel launches. Everything here runs inside registered ops, so nothing is traced by the compiler."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from visionattn.kernels.backends.triton.backward_bias import table_gradient_kernel
from visionattn.kernels.backends.triton.backward_key import key_gradient_kernel
from visionattn.kernels.backends.triton.backward_query import query_gradient_kernel
from visionattn.kernels.backends.triton.backward_window import window_gradient_kernel
from visionattn.kernels.backends.triton.forward import forward_kernel
from visionattn.kernels.backends.triton.plan import Axis, Plan, default_plan, fits_one_block, power_of_two, spans

LOG2E = 1.4426950408889634
BLOCK_R = 64
PROGRAMS_PER_PROCESSOR = 8
INTERPRETED_PROCESSORS = 1


@dataclass(frozen=True)
class Problem:
    """One call: contiguous-channel tensors, the two axes and the tile plan."""

    q: Tensor
    k: Tensor
    v: Tensor
    bias: Tensor | None
    y: Axis
    x: Axis
    scale: float
    plan: Plan

    @property
    def tiles(self) -> tuple[int, int]:
        """Query tiles (or key tiles) of the longest dilation group, per axis."""
        return self.y.tiles(self.plan.tile[0]), self.x.tiles(self.plan.tile[1])

    @property
    def groups(self) -> int:
        """Images times dilation groups."""
        return self.q.shape[0] * self.y.dilation * self.x.dilation

    @property
    def programs(self) -> int:
        """Programs of a kernel that owns one block of one tile of one head."""
        tiles_y, tiles_x = self.tiles
        return self.groups * self.q.shape[3] * tiles_y * tiles_x * self.plan.blocks

    @property
    def fits_one_block(self) -> bool:
        """Whether a whole window is one block, so that a single program can make all its gradients."""
        return fits_one_block(self.y, self.x, self.q.element_size(), max(self.q.shape[-1], self.v.shape[-1]))

    @property
    def entries(self) -> int:
        return (2 * self.y.size - 1) * (2 * self.x.size - 1)

    def on_device(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self.q.device) if self.q.is_cuda else nullcontext()

    def placement(self) -> tuple[Any, ...]:
        """Kernel arguments from q's strides to the tile counts."""
        strides = [tensor.stride()[axis] for tensor in (self.q, self.k, self.v) for axis in range(4)]
        _, height, width, heads, _ = self.q.shape
        return *strides, heads, height, width, self.y.dilation, self.x.dilation, *self.tiles

    def shape_constants(self) -> dict[str, Any]:
        """Compile-time constants that every kernel takes."""
        depth, depth_v = self.q.shape[4], self.v.shape[4]
        return {
            "SIZE_Y": self.y.size, "SIZE_X": self.x.size, "STEP_Y": self.y.step, "STEP_X": self.x.step,
            "DEPTH": depth, "DEPTH_V": depth_v, "BLOCK_D": max(16, power_of_two(depth)),
            "BLOCK_V": max(16, power_of_two(depth_v)), "PRECISION": "ieee",
            "num_warps": self.plan.num_warps, "num_stages": self.plan.num_stages,
            "enable_fp_fusion": True,  # named, because Triton 3.10 turns it off where it is not
        }  # fmt: skip

    def tile_constants(self, span_x: int) -> dict[str, Any]:
        """Compile-time constants of the kernels that work by tiles; ``span_x`` is the width of the key rectangle."""
        return self.shape_constants() | {
            "WINDOWED": self.y.windowed, "TILE_Y": self.plan.tile[0], "TILE_X": self.plan.tile[1], "SPAN_X": span_x,
            "BLOCK_M": self.plan.block_m, "BLOCK_N": self.plan.block_n, "BLOCKS": self.plan.blocks,
        }  # fmt: skip

    def map_like(self, depth: int) -> Tensor:
        return self.q.new_empty((*self.q.shape[:4], depth))

    def rows_like(self) -> Tensor:
        """One fp32 number per query and head, (B, N, H, W)."""
        batch, height, width, heads, _ = self.q.shape
        return self.q.new_empty((batch, heads, height, width), dtype=torch.float32)


def problem(
    q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, rows: Sequence[int], cols: Sequence[int], scale: float,
    plan: Plan | None = None,
) -> Problem:  # fmt: skip
    """``rows`` and ``cols`` are encoded axis rules (size, dilation, shift, stride); stride 0 means a window."""
    y, x = axis(q.shape[1], rows), axis(q.shape[2], cols)
    q, k, v = (t if t.stride(-1) == 1 else t.contiguous() for t in (q, k, v))
    plan = plan or default_plan(y, x, q.element_size(), max(q.shape[-1], v.shape[-1]))
    return Problem(q, k, v, None if bias is None else bias.contiguous(), y, x, scale, plan)


def axis(length: int, rule: Sequence[int]) -> Axis:
    """The plan's axis of an encoded rule."""
    size, dilation, shift, stride = rule
    return Axis(length, size, stride or shift, dilation, windowed=stride == 0)


def forward(call: Problem) -> tuple[Tensor, Tensor]:
    """Output (B, H, W, N, E) and log-sum-exp (B, N, H, W) in fp32."""
    out, lse = call.map_like(call.v.shape[-1]), call.rows_like()
    key_columns = spans(call.y, call.x, call.plan.tile)[1]
    with call.on_device():
        forward_kernel[(call.programs,)](
            call.q, call.k, call.v, call.q if call.bias is None else call.bias, out, lse, *call.placement(),
            call.scale * LOG2E, HAS_BIAS=call.bias is not None, **call.tile_constants(key_columns),
        )  # fmt: skip
    return out, lse


def backward(
    call: Problem, out: Tensor, lse: Tensor, grad: Tensor, maps: bool, table: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of q, k, v (if ``maps``) and of the bias table in fp32 (if ``table``).

    Each one that is not asked for is an empty tensor.
    """
    grad = grad.contiguous()
    if call.fits_one_block:
        dq, dk, dv, dtable = _window_backward(call, out, lse, grad, table)
    else:
        dq, delta = _query_backward(call, out, lse, grad)
        dk, dv = _key_backward(call, lse, grad, delta) if maps else (dq, dq)
        dtable = _table_backward(call, lse, grad, delta) if table else None
    empty = call.q.new_empty(0)
    table_gradient = empty if dtable is None else dtable
    if not maps:
        return empty, call.q.new_empty(0), call.q.new_empty(0), table_gradient
    return dq, dk, dv, table_gradient


def _query_backward(call: Problem, out: Tensor, lse: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
    dq, delta = call.map_like(call.q.shape[-1]), torch.empty_like(lse)
    key_columns = spans(call.y, call.x, call.plan.tile)[1]
    with call.on_device():
        query_gradient_kernel[(call.programs,)](
            call.q, call.k, call.v, call.q if call.bias is None else call.bias, out, grad, lse, delta, dq,
            *call.placement(), call.scale, call.scale * LOG2E, HAS_BIAS=call.bias is not None,
            **call.tile_constants(key_columns),
        )  # fmt: skip
    return dq, delta


def _key_backward(call: Problem, lse: Tensor, grad: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
    dk, dv = call.map_like(call.k.shape[-1]), call.map_like(call.v.shape[-1])
    query_columns = spans(call.y, call.x, call.plan.tile)[3]
    with call.on_device():
        key_gradient_kernel[(call.programs,)](
            call.q, call.k, call.v, call.q if call.bias is None else call.bias, grad, lse, delta, dk, dv,
            *call.placement(), call.scale, call.scale * LOG2E, HAS_BIAS=call.bias is not None,
            **call.tile_constants(query_columns),
        )  # fmt: skip
    return dk, dv


def _table_backward(call: Problem, lse: Tensor, grad: Tensor, delta: Tensor) -> Tensor:
    key_rows, key_columns, _, _ = spans(call.y, call.x, call.plan.tile)
    key_blocks = -(-key_rows * key_columns // call.plan.block_n)
    tiles_y, tiles_x = call.tiles
    classes_y, classes_x = (1, 1) if call.y.windowed else (call.y.classes, call.x.classes)
    tiles = tiles_y * tiles_x
    owners = call.plan.blocks * key_blocks * (1 if call.y.windowed else tiles * classes_y * classes_x)
    chunks = _chunks(call, owners, call.groups * tiles if call.y.windowed else call.groups)
    partial = _partials(call, owners * chunks)
    with call.on_device():
        table_gradient_kernel[(owners * chunks * call.q.shape[3],)](
            call.q, call.k, call.v, call.bias, grad, lse, delta, partial, *call.placement(), call.q.shape[0],
            classes_y, classes_x, chunks, call.scale * LOG2E, KEY_BLOCKS=key_blocks, BLOCK_R=BLOCK_R,
            **call.tile_constants(key_columns),
        )  # fmt: skip
    return _table(call, partial)


def _window_backward(
    call: Problem, out: Tensor, lse: Tensor, grad: Tensor, table: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    dq, dk, dv = (call.map_like(t.shape[-1]) for t in (call.q, call.k, call.v))
    items = call.groups * call.tiles[0] * call.tiles[1]
    per_program = max(1, -(-items // _chunks(call, 1, items))) if table else 1
    programs = -(-items // per_program)
    partial = _partials(call, programs if table else 0)
    with call.on_device():
        window_gradient_kernel[(programs * call.q.shape[3],)](
            call.q, call.k, call.v, call.q if call.bias is None else call.bias, out, grad, lse, dq, dk, dv, partial,
            *call.placement(), items, per_program, call.scale, call.scale * LOG2E, HAS_BIAS=call.bias is not None,
            BIAS_GRADIENT=table, BLOCK=max(16, power_of_two(call.y.size * call.x.size)), BLOCK_R=BLOCK_R,
            **call.shape_constants() | {"num_warps": 8, "num_stages": 1},  # the only setting that spills no registers
        )  # fmt: skip
    return dq, dk, dv, _table(call, partial) if table else None


def _chunks(call: Problem, owners: int, items: int) -> int:
    """How often the sum over ``items`` is cut so that the device is filled; fixed by device and shape: bits repeat."""
    device = call.q.device
    multiprocessors = (
        torch.cuda.get_device_properties(device).multi_processor_count if call.q.is_cuda else INTERPRETED_PROCESSORS
    )
    wanted = -(-multiprocessors * PROGRAMS_PER_PROCESSOR // (owners * call.q.shape[3]))
    return max(1, min(wanted, items))


def _partials(call: Problem, owners: int) -> Tensor:
    return call.q.new_empty((owners, call.q.shape[3], call.entries), dtype=torch.float32)


def _table(call: Problem, partial: Tensor) -> Tensor:
    """Partial tables summed in a fixed order."""
    return partial.sum(0).view(call.q.shape[3], 2 * call.y.size - 1, 2 * call.x.size - 1)

"""What the launches of one call depend on: shapes, strides, types and geometry, but no tensor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from visionattn.kernels.backends.triton.plan import Axis, Plan, default_plan, power_of_two
from visionattn.kernels.backends.triton.window_plan import WindowPlan, default_window_plan, fits_one_block
from visionattn.kernels.geometry import AxisRule
from visionattn.kernels.signature import Layout, Signature, Wanted

LOG2E = 1.4426950408889634
PROGRAMS_PER_PROCESSOR = 8
INTERPRETED_PROCESSORS = 1
MOST_DECAYING = 64
"""Points of a one-block window with a decay: with 128 the distances of all pairs do not fit the registers."""


@dataclass(frozen=True)
class Problem:
    """One call.

    Attributes:
        q: layout of the queries (B, H, W, N, D) with its first four strides: channels lie side by side.
        k: layout of the keys.
        v: layout of the values.
        dtype: type of the maps.
        device: of all tensors.
        bias: type of the bias table, or None.
        y: axis of the rows.
        x: axis of the columns.
        scale: of the logits before the bias.
        plan: tile and block sizes of the kernels that work by tiles.
        window: plan of the kernels for windows that fit one block; None: this call has none.
        gradients: four strides of the gradients of q and of k, then four of that of v; empty in the forward.
        decay: channels at the end of q and k that hold a place.
        maps: whether the gradients of q, k and v are wanted.
        table: whether the gradient of the bias table is wanted.
    """

    q: Layout
    k: Layout
    v: Layout
    dtype: torch.dtype
    device: torch.device
    bias: torch.dtype | None
    y: Axis
    x: Axis
    scale: float
    plan: Plan
    window: WindowPlan | None = None
    gradients: tuple[int, ...] = ()
    decay: int = 0
    maps: bool = False
    table: bool = False

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.q.shape[3]

    @property
    def tiles(self) -> tuple[int, int]:
        """Query tiles (or key tiles) of the longest dilation group, per axis."""
        return self.y.tiles(self.plan.tile[0]), self.x.tiles(self.plan.tile[1])

    @property
    def groups(self) -> int:
        """Images times dilation groups."""
        return self.q.shape[0] * self.y.dilation * self.x.dilation

    @property
    def table_shape(self) -> tuple[int, int, int]:
        """Shape of the bias table."""
        return self.heads, 2 * self.y.size - 1, 2 * self.x.size - 1

    @property
    def entries(self) -> int:
        """Entries of one head's bias table."""
        return (2 * self.y.size - 1) * (2 * self.x.size - 1)

    @property
    def processors(self) -> int:
        """Multiprocessors of the device."""
        if self.device.type != "cuda":
            return INTERPRETED_PROCESSORS
        return torch.cuda.get_device_properties(self.device).multi_processor_count

    def shape_constants(self) -> dict[str, Any]:
        """Compile-time constants that every kernel takes."""
        depth, depth_v = self.q.shape[4] - self.decay, self.v.shape[4]
        return {
            "SIZE_Y": self.y.size, "SIZE_X": self.x.size, "STEP_Y": self.y.step, "STEP_X": self.x.step,
            "DEPTH": depth, "DEPTH_V": depth_v, "BLOCK_D": max(16, power_of_two(depth)),
            "BLOCK_V": max(16, power_of_two(depth_v)), "PRECISION": "ieee",
            "num_warps": self.plan.num_warps, "num_stages": self.plan.num_stages,
            "enable_fp_fusion": True,  # named, because Triton 3.10 turns it off where it is not
        }  # fmt: skip

    def share(self, items: int) -> int:
        """How many of all heads' ``items`` a program handles to fill the device; fixed by device and shape."""
        return max(-(-items // (self.processors * PROGRAMS_PER_PROCESSOR)), 1)


def problem(call: Signature, plan: Plan | WindowPlan | None = None, wanted: Wanted | None = None) -> Problem:
    """The problem of a forward, or of the backward that is ``wanted``; ``plan`` replaces the default one."""
    y, x = axis(call.q.shape[1], call.geometry.rows), axis(call.q.shape[2], call.geometry.cols)
    decay = call.geometry.decay
    size, widest = call.dtype.itemsize, max(call.q.shape[-1] - decay, call.v.shape[-1])
    window = None
    if not isinstance(plan, Plan) and (not decay or y.size * x.size <= MOST_DECAYING):
        whole = y.whole and x.whole
        rows, columns = (replace(a, step=0, windowed=True) if whole else a for a in (y, x))
        if fits_one_block(rows, columns, size, widest, call.bias is not None):
            y, x = rows, columns
            window = plan or default_window_plan(y.size * x.size, size, widest)
    plan = plan if isinstance(plan, Plan) else None
    plan = plan or default_plan(y, x, size, widest, wanted is not None, has_warpgroups(call.device))
    q, k, v = (Layout(layout.shape, layout.strides[:4]) for layout in (call.q, call.k, call.v))
    forward = Problem(q, k, v, call.dtype, call.device, call.bias, y, x, call.scale, plan, window, decay=decay)
    if wanted is None:
        return forward
    of_queries, _, of_values = wanted.gradients
    strides = *of_queries.strides[:4], *of_values.strides[:4]
    return replace(forward, gradients=strides, maps=wanted.maps, table=wanted.table)


@lru_cache(maxsize=64)
def has_warpgroups(device: torch.device) -> bool:
    """Whether warpgroups multiply from shared memory, as from compute capability 9.0 on."""
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (9, 0)


def axis(length: int, rule: AxisRule) -> Axis:
    """The plan's axis of a rule."""
    return Axis(length, rule.size, rule.stride or rule.shift, rule.dilation, windowed=rule.is_window)

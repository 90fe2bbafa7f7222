"""What the launches of one call depend on: shapes, strides, types and geometry, but no tensor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from visionattn.kernels.backends.triton.plan import Axis, Plan, default_plan, fits_one_block, power_of_two
from visionattn.kernels.backends.triton.window_plan import WindowPlan, default_window_plan
from visionattn.kernels.geometry import AxisRule, Geometry

LOG2E = 1.4426950408889634
PROGRAMS_PER_PROCESSOR = 8
INTERPRETED_PROCESSORS = 1


class Map(NamedTuple):
    """Where a map ``(B, H, W, N, D)`` lies in memory: its channels side by side, the other four strides free."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor) -> Map:
        """The place of ``tensor``."""
        return cls(tuple(tensor.shape), tensor.stride()[:4])


@dataclass(frozen=True)
class Problem:
    """One call.

    Attributes:
        q: place of the queries.
        k: place of the keys.
        v: place of the values.
        dtype: type of the maps.
        device: of all tensors.
        bias: type of the bias table, or None.
        y: axis of the rows.
        x: axis of the columns.
        scale: of the logits before the bias.
        plan: tile and block sizes of the kernels that work by tiles.
        window: plan of the kernels for windows that fit one block; None: this call has none.
        gradients: four strides of the gradients of q and of k, then four of that of v; empty in the forward.
        maps: whether the gradients of q, k and v are wanted.
        table: whether the gradient of the bias table is wanted.
    """

    q: Map
    k: Map
    v: Map
    dtype: torch.dtype
    device: torch.device
    bias: torch.dtype | None
    y: Axis
    x: Axis
    scale: float
    plan: Plan
    window: WindowPlan | None = None
    gradients: tuple[int, ...] = ()
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
        depth, depth_v = self.q.shape[4], self.v.shape[4]
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


def problem(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias: Tensor | None,
    geometry: Geometry,
    scale: float,
    plan: Plan | WindowPlan | None = None,
    *,
    into: Sequence[Tensor] = (),
    maps: bool = False,
    table: bool = False,
) -> Problem:
    """The problem of a call whose maps have their channels side by side; ``into``: the gradients' maps, if wanted."""
    y, x = axis(q.shape[1], geometry.rows), axis(q.shape[2], geometry.cols)
    size, widest = q.element_size(), max(q.shape[-1], v.shape[-1])
    window, tiles = None, plan
    if isinstance(tiles, WindowPlan):
        window, tiles = tiles, None
    elif tiles is None and fits_one_block(y, x, size, widest):
        window = default_window_plan(y.size * x.size, size, widest)
    return Problem(
        Map.of(q), Map.of(k), Map.of(v), q.dtype, q.device, None if bias is None else bias.dtype, y, x, scale,
        tiles or default_plan(y, x, size, widest, bool(into), has_warpgroups(q.device)), window,
        (*into[0].stride()[:4], *into[2].stride()[:4]) if into else (), maps, table,
    )  # fmt: skip


@lru_cache(maxsize=64)
def has_warpgroups(device: torch.device) -> bool:
    """Whether warpgroups multiply from shared memory, as from compute capability 9.0 on."""
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (9, 0)


def axis(length: int, rule: AxisRule) -> Axis:
    """The plan's axis of a rule."""
    return Axis(length, rule.size, rule.stride or rule.shift, rule.dilation, windowed=rule.is_window)
